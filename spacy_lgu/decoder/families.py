"""For which decoder families packed attention is correct.

Tested families are compared with a brute-force reference in the tests. Any other is accepted only
if a tiny random decoder of it passes two checks on the spot: with causal layers it equals the
family's own eager attention, and each layer by itself has the direction it is given.
"""

from transformers import PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from ..unmasking import LayerKind
from .depth import check_depth, check_open
from .layer_check import check_layers
from .mixers import layer_kinds
from .refusals import REFUSED, REFUSED_SETTINGS, TESTED_FAMILIES, refusal
from .versions import rotary_settings

# Without these, neither windows nor memory can be planned.
_SIZES = ("hidden_size", "num_attention_heads", "vocab_size", "max_position_embeddings")


def check_family(config: PretrainedConfig, *, whole: PretrainedConfig | None = None) -> None:
    """Refuse, by name, a decoder whose layers packed attention would compute wrongly.

    config (PretrainedConfig): The decoder's config; no weight is needed.
    whole (PretrainedConfig | None): That of all its layers, where the other has only the first.
    RETURNS (None): Raises ValueError naming the family and the reason.
    """
    family = config.model_type
    if family in REFUSED:
        raise refusal(family, REFUSED[family])
    if config.is_encoder_decoder:
        raise refusal(family, "it is an encoder-decoder")
    # Some text parts of models that read more have no causal LM of their own.
    is_part = family.endswith("_text") and family not in TESTED_FAMILIES
    if not is_part and family not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise refusal(family, "it is not a language model that reads from left to right")
    if config.get_text_config() is not config:
        raise refusal(family, "it reads more than text")
    for rotary in rotary_settings(config):
        if (kind := rotary["rope_type"]) in ("dynamic", "longrope"):
            raise refusal(
                family,
                f"its {kind!r} rotary embeddings depend on the longest position in the batch, so "
                "that a text's vectors would depend on its neighbours",
            )
    # Gemma 4 has a third value, for which only images are read in both directions.
    if getattr(config, "use_bidirectional_attention", None) in (True, "all"):
        raise refusal(family, "it was trained without a causal mask")
    for setting, reason in REFUSED_SETTINGS.items():
        if getattr(config, setting, None):
            raise refusal(family, reason)
    kinds = layer_kinds(config)
    if whole is not None:
        check_open(whole, len(kinds))
    # All have softmax attention in all layers, and some do not look at what their configs say.
    if family in TESTED_FAMILIES and set(kinds) != {LayerKind.ATTENTION}:
        raise refusal(
            family, "its config's layer_types has kinds of layers that the family does not have"
        )
    if not any(kind.has_mask for kind in kinds):
        raise refusal(
            family, "none of its layers has softmax attention, so there is no causal mask to remove"
        )
    if missing := find_missing(config):
        raise refusal(family, f"its config does not say {' and '.join(missing)}")
    if family not in TESTED_FAMILIES:
        check_layers(config)
    if whole is not None:
        check_depth(whole, config)


def find_missing(config: PretrainedConfig) -> list[str]:
    """Sizes that a config lacks, as those of Bloom and of state-space models do, or has for single
    layers only.

    config (PretrainedConfig): Of any model.
    RETURNS (list[str]): Their names; check_family refuses a config that lacks any.
    """
    missing = []
    for name in _SIZES:
        try:
            is_there = getattr(config, name, None) is not None
        except RuntimeError:  # of transformers 5, for sizes that differ between layers
            is_there = False
        if not is_there:
            missing.append(name)
    return missing
