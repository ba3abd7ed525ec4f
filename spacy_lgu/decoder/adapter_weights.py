"""adapter_model.safetensors: which modules it holds LoRA weights for, and whether they fit."""

import re
from contextlib import AbstractContextManager
from typing import Any

import torch

from .adapter_config import AdapterConfig, adapter_file
from .adapter_keys import MERGE
from .checkpoint import open_tensors

_WEIGHTS = "adapter_model.safetensors"
_WEIGHT = "base_model.model.{module}.lora_{letter}.weight"
_WEIGHT_NAME = re.compile(r"base_model\.model\.((?:\w+\.){0,30}\w+)\.lora_[AB]\.weight", re.ASCII)
_FLOATS = ("F32", "BF16", "F16")  # all of which float32 holds
ShapesT = dict[str, tuple[int, int]]


def open_weights(adapter: AdapterConfig) -> AbstractContextManager[Any]:
    """The weights of an adapter.

    adapter (AdapterConfig): Its config.
    RETURNS (ContextManager[safe_open]): Raises ValueError when the file is missing or damaged.
    """
    return open_tensors(adapter_file(adapter.file.parent, _WEIGHTS), what="adapter")


def read_shapes(adapter: AdapterConfig, weights: Any) -> ShapesT:
    """Input and output width of the modules with LoRA weights, which must be as the config says.

    adapter (AdapterConfig): The adapter's config.
    weights (safe_open): From open_weights.
    RETURNS (dict[str, tuple[int, int]]): By the modules' names in the adapter. Raises ValueError
        for anything but pairs of LoRA weights of the rank that the config gives.
    """
    file = adapter.file.with_name(_WEIGHTS)
    names = set(weights.keys())
    shapes = {}
    for name in sorted(names):
        found = _WEIGHT_NAME.fullmatch(name)
        if found is None:
            raise ValueError(
                f"{str(file)!r} holds {name!r}: expected nothing but LoRA weights of linear "
                f"modules, such as {_WEIGHT.format(module='MODULE', letter='A')!r}. {MERGE}"
            )
        module = found[1]
        A, B = (_WEIGHT.format(module=module, letter=letter) for letter in "AB")
        if not {A, B} <= names:
            raise ValueError(f"{str(file)!r} holds only one of {A!r} and {B!r}: copy it again.")
        slices = [weights.get_slice(A), weights.get_slice(B)]
        rank = adapter.rank_of(module)
        shape_A, shape_B = (part.get_shape() for part in slices)
        if not (len(shape_A) == len(shape_B) == 2 and shape_A[0] == shape_B[1] == rank):
            raise ValueError(
                f"{A!r} and {B!r} in {str(file)!r} have the shapes {shape_A} and {shape_B}: "
                f"expected [{rank}, input width] and [output width, {rank}], because the rank in "
                f"{adapter.file.name} is {rank}."
            )
        for part in slices:
            if part.get_dtype() not in _FLOATS:
                raise ValueError(
                    f"The LoRA weights of {module!r} in {str(file)!r} are {part.get_dtype()}: "
                    f"expected one of {', '.join(_FLOATS)}."
                )
        shapes[module] = (shape_A[1], shape_B[0])
    return shapes


def find_adapted(
    adapter: AdapterConfig, shapes: ShapesT, module: torch.nn.Module
) -> dict[str, str]:
    """The decoder's modules that have LoRA weights, each with its name in the adapter.

    adapter (AdapterConfig): The adapter's config.
    shapes (dict[str, tuple[int, int]]): From read_shapes.
    module (Module): The decoder, or its skeleton.
    RETURNS (dict[str, str]): Raises ValueError when the adapter does not fit the decoder.
    """
    linear = linear_layers(module)
    # Inside a model with an LM head, names begin with that of the decoder in it, which for Gemma 3
    # is not its base_model_prefix.
    levels = {"model", module.base_model_prefix}
    found = sorted({name.split(".")[0] for name in shapes} & levels)
    prefix = f"{found[0]}." if found else ""
    expected = {f"{prefix}{n}": n for n in linear if adapter.targets(f"{prefix}{n}")}
    if unexpected := sorted(shapes.keys() - expected.keys()):
        raise _misfit(
            adapter,
            f"{len(unexpected)} of its modules, such as {unexpected[0]!r}, are not among the "
            f"linear modules of this decoder (without LM head) that {adapter.file.name} names.",
        )
    if missing := sorted(expected.keys() - shapes.keys()):
        weight = _WEIGHT.format(module=missing[0], letter="A")
        raise _misfit(
            adapter, f"it lacks the weights of {len(missing)} modules, such as {weight!r}."
        )
    if not expected:
        raise _misfit(adapter, "it has no weights, and names none of its linear modules.")
    for saved, name in expected.items():
        widths = (linear[name].in_features, linear[name].out_features)
        if shapes[saved] != widths:
            raise _misfit(
                adapter,
                f"its weights of {saved!r} are for {shapes[saved][0]} input and {shapes[saved][1]} "
                f"output values, but that module has {widths[0]} and {widths[1]}.",
            )
    return {name: saved for saved, name in expected.items()}


def read_weight(adapter: AdapterConfig, weights: Any, module: str, letter: str) -> torch.Tensor:
    """LoRA weights of one module.

    adapter (AdapterConfig): The adapter's config.
    weights (safe_open): From open_weights.
    module (str): The module's name in the adapter.
    letter (str): "A" or "B".
    RETURNS (Tensor): Raises ValueError when a value is not finite.
    """
    name = _WEIGHT.format(module=module, letter=letter)
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


def _misfit(adapter: AdapterConfig, reason: str) -> ValueError:
    return ValueError(
        f"The adapter in {str(adapter.file.parent)!r} does not fit this decoder: {reason} The "
        f"decoder that it was trained on: {adapter.base.name or 'not recorded'}."
    )
