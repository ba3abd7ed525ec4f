"""Arrays on their way to the device: together, and without anybody waiting.

A copy from ordinary memory to a GPU makes the process wait until the GPU has finished all that it
was given before. One from page-locked memory takes its turn on the GPU, while the process goes on.
Each copy has a price of its own, whatever its size, so that arrays go in one:

    arrays    [a a a] [b b b b b] [c]
    buffer     a a a . b b b b b . . . c        each begins at a multiple of 16 bytes
"""

import math
from collections.abc import Sequence

import numpy
import torch

_STEP = 16  # bytes, to which kernels may want their inputs aligned


def to_device(arrays: Sequence[numpy.ndarray], device: torch.device) -> list[torch.Tensor]:
    """Arrays as tensors on a device.

    arrays (Sequence[ndarray]): The arrays, which must not be changed afterwards: on a CPU, tensors
        share their memory.
    device (device): Where they go.
    RETURNS (list[Tensor]): Of the same shapes and dtypes. On a GPU they are parts of one buffer.
    """
    if device.type != "cuda":
        return [torch.from_numpy(numpy.ascontiguousarray(array)).to(device) for array in arrays]
    return _split(_join(arrays, pinned=True).to(device, non_blocking=True), arrays)


def _join(arrays: Sequence[numpy.ndarray], *, pinned: bool) -> torch.Tensor:
    """The bytes of all arrays in one buffer. Shape: (bytes,), uint8."""
    ends = _ends(arrays)
    # torch keeps page-locked memory until the copies from it are done, and uses it again then.
    buffer = torch.empty(ends[-1] if ends else 0, dtype=torch.uint8, pin_memory=pinned)
    for part, array in zip(_split(buffer, arrays), arrays, strict=True):
        part.copy_(torch.from_numpy(numpy.ascontiguousarray(array)))
    return buffer


def _split(buffer: torch.Tensor, arrays: Sequence[numpy.ndarray]) -> list[torch.Tensor]:
    """The parts of a buffer in which arrays lie, with their shapes and dtypes."""
    parts = []
    for array, end in zip(arrays, _ends(arrays), strict=True):
        start = end - _padded(array.nbytes)
        dtype = torch.from_numpy(numpy.empty(0, dtype=array.dtype)).dtype
        part = buffer[start : start + array.nbytes].view(dtype)
        parts.append(part.view(array.shape))
    return parts


def _ends(arrays: Sequence[numpy.ndarray]) -> list[int]:
    ends, end = [], 0
    for array in arrays:
        end += _padded(array.nbytes)
        ends.append(end)
    return ends


def _padded(n_bytes: int) -> int:
    return math.ceil(n_bytes / _STEP) * _STEP
