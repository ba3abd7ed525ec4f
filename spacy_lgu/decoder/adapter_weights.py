"""adapter_model.safetensors: which modules it holds LoRA weights for, and whether they fit."""

import re
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch

from .adapter_config import AdapterConfig, adapter_file
from .adapter_keys import MERGE
from .adapter_parameters import ExpertShape, expert_parameters, peft_layers
from .checkpoint import open_tensors

_WEIGHTS = "adapter_model.safetensors"
A, B, MAGNITUDE = "lora_A.weight", "lora_B.weight", "lora_magnitude_vector"
_NAME = re.compile(
    r"base_model\.model\.((?:\w+\.){0,30}\w+)\.(lora_[AB]\.weight|lora_magnitude_vector)", re.ASCII
)
_FLOATS = ("F32", "BF16", "F16")  # all of which float32 holds
# Rows of A, input width, output width.
ShapesT = dict[str, tuple[int, int, int]]


@dataclass(frozen=True, kw_only=True)
class Adapted:
    """A module, or a parameter, that has LoRA weights.

    saved (str): What the names of its weights in the adapter begin with.
    named (str): Its name in the model that was trained, by which the adapter's config finds it.
    layer (str): The name of PEFT's layer in the decoder.
    is_parameter (bool): Whether it is a parameter.
    """

    saved: str
    named: str
    layer: str
    is_parameter: bool = False


def open_weights(adapter: AdapterConfig) -> AbstractContextManager[Any]:
    """The weights of an adapter.

    adapter (AdapterConfig): Its config.
    RETURNS (ContextManager[safe_open]): Raises ValueError when the file is missing or damaged.
    """
    return open_tensors(adapter_file(adapter.file.parent, _WEIGHTS), what="adapter")


def read_shapes(adapter: AdapterConfig, weights: Any) -> ShapesT:
    """The sizes of all LoRA weights, which must be as the config says.

    adapter (AdapterConfig): The adapter's config.
    weights (safe_open): From open_weights.
    RETURNS (dict[str, tuple[int, int, int]]): By what the names of the weights begin with. Raises
        ValueError for anything but complete LoRA weights of the rank that the config gives.
    """
    file = adapter.file.with_name(_WEIGHTS)
    parts = (A, B, MAGNITUDE) if adapter.dora else (A, B)
    names = set(weights.keys())
    shapes: ShapesT = {}
    for name in sorted(names):
        found = _NAME.fullmatch(name)
        if found is None or found[2] not in parts:
            raise ValueError(
                f"{str(file)!r} holds {name!r}: expected nothing but LoRA weights of linear "
                f"modules, such as {_weight('MODULE', A)!r}{_others(adapter)}. {MERGE}"
            )
        if found[1] not in shapes:
            shapes[found[1]] = _read_shape(adapter, weights, names, found[1], parts)
    return shapes


def find_adapted(
    adapter: AdapterConfig, shapes: ShapesT, module: torch.nn.Module
) -> dict[str, Adapted]:
    """The decoder's modules and parameters that have LoRA weights.

    adapter (AdapterConfig): The adapter's config.
    shapes (dict[str, tuple[int, int, int]]): From read_shapes.
    module (Module): The decoder, or its skeleton.
    RETURNS (dict[str, Adapted]): By their names in the decoder. Raises ValueError when the adapter
        does not fit the decoder.
    """
    # Inside a model with an LM head, names begin with that of the decoder in it, which for Gemma 3
    # is not its base_model_prefix.
    levels = {"model", module.base_model_prefix}
    found = sorted({name.split(".")[0] for name in shapes} & levels)
    adapted = name_adapted(adapter, module, prefix=f"{found[0]}." if found else "")
    linear, experts = linear_layers(module), expert_parameters(module)
    _compare_names(adapter, shapes, adapted, _count_layers(linear))
    for name, part in adapted.items():
        rank = adapter.rank_of(part.named)
        sizes = experts[name] if part.is_parameter else _linear_shape(linear[name])
        expected = (rank * sizes.n_experts, sizes.n_inputs, sizes.n_outputs)
        if shapes[part.saved][1:] != expected[1:]:
            raise _misfit(
                adapter,
                f"its weights of {part.saved!r} are for {shapes[part.saved][1]} input and "
                f"{shapes[part.saved][2]} output values, but that module has {expected[1]} and "
                f"{expected[2]}.",
            )
        if shapes[part.saved] != expected:
            raise _misfit(
                adapter,
                f"its weights of {part.saved!r} have {shapes[part.saved][0]} rows, but rank {rank} "
                f"for {sizes.n_experts} experts makes {expected[0]}.",
            )
    return adapted


def name_adapted(
    adapter: AdapterConfig, module: torch.nn.Module, *, prefix: str = ""
) -> dict[str, Adapted]:
    """The decoder's modules and parameters that an adapter's config names.

    adapter (AdapterConfig): The adapter's config.
    module (Module): The decoder, or its skeleton.
    prefix (str): What their names begin with in the model that was trained.
    RETURNS (dict[str, Adapted]): By their names in the decoder.
    """
    adapted = {
        name: Adapted(saved=f"{prefix}{name}", named=f"{prefix}{name}", layer=name)
        for name in linear_layers(module)
        if adapter.targets(f"{prefix}{name}")
    }
    parameters = [
        name for name in expert_parameters(module) if adapter.targets_parameter(f"{prefix}{name}")
    ]
    return adapted | {
        name: Adapted(
            saved=f"{prefix}{layer}", named=f"{prefix}{name}", layer=layer, is_parameter=True
        )
        for name, layer in peft_layers(parameters).items()
    }


def read_weight(adapter: AdapterConfig, weights: Any, saved: str, part: str) -> torch.Tensor:
    """LoRA weights of one module.

    adapter (AdapterConfig): The adapter's config.
    weights (safe_open): From open_weights.
    saved (str): What the names of the module's weights begin with.
    part (str): A, B or MAGNITUDE.
    RETURNS (Tensor): Raises ValueError when a value is not finite.
    """
    name = _weight(saved, part)
    values: torch.Tensor = weights.get_tensor(name)
    if not values.isfinite().all():
        raise ValueError(
            f"{name!r} in {str(adapter.file.with_name(_WEIGHTS))!r} is not finite: the training "
            "has diverged, or the file is damaged. Use an earlier save."
        )
    return values


def linear_layers(module: torch.nn.Module) -> dict[str, torch.nn.Linear]:
    """The modules of a decoder that LoRA can be put on, by their full names."""
    return {n: m for n, m in module.named_modules() if isinstance(m, torch.nn.Linear)}


def _weight(saved: str, part: str) -> str:
    return f"base_model.model.{saved}.{part}"


def _others(adapter: AdapterConfig) -> str:
    return f", and {_weight('MODULE', MAGNITUDE)!r}" if adapter.dora else ""


def _linear_shape(module: torch.nn.Linear) -> ExpertShape:
    return ExpertShape(1, module.in_features, module.out_features)


def _read_shape(
    adapter: AdapterConfig, weights: Any, names: set[str], module: str, parts: tuple[str, ...]
) -> tuple[int, int, int]:
    """RETURNS (tuple[int, int, int]): As in ShapesT. Raises ValueError for parts that are missing
    or do not go together."""
    file = adapter.file.with_name(_WEIGHTS)
    if missing := [_weight(module, p) for p in parts if _weight(module, p) not in names]:
        raise ValueError(
            f"{str(file)!r} lacks {missing[0]!r}, but holds other weights of this module: copy it "
            "again."
        )
    slices = {part: weights.get_slice(_weight(module, part)) for part in parts}
    shape_A, shape_B = slices[A].get_shape(), slices[B].get_shape()
    rank = adapter.rank_of(module)
    # How many rows experts have is known only with the decoder.
    has_rank = adapter.parameters or shape_A[0] == rank
    if not (len(shape_A) == len(shape_B) == 2 and shape_A[0] == shape_B[1] and has_rank):
        raise ValueError(
            f"{_weight(module, A)!r} and {_weight(module, B)!r} in {str(file)!r} have the shapes "
            f"{shape_A} and {shape_B}: expected [{rank}, input width] and [output width, {rank}], "
            f"because the rank in {adapter.file.name} is {rank}."
        )
    if adapter.dora and (shape := slices[MAGNITUDE].get_shape()) != [shape_B[0]]:
        raise ValueError(
            f"{_weight(module, MAGNITUDE)!r} in {str(file)!r} has the shape {shape}: expected "
            f"[{shape_B[0]}], a magnitude for each output."
        )
    for part in slices.values():
        if part.get_dtype() not in _FLOATS:
            raise ValueError(
                f"The LoRA weights of {module!r} in {str(file)!r} are {part.get_dtype()}: "
                f"expected one of {', '.join(_FLOATS)}."
            )
    return shape_A[0], shape_A[1], shape_B[0]


def _compare_names(
    adapter: AdapterConfig, shapes: ShapesT, adapted: dict[str, Adapted], n_layers: int
) -> None:
    expected = {part.saved for part in adapted.values()}
    if unexpected := sorted(shapes.keys() - expected):
        raise _misfit(
            adapter,
            f"{len(unexpected)} of its modules, such as {unexpected[0]!r}, are not among the "
            "linear modules and parameters of this decoder (without LM head) that "
            f"{adapter.file.name} names." + _describe_depth(shapes, unexpected, n_layers),
        )
    if missing := sorted(expected - shapes.keys()):
        raise _misfit(
            adapter,
            f"it lacks the weights of {len(missing)} modules, such as {_weight(missing[0], A)!r}."
            + _describe_depth(shapes, missing, _count_layers(shapes)),
        )
    if not expected:
        raise _misfit(adapter, "it has no weights, and names none of its linear modules.")


def _describe_depth(shapes: ShapesT, differing: list[str], shorter: int) -> str:
    """What to do where nothing but layers after the shorter of two depths differs."""
    if any(_count_layers([name]) <= shorter for name in differing):
        return ""
    return (
        f" It was trained on {_count_layers(shapes)} layers: use it with the n_layers of its "
        "training (null: all)."
    )


def _count_layers(names: Iterable[str]) -> int:
    """Layers up to the last one that is named."""
    found = (re.search(r"\.(\d+)\.", name) for name in names)
    return max((int(number[1]) + 1 for number in found if number), default=0)


def _misfit(adapter: AdapterConfig, reason: str) -> ValueError:
    return ValueError(
        f"The adapter in {str(adapter.file.parent)!r} does not fit this decoder: {reason} The "
        f"decoder that it was trained on: {adapter.base.name or 'not recorded'}."
    )
