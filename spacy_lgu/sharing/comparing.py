"""Whether two decoders are the same: their configs, and every weight, bit by bit."""

from collections.abc import Iterator
from typing import Any

import torch
from transformers import PretrainedConfig

# What a config says besides how vectors are computed; the weights say how they are quantized.
_BESIDE = {
    "_name_or_path", "architectures", "bos_token_id", "dtype", "eos_token_id", "id2label",
    "label2id", "pad_token_id", "quantization_config", "torch_dtype", "transformers_version",
    "use_cache",
}  # fmt: skip


def differing_setting(first: PretrainedConfig, second: PretrainedConfig) -> str | None:
    """The first setting in which two configs differ.

    first, second (PretrainedConfig): The configs.
    RETURNS (str | None): Its name and both values. None: they describe one decoder.
    """
    values, others = first.to_dict(), second.to_dict()
    for name in sorted({*values, *others} - _BESIDE):
        if values.get(name) != others.get(name):
            return f"{name} = {values.get(name)!r} instead of {others.get(name)!r}"
    return None


def differing_weights(first: torch.nn.Module, second: torch.nn.Module) -> list[str]:
    """The weights in which two decoders differ, in value, shape or dtype.

    first, second (Module): The decoders, on one device; quantized weights are compared as they are
        stored, with their scales.
    RETURNS (list[str]): Their names, in the order of the first decoder.
    """
    values, others = dict(_tensors(first)), dict(_tensors(second))
    missing = [name for name in others if name not in values]
    return [n for n, value in values.items() if not _are_equal(value, others.get(n))] + missing


def _tensors(module: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    yield from module.state_dict().items()  # bitsandbytes adds its scales
    yield from module.named_buffers()  # those that no file holds, too: frequencies


def _are_equal(first: Any, second: Any) -> bool:
    if not isinstance(first, torch.Tensor) or not isinstance(second, torch.Tensor):
        return type(first) is type(second) and first == second
    same = first.dtype == second.dtype and first.shape == second.shape
    return same and torch.equal(first, second)
