"""Weights of experts that LoRA is put on: one tensor for all experts of a layer.

A linear module keeps its own matrix. Where a decoder computes all experts of a layer at once, their
matrices lie in parameters of shape (experts, ..., ...) instead, and PEFT wraps the module that has
them: once for each of them that is adapted, the last one outside.

    parameter                   PEFT's layer              its weights in a file
    mlp.experts.gate_up_proj    mlp.experts.base_layer    mlp.experts.base_layer.lora_A ...
    mlp.experts.down_proj       mlp.experts               mlp.experts.lora_A ...
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import NamedTuple

import torch
from transformers import PretrainedConfig

from .checkpoint import build_skeleton
from .settings import LoraSettings

# These have no experts: PEFT adapts them as modules, or not at all.
_PLAIN = (torch.nn.Linear, torch.nn.Embedding, torch.nn.Conv1d, torch.nn.Conv2d)


class ExpertShape(NamedTuple):
    """The sizes of a parameter that holds one matrix for each expert.

    n_experts (int): Matrices, at least 2.
    n_inputs, n_outputs (int): Input and output width of each.
    """

    n_experts: int
    n_inputs: int
    n_outputs: int


def expert_parameters(module: torch.nn.Module) -> dict[str, ExpertShape]:
    """The parameters of a decoder that hold one matrix for each expert.

    module (Module): The decoder, or its skeleton.
    RETURNS (dict[str, ExpertShape]): By their full names, in the order of the modules.
    """
    found = {}
    for owner_name, owner in module.named_modules():
        if not owner_name or isinstance(owner, _PLAIN):
            continue
        for name, parameter in owner.named_parameters(recurse=False):
            if parameter.ndim != 3 or len(parameter) < 2:
                continue
            n_experts, first, second = parameter.shape
            # Most families multiply as linear modules do: (experts, outputs, inputs).
            is_transposed = getattr(owner, "is_transposed", False)
            widths = (first, second) if is_transposed else (second, first)
            found[f"{owner_name}.{name}"] = ExpertShape(n_experts, *widths)
    return found


def find_lora_parameters(lora: LoraSettings, config: PretrainedConfig) -> list[str]:
    """The names of the parameters that LoRA is put on, checked against the decoder's config.

    lora (LoraSettings): The settings.
    config (PretrainedConfig): The decoder's config.
    RETURNS (list[str]): Names for PEFT's target_parameters, as brief as can be. Raises ValueError
        with the parameters that exist when a name is not among them.
    """
    if not lora.parameters:
        return []
    available = list(expert_parameters(build_skeleton(config)))
    wanted = []
    for name in lora.parameters:
        if not (found := [full for full in available if _ends_with(full, name)]):
            raise _unknown(name, available, config.model_type)
        wanted += found
    return brief_names(wanted, available)


def brief_names(wanted: Iterable[str], available: Sequence[str]) -> list[str]:
    """The names of some parameters without that of their layer, where all layers are meant.

    wanted (Iterable[str]): Full names.
    available (Sequence[str]): The full names of all parameters of the decoder.
    RETURNS (list[str]): Sorted and unique. Each stands for all parameters whose names end with it
        after a dot.
    """
    chosen = set(wanted)
    names = set()
    for full in chosen:
        brief = _without_layer(full)
        is_everywhere = all(other in chosen for other in available if _ends_with(other, brief))
        names.add(brief if is_everywhere else full)
    return sorted(names)


def peft_layers(parameters: Iterable[str]) -> dict[str, str]:
    """Where PEFT puts the LoRA weights of some parameters.

    parameters (Iterable[str]): Full names, those of one module in the order in which it has them.
    RETURNS (dict[str, str]): The name of PEFT's layer for each.
    """
    by_owner = defaultdict(list)
    for name in parameters:
        by_owner[name.rpartition(".")[0]].append(name)
    return {
        name: owner + ".base_layer" * (len(names) - 1 - i)
        for owner, names in by_owner.items()
        for i, name in enumerate(names)
    }


def _unknown(name: str, available: list[str], family: str) -> ValueError:
    if not available:
        return ValueError(
            f"LoRA parameters {name!r}: decoders of the family {family!r} have no weights with one "
            "matrix per expert outside of linear modules. Name linear modules in lora.modules, "
            "and set parameters = []."
        )
    names = sorted({_without_layer(full) for full in available})
    close = get_close_matches(name, names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return ValueError(
        f"LoRA parameters {name!r} do not exist in decoders of the family {family!r}. Its weights "
        f"with one matrix per expert: {', '.join(names)}.{hint} Linear modules are named in "
        "lora.modules."
    )


def _without_layer(name: str) -> str:
    """The name within its layer: what follows the first number."""
    parts = name.split(".")
    numbers = [i for i, part in enumerate(parts) if part.isdecimal()]
    return ".".join(parts[numbers[0] + 1 :]) if numbers else name


def _ends_with(name: str, ending: str) -> bool:
    return name == ending or name.endswith(f".{ending}")
