"""Mixtures of experts: under which names their weights are stored, and how they are computed.

transformers 4.53 has a module for each expert of a layer. 5 keeps all of them in one tensor, and
joins what it reads (n experts, of inner width I and width W):

    in a published file, and in saves of 5             in a decoder of transformers 5
    layers.0.mlp.experts.0.gate_proj.weight (I, W)     layers.0.mlp.experts.gate_up_proj (n, 2I, W)
    layers.0.mlp.experts.0.up_proj.weight (I, W)
    layers.0.mlp.experts.0.down_proj.weight (W, I)     layers.0.mlp.experts.down_proj (n, W, I)

bitsandbytes quantizes linear layers, and so no experts in one tensor. In a decoder to be quantized
each expert gets linear layers of its own (see separate.py) where the family allows it; others stay
in the dtype that the decoder computes in.
"""

import copy
from typing import Any, NamedTuple

import torch
from transformers import PretrainedConfig

from .separate import separate_experts
from .versions import IS_5, TRANSFORMERS

ShapesT = dict[str, tuple[int, ...]]
# How transformers 5 computes experts in one tensor: each as linear layers, on the subtokens sent to
# it. "grouped_mm", its default, computes the same to 5e-7, but not in the dtype of autocast (so
# that full tuning in bfloat16 runs it in float32), and asks for widths and devices that its kernel
# takes; "batched_mm" copies an expert's weights for each subtoken, and took 50 times as long.
EXPERTS: dict[str, str] = {"experts_implementation": "eager"} if IS_5 else {}


# transformers' own options, "eager" and so on, say how experts in one tensor are computed. This one
# marks a config whose decoder has separate experts. No config.json holds it.
_SEPARATE = "separate"


def with_separate_experts(config: PretrainedConfig) -> PretrainedConfig:
    """RETURNS (PretrainedConfig): A copy, for functions of this package alone, that describes the
    same decoder with linear layers for each expert, where the family allows it. transformers 4.53
    has them so."""
    config = copy.deepcopy(config)
    config._experts_implementation = _SEPARATE
    return config


def are_separate(config: PretrainedConfig) -> bool:
    """RETURNS (bool): Whether with_separate_experts made this config."""
    return getattr(config, "_experts_implementation", None) == _SEPARATE


def take_mark(config: PretrainedConfig) -> PretrainedConfig:
    """RETURNS (PretrainedConfig): A copy that transformers understands."""
    config = copy.deepcopy(config)
    if are_separate(config):
        config._experts_implementation = None
    return config


class Stored(NamedTuple):
    """How a decoder's weights may be stored.

    forms (list[dict[str, tuple[int, ...]]]): Names and shapes, of which a file has one form.
    linear (frozenset[str]): Names of the weights of linear layers, in all forms.
    whole (frozenset[str]): Names of all weights that transformers neither joins nor splits.
    """

    forms: list[ShapesT]
    linear: frozenset[str] = frozenset()
    whole: frozenset[str] = frozenset()


def stored_forms(skeleton: Any) -> Stored:
    """Names and shapes under which a decoder's weights may be stored.

    skeleton (PreTrainedModel): The decoder, on the device `meta`, with its experts as transformers
        has them. They are separated.
    RETURNS (Stored): As the decoder has them; if transformers 5 changes them while it reads, as
        they are published; and the same with experts one by one.
    """
    forms = _both_forms(skeleton)
    if IS_5 and separate_experts(skeleton):
        forms += _both_forms(skeleton)
    layers = [m for m in skeleton.modules() if isinstance(m, torch.nn.Linear)]
    linear, whole = (
        {id(p) for p in found}
        for found in ([layer.weight for layer in layers], skeleton.parameters())
    )
    shapes: list[ShapesT] = []
    for form in forms:
        shape = {name: tuple(tensor.shape) for name, tensor in form.items()}
        if shape not in shapes:
            shapes.append(shape)

    def names(ids: set[int]) -> frozenset[str]:
        return frozenset(n for form in forms for n, tensor in form.items() if id(tensor) in ids)

    return Stored(shapes, names(linear), names(whole))


def count_active(config: PretrainedConfig, skeleton: torch.nn.Module) -> tuple[float, int]:
    """How much of its MLPs a decoder computes for a subtoken, on average over its layers.

    config (PretrainedConfig): Its config.
    skeleton (Module): The decoder, perhaps on the device `meta`.
    RETURNS (tuple[float, int]): Experts, not counting those that all subtokens share, and the
        width of the hidden layers, of these as well.
    """
    plain = _read(config, "intermediate_size") or 4 * config.hidden_size
    names = [name.split(".") for name, _ in skeleton.named_parameters()]
    mixed = {path[1] for path in names if "experts" in path[2:]}
    if not mixed:
        return 0.0, plain
    n_experts = _read(config, "num_experts_per_tok", "moe_topk", "moe_k") or 1
    width = _read(config, "moe_intermediate_size") or plain
    n_shared = _read(config, "n_shared_experts", "num_shared_experts", "moe_num_shared_experts")
    shared = _read(config, "shared_expert_intermediate_size") or n_shared * width
    part = len(mixed) / config.num_hidden_layers
    return part * n_experts, round(part * (n_experts * width + shared) + (1 - part) * plain)


def describe_unquantized(n_joined: int, n_parameters: int, quantization: str) -> str | None:
    """What quantization leaves as it is, in words, before anything is loaded.

    n_joined (int): Weights of experts in tensors that hold several; see DecoderShape.
    n_parameters (int): Weights of the whole decoder.
    quantization (str): "none", "nf4" or "int8".
    RETURNS (str | None): None if there are no such experts.
    """
    if quantization == "none" or not n_joined:
        return None
    return (
        f"quantization = {quantization!r} leaves {n_joined / n_parameters:.0%} of the weights "
        f"unquantized: those of the experts, {2 * n_joined / 1e9:.3g} GB in half precision. "
        f"bitsandbytes quantizes linear layers, and transformers {TRANSFORMERS} keeps these "
        "experts in tensors of another form."
    )


def _both_forms(skeleton: Any) -> list[dict[str, torch.Tensor]]:
    own: dict[str, torch.Tensor] = skeleton.state_dict(keep_vars=True)
    if not IS_5:
        return [own]
    from transformers.core_model_loading import revert_weight_conversion

    return [own, revert_weight_conversion(skeleton, own)]  # what a save would hold


def _read(config: PretrainedConfig, *names: str) -> int:
    """The first of some sizes that a config has; the largest, where there is one per layer."""
    for name in names:
        value = getattr(config, name, None)
        if value:
            return int(max(value) if isinstance(value, list) else value)
    return 0
