"""The LM head: only needed while a decoder models text."""

import copy
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, PretrainedConfig

from ..decoder.config import make_whole_config
from ..decoder.experts import stored_forms
from ..decoder.locking import LOADING
from ..decoder.refusals import FamilyError
from ..decoder.source import CONFIG, Source
from ..decoder.tiny import tiny_config
from ..decoder.weights import find_tensor


def check_head(config: PretrainedConfig) -> None:
    """Refuse, by name, a decoder whose logits are not just its hidden states times a matrix.

    A tiny random decoder of the family shows it: a bias and scaled or soft-capped logits make a
    difference.

    config (PretrainedConfig): The decoder's config; no weight is needed.
    RETURNS (None): Raises FamilyError naming the family.
    """
    with LOADING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(tiny_config(config), attn_implementation="eager")
        head = model.get_output_embeddings()
        if getattr(head, "bias", None) is not None:
            torch.nn.init.normal_(head.bias)
    ids = torch.arange(2, 8)[None]
    with torch.no_grad():
        output = model.eval()(ids, output_hidden_states=True, use_cache=False)
        expected = output.hidden_states[-1] @ head.weight.T
        error = (output.logits - expected).norm() / expected.norm()
    if not error < 1e-4:  # NaN fails too
        raise FamilyError(
            f"Decoders of the family {config.model_type!r} cannot be adapted: their LM head is not "
            "a plain matrix (it has a bias, or its logits are scaled or capped). Train them "
            "without adaptation."
        )


def load_head(base: Any, source: Source) -> torch.Tensor:
    """The LM head of a base decoder that was loaded without it.

    base (PreTrainedModel): The decoder.
    source (Source): Where it came from.
    RETURNS (Tensor): Shape: (vocab, width), the decoder's own embeddings if the two are tied: where
        the decoder is part of a model that reads more than text, what is in the weights decides.
        Raises ValueError when the weights hold no head.
    """
    embeddings: torch.Tensor = base.get_input_embeddings().weight
    whole = make_whole_config(source.folder / CONFIG)
    is_part = whole.model_type != base.config.model_type
    if base.config.tie_word_embeddings and not is_part:
        return embeddings
    with LOADING, torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(copy.deepcopy(base.config))
    wanted = skeleton.get_output_embeddings().weight
    name = next(name for name, p in skeleton.named_parameters() if p is wanted)
    own, *published = stored_forms(skeleton).forms
    # transformers 5 renames the head of GPT-NeoX while it reads it.
    others = [n for form in published for n in form.keys() - own if form[n] == own[name]]
    for wanted_name in (name, *others):
        if (found := find_tensor(source, wanted_name)) is not None:
            file, stored = found
            with safe_open(file, framework="pt", device=str(embeddings.device)) as weights:
                return weights.get_tensor(stored).to(embeddings.dtype)
    if is_part and (base.config.tie_word_embeddings or whole.tie_word_embeddings):
        return embeddings
    raise ValueError(
        f"The weights of {source.name!r} hold no LM head ({name!r} is missing), which adaptation "
        "needs: it predicts subtokens. Name the decoder as it was published, with its head."
    )
