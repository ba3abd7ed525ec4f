"""The first layers of a decoder alone: its config, its weights and its modules without the others.

    config.json          n_layers = 2          left out, and never read
    embed_tokens         embed_tokens
    layers.0             layers.0
    layers.1             layers.1
    layers.2                                   layers.2
    layers.3                                   layers.3
    norm                 norm

The norm that follows the last layer follows layer 1 then. Intermediate layers of pretrained
decoders serve sequence labeling as well as the last (Kukić et al., 2026, arXiv 2601.17585).
"""

import copy
import re
from collections.abc import Iterable
from typing import Any

import torch
from transformers import PretrainedConfig

from ..inputs import shorten
from .attention import ATTENTION
from .config import MODEL_ERRORS
from .mixers import layer_kinds, run_on_rectangles
from .packing import PackedBatch
from .refusals import depth_refusal
from .tiny import build_tiny, find_layers

_LAYERS = "num_hidden_layers"
# With an entry for each layer, and in some configs for layers of another kind after these.
_KINDS = ("layer_types", "mlp_layer_types")
# Lists that may happen to be as long as there are layers: ids, sizes of parts, numbers of layers.
_OTHERS = re.compile(
    r"architectures|.*_token_ids?|.*_multipliers|time_step_limit|mrope_section|block_types"
    r"|.*_(idxs|indices|ids)|(mlp_only|cross_attention|sparse)_layers|mtp_.*"
)
_PER_LAYER = "per_layer_config"
# Sequences of the proof, and what rounding may differ by.
_LENGTHS = (5, 3)
_MAX_ERROR = 1e-5


def check_n_layers(n_layers: int, n_all: int, where: str) -> None:
    """Refuse a depth that a decoder does not have.

    n_layers (int): How many of its layers are to be used.
    n_all (int): How many it has.
    where (str): The decoder, for the message.
    """
    if not 1 <= n_layers <= n_all:
        raise ValueError(
            f"n_layers is {n_layers}, but the decoder {where!r} has {n_all} layers: expected 1 to "
            f"{n_all}, or null for all."
        )


def cut_config(config: PretrainedConfig, n_layers: int | None, *, where: str) -> PretrainedConfig:
    """The config of a decoder that ends after some of its layers.

    config (PretrainedConfig): The whole decoder's.
    n_layers (int | None): How many of its layers are used, input side first. None: all.
    where (str): The decoder, for messages.
    RETURNS (PretrainedConfig): A config of its own, or the same for all layers. Raises ValueError
        when there are fewer layers, or transformers does not take the config without the others.
    """
    if n_layers is None:
        return config
    n_all: int = config.num_hidden_layers
    check_n_layers(n_layers, n_all, where)
    if n_layers == n_all:
        return config
    values = copy.deepcopy(config.to_dict())
    cut = {
        name: value[:n_layers]
        for name, value in values.items()
        if isinstance(value, list | tuple) and _is_per_layer(name, len(value), n_all)
    }
    if values.get(_PER_LAYER):
        values[_PER_LAYER] = {i: v for i, v in values[_PER_LAYER].items() if int(i) < n_layers}
    values.update(copy.deepcopy(cut))  # some families change the lists
    values[config.attribute_map.get(_LAYERS, _LAYERS)] = n_layers
    try:
        shorter = type(config).from_dict(values)
    except MODEL_ERRORS as error:
        raise depth_refusal(
            config.model_type,
            n_layers,
            f"transformers does not read its config then ({type(error).__name__}: "
            f"{str(error)[:200]})",
        ) from error
    for name, value in cut.items():
        # Some families want a certain kind of layer at the end.
        if list(found := getattr(shorter, name)) != list(value):
            raise depth_refusal(
                config.model_type,
                n_layers,
                f"transformers reads {name} as {shorten(found)} then, but these layers have "
                f"{shorten(value)}",
            )
    shorter.transformers_version = config.transformers_version  # to_dict has the installed one
    shorter._name_or_path = config._name_or_path
    return shorter


def find_unused(names: Iterable[str], n_layers: int, n_all: int) -> re.Pattern[str]:
    """What the names of the weights of all other layers begin with.

    names (Iterable[str]): Of the weights of the first layers.
    n_layers (int): How many layers are used.
    n_all (int): How many the decoder has.
    RETURNS (Pattern): For fullmatch, for names without prefix.
    """
    lists = {name.partition(".0.")[0] for name in names if re.match(r"\w+\.0\.", name)}
    unused = "|".join(map(str, range(n_layers, n_all)))
    return re.compile(rf"({'|'.join(sorted(lists))})\.({unused})\..*")


def first_layers(decoder: Any, n_layers: int) -> Any:
    """The first layers of a decoder in memory, as a decoder over the same modules.

    decoder (PreTrainedModel): Stays as it is.
    n_layers (int): At least 1, at most as many as it has. Nothing but the list of its layers is
        made anew, so that this costs no memory, and threads may run both.
    RETURNS (PreTrainedModel): The same object for all layers.
    """
    layers, config = find_layers(decoder), decoder.config
    check_n_layers(n_layers, len(layers), config._name_or_path)
    if n_layers == len(layers):
        return decoder
    name = next(name for name, module in decoder.named_children() if module is layers)
    shorter = copy.copy(decoder)
    shorter.__dict__["_modules"] = {
        **decoder._modules,
        name: torch.nn.ModuleList(list(layers)[:n_layers]),
    }
    shorter.config = cut_config(config, n_layers, where=config._name_or_path)
    shorter.config._attn_implementation = config._attn_implementation
    return shorter


def check_open(whole: PretrainedConfig, n_layers: int) -> None:
    """Refuse a depth at which a hybrid has no layer yet that could be unmasked.

    whole (PretrainedConfig): The config of all layers.
    n_layers (int): How many layers are used.
    """
    can_open = [i for i, kind in enumerate(layer_kinds(whole)) if kind.has_mask]
    if can_open and can_open[0] >= n_layers:
        raise depth_refusal(
            whole.model_type,
            n_layers,
            f"the first layer with softmax attention, which has a causal mask, is layer "
            f"{can_open[0]}",
        )


def check_depth(whole: PretrainedConfig, shorter: PretrainedConfig) -> None:
    """Prove, on a tiny random decoder of the family, that its first layers compute the same without
    the others: some are scaled by the number of layers, or have weights for all layers in one.

    whole (PretrainedConfig): The config of all layers.
    shorter (PretrainedConfig): From cut_config.
    RETURNS (None): Raises FamilyError with the reason.
    """
    n_layers: int = shorter.num_hidden_layers
    if n_layers == whole.num_hidden_layers:
        return
    with torch.no_grad():
        try:
            full = build_tiny(whole, ATTENTION, window=3)
            own = build_tiny(shorter, ATTENTION, window=3)
        except MODEL_ERRORS as error:
            raise depth_refusal(
                whole.model_type, n_layers, f"{type(error).__name__}: {str(error)[:200]}"
            ) from error
        weights = full.state_dict()
        needed = own.state_dict()
        for name, weight in needed.items():
            if name not in weights or weights[name].shape != weight.shape:
                raise depth_refusal(
                    whole.model_type, n_layers, f"the size of its weight {name!r} depends on it"
                )
        own.load_state_dict({name: weights[name] for name in needed})
        batch = PackedBatch.pack(
            torch.arange(sum(_LENGTHS)).numpy() + 2, _LENGTHS, device=torch.device("cpu")
        )
        Ys = []
        for decoder in (first_layers(full, n_layers), own):
            run_on_rectangles(decoder)
            output = decoder(
                input_ids=batch.ids,
                position_ids=batch.positions,
                use_cache=False,
                packed=batch,
                unmasked=(False,) * n_layers,
            )
            Ys.append(output.last_hidden_state)
    difference = float((Ys[0] - Ys[1]).norm() / Ys[0].norm())
    if not difference < _MAX_ERROR:  # NaN fails too
        raise depth_refusal(
            whole.model_type,
            n_layers,
            "its layers compute by how many there are: vectors differ by "
            f"{difference:.1e} of their size",
        )


def _is_per_layer(name: str, length: int, n_all: int) -> bool:
    """Whether a list of a config has an entry for each layer."""
    if name in _KINDS:
        return length >= n_all
    return length == n_all and not _OTHERS.fullmatch(name)
