"""The flash kernel for sequences that lie end to end, in whatever form torch has it.

torch has it since 2.10. Its parameters have changed since: `enable_gqa` is asked for by later
versions only, earlier ones take grouped keys as they are; without `window_size`, a flag says
whether it is causal.
"""

from functools import cache
from importlib.util import find_spec
from inspect import signature
from typing import Any

import torch

from .packing import PackedBatch


def fits_varlen(query: torch.Tensor, value: torch.Tensor, window: int | None) -> bool:
    """Whether the kernel computes this attention: in half precision, on Ampere or newer, with heads
    of one width up to 256.

    query (Tensor): Shape: (1, heads, total, head_width).
    value (Tensor): Shape: (1, key_value_heads, total, value_width).
    window (int | None): Positions that rows look back; None: all.
    RETURNS (bool): The answer.
    """
    parameters = varlen_parameters()
    return (
        query.is_cuda
        and query.shape[-1] == value.shape[-1]
        and query.dtype in (torch.bfloat16, torch.float16)
        and query.shape[-1] <= 256
        and query.shape[-1] % 8 == 0
        and torch.cuda.get_device_capability(query.device) >= (8, 0)
        and bool(parameters)
        and (window is None or "window_size" in parameters)
    )


@cache
def varlen_parameters() -> frozenset[str]:
    """RETURNS (frozenset[str]): Names of the kernel's parameters; none where torch lacks it."""
    if find_spec("torch.nn.attention.varlen") is None:
        return frozenset()
    from torch.nn.attention.varlen import varlen_attn

    return frozenset(signature(varlen_attn).parameters)


def attend_varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packed: PackedBatch,
    *,
    unmasked: bool,
    window: int | None,
    scaling: float | None,
) -> torch.Tensor:
    """Attend within each sequence, by one call of the kernel.

    query (Tensor): Shape: (1, heads, total, head_width).
    key, value (Tensor): Shape: (1, key_value_heads, total, head_width).
    packed (PackedBatch): The batch.
    unmasked (bool): Whether each row sees its whole sequence.
    window (int | None): Positions that a causal row looks back, itself included.
    scaling (float | None): Factor on the scores; None: 1 / sqrt(head_width).
    RETURNS (Tensor): Shape: (total, heads, head_width).
    """
    from torch.nn.attention.varlen import varlen_attn  # absent in older versions

    parameters = varlen_parameters()
    options: dict[str, Any] = {}
    if "window_size" in parameters:
        left = -1 if window is None else window - 1
        options["window_size"] = (-1, -1) if unmasked else (left, 0)
    else:
        options["is_causal"] = not unmasked
    if "enable_gqa" in parameters:
        options["enable_gqa"] = query.shape[1] != key.shape[1]
    if "scale" in parameters:
        options["scale"] = scaling
    elif scaling is not None:
        query = query * (scaling * query.shape[-1] ** 0.5)
    output: Any = varlen_attn(
        query[0].transpose(0, 1),  # (total, heads, head_width)
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        packed.cu_seqlens,
        packed.cu_seqlens,
        packed.max_length,
        packed.max_length,
        **options,
    )
    return output
