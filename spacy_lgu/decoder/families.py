"""For which decoder families packed attention is correct.

The families listed here are compared with a brute-force reference in the tests. Any other is
accepted only if a tiny random decoder of it passes two checks on the spot: with causal layers it
equals the family's own eager attention, and each layer by itself has the direction it is given.
"""

import copy
from typing import Any

import numpy
import torch
from transformers import AutoModel, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from .attention import ATTENTION, register_attention
from .config import MODEL_ERRORS
from .locking import LOADING
from .packing import PackedBatch
from .versions import rotary_settings, without_rotary_scaling

TESTED_FAMILIES = (
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "phi3",
    "gemma3_text",
    "gpt_neox",
    "olmo2",
    "smollm3",
)

# Refused by name: the reason is known, and the layer check alone could miss it.
_REFUSED = {
    "gpt2": "its model file builds a mask of (total, total) for every packed batch",
    "gemma2": "its attention caps the logits, which packed attention does not compute",
    "gemma3": "it is a vision-language model; use a text-only decoder (gemma3_text)",
    "gemma3n_text": "its upper layers read the keys and values of lower ones",
    "gpt_oss": "its attention has sinks, which packed attention does not compute",
    "bloom": "its attention uses ALiBi, which packed attention does not compute",
    "mpt": "its attention uses ALiBi, which packed attention does not compute",
    "mamba": "it has state-space layers, which have no causal mask to remove",
    "mamba2": "it has state-space layers, which have no causal mask to remove",
    "jamba": "it has state-space layers, which have no causal mask to remove",
    "granitemoehybrid": "it has state-space layers, which have no causal mask to remove",
    "bamba": "it has state-space layers, which have no causal mask to remove",
    "falcon_h1": "it has state-space layers, which have no causal mask to remove",
    "zamba2": "it has state-space layers, which have no causal mask to remove",
    "minimax": "it has linear attention layers, which have no causal mask to remove",
    "llama4_text": "its attention is cut into chunks, which packed attention does not compute",
    "phi4_multimodal": "it reads more than text; use a text-only decoder (phi3)",
    "recurrent_gemma": "it has recurrent layers, which have no causal mask to remove",
}

# Sizes of the tiny decoder that an untested family is checked on. It keeps the number of layers,
# because families mix kinds of layers.
_TINY = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    # Multi-head latent attention: the width of a query or key is the sum of two.
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "qk_head_dim": 16,
    "v_head_dim": 8,
    "vocab_size": 64,
    "pad_token_id": None,
    # Mixtures of experts, by the names that families give them.
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
}
# Attention that looks back only so far shows it on sequences longer than this.
_TINY_WINDOW = 3
_TINY_WINDOWS = ("sliding_window", "attention_chunk_size")
_TINY_LENGTHS = (6, 4)

LayerCallT = tuple[tuple[Any, ...], dict[str, Any]]


class FamilyError(ValueError):
    """Decoders of a family cannot be unmasked."""


def check_family(config: PretrainedConfig) -> None:
    """Refuse, by name, a decoder whose layers packed attention would compute wrongly.

    config (PretrainedConfig): The decoder's config; no weight is needed.
    RETURNS (None): Raises ValueError naming the family and the reason.
    """
    family = config.model_type
    if family in _REFUSED:
        raise _refusal(family, _REFUSED[family])
    if config.is_encoder_decoder:
        raise _refusal(family, "it is an encoder-decoder")
    if family not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise _refusal(family, "it is not a language model that reads from left to right")
    if config.get_text_config() is not config:
        raise _refusal(family, "it reads more than text")
    for rotary in rotary_settings(config):
        if (kind := rotary["rope_type"]) in ("dynamic", "longrope"):
            raise _refusal(
                family,
                f"its {kind!r} rotary embeddings depend on the longest position in the batch, so "
                "that a text's vectors would depend on its neighbours",
            )
    if getattr(config, "attn_logit_softcapping", None) is not None:
        raise _refusal(family, _REFUSED["gemma2"])
    if family not in TESTED_FAMILIES:
        check_layers(config)


def check_layers(config: PretrainedConfig) -> None:
    """Check packed attention on a tiny random decoder of this family.

    With every layer causal, two packed sequences must get the vectors that the family's own
    eager attention gives each of them alone: its masks, windows, positions and scores are
    then all accounted for. Then each layer by itself, between neighbours of the other
    direction, must pass a change of a sequence's first position on to all its positions, a
    change of the last one to all if it is unmasked and to no other if it is causal, and nothing
    to the other sequence.

    config (PretrainedConfig): The decoder's config; sizes are replaced by tiny ones.
    RETURNS (None): Raises ValueError naming the family and the layer.
    """
    try:
        _compare_with_eager(config)
        _check_directions(config)
    except MODEL_ERRORS as error:
        if isinstance(error, FamilyError):
            raise
        raise _refusal(
            config.model_type,
            "a tiny decoder of it does not run on packed batches "
            f"({type(error).__name__}: {error})",
        ) from error


def find_layers(decoder: Any) -> torch.nn.ModuleList:
    """The list of decoder layers: "layers" in most families, "h" in older ones.

    decoder (PreTrainedModel): A decoder without LM head.
    RETURNS (ModuleList): Input side first. Raises ValueError when there is none.
    """
    for name in ("layers", "h"):
        layers = getattr(decoder, name, None)
        if isinstance(layers, torch.nn.ModuleList):
            return layers
    raise _refusal(decoder.config.model_type, "its decoder layers were not found")


def tiny_config(config: PretrainedConfig, *, window: int = 64) -> PretrainedConfig:
    """The config of a tiny decoder of the same family, with as many layers.

    config (PretrainedConfig): Its sizes are replaced.
    window (int): Subtokens that layers with limited attention look back.
    RETURNS (PretrainedConfig): A config of its own.
    """
    values = copy.deepcopy(config.to_dict())
    for name, value in _TINY.items():
        if name in values or (hasattr(config, name) and not hasattr(type(config), name)):
            values[name] = value
    values.update({k: window for k in _TINY_WINDOWS if values.get(k) is not None})
    values.pop("quantization_config", None)
    return type(config).from_dict(without_rotary_scaling(values))


def _compare_with_eager(config: PretrainedConfig) -> None:
    reference, packed = _build_tiny(config, "eager", window=_TINY_WINDOW), _tiny_batch()
    if not reference._supports_attention_backend:
        raise _refusal(
            config.model_type,
            "its model file computes attention itself instead of through transformers' attention "
            "interface",
        )
    decoder = _build_tiny(config, ATTENTION, window=_TINY_WINDOW)
    decoder.load_state_dict(reference.state_dict())
    unmasked = (False,) * len(find_layers(decoder))
    with torch.no_grad():
        Y = _run(decoder, packed, packed=packed, unmasked=unmasked)
        ids = packed.ids[0].split(_TINY_LENGTHS)
        for ids_alone, Y_packed in zip(ids, Y.split(_TINY_LENGTHS), strict=True):
            alone = PackedBatch.pack(ids_alone.numpy(), [len(ids_alone)], device=packed.ids.device)
            Y_alone = _run(reference, alone)
            error = (Y_packed - Y_alone).norm() / Y_alone.norm()
            if not error < 1e-4:  # NaN fails too
                raise _refusal(
                    config.model_type,
                    "causal packed attention differs from the family's own attention by "
                    f"{error:.1e} of the vectors' size",
                )


def _check_directions(config: PretrainedConfig) -> None:
    decoder, packed = _build_tiny(config, ATTENTION, window=max(_TINY_LENGTHS)), _tiny_batch()
    layers = find_layers(decoder)
    X = torch.randn(
        1,
        packed.n_subtokens,
        decoder.config.hidden_size,
        generator=torch.Generator().manual_seed(0),
    )
    n_first = _TINY_LENGTHS[0]  # the first or the last position of the first sequence changes
    every = list(range(n_first))
    for first in (False, True):
        unmasked = tuple(first != bool(i % 2) for i in range(len(layers)))
        calls = _record_layer_calls(decoder, layers, packed, unmasked)
        for i, layer in enumerate(layers):
            last_moves = every if unmasked[i] else [n_first - 1]
            for changed, expected in ((0, every), (n_first - 1, last_moves)):
                X_changed = X.clone()
                X_changed[0, changed] += torch.linspace(-1, 1, X.shape[-1], dtype=X.dtype)
                before, after = (_run_layer(layer, values, calls[i]) for values in (X, X_changed))
                # Experts that get another number of rows round them differently.
                shifts = (after - before).norm(dim=-1)[0] / before.norm(dim=-1)[0]
                moved = (shifts > 1e-5).nonzero()[:, 0].tolist()
                if moved != expected:
                    raise _refusal(
                        config.model_type,
                        f"in layer {i}, run as {'bidirectional' if unmasked[i] else 'causal'} on "
                        f"sequences of {_TINY_LENGTHS} positions, a change of position {changed} "
                        f"moved positions {moved} instead of {expected}",
                    )


def _build_tiny(config: PretrainedConfig, attention: str, *, window: int) -> Any:
    register_attention()
    tiny = tiny_config(config, window=window)
    with LOADING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        decoder = AutoModel.from_config(tiny, attn_implementation=attention)
    return decoder.eval()


def _tiny_batch() -> PackedBatch:
    n_subtokens = sum(_TINY_LENGTHS)
    return PackedBatch.pack(
        numpy.arange(n_subtokens) + 2, _TINY_LENGTHS, device=torch.device("cpu")
    )


def _run(decoder: Any, batch: PackedBatch, **kwargs: Any) -> torch.Tensor:
    output = decoder(input_ids=batch.ids, position_ids=batch.positions, use_cache=False, **kwargs)
    return output.last_hidden_state[0]  # (total_subtokens, width)


def _record_layer_calls(
    decoder: Any,
    layers: torch.nn.ModuleList,
    packed: PackedBatch,
    unmasked: tuple[bool, ...],
) -> list[LayerCallT]:
    """What the decoder passes to each of its layers besides the hidden states."""
    calls: list[LayerCallT] = []

    def record(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append((args, kwargs))

    hooks = [layer.register_forward_pre_hook(record, with_kwargs=True) for layer in layers]
    try:
        with torch.no_grad():
            _run(decoder, packed, packed=packed, unmasked=unmasked)
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _run_layer(layer: torch.nn.Module, X: torch.Tensor, call: LayerCallT) -> torch.Tensor:
    args, kwargs = call
    with torch.no_grad():
        output = layer(X, *args[1:], **kwargs)
    return output[0] if isinstance(output, tuple) else output


def _refusal(family: str, reason: str) -> FamilyError:
    return FamilyError(
        f"Decoders of the family {family!r} cannot be unmasked: {reason}. Tested "
        f"families: {', '.join(TESTED_FAMILIES)}."
    )
