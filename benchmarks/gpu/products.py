"""Matrix products alone, by rows: what the hardware gives in bfloat16, NF4 and float8."""

from functools import partial
from typing import Any

import torch

from .clock import DEVICE, median_seconds
from .float8 import Float8Linear, compiled_rounding, has_float8, multiply, round_rows
from .rows import attempt

_ROUNDS = 10


def measure_products(width: int, inner: int, rows: list[int]) -> dict[str, Any]:
    """Products of (rows, width) with the weights of an MLP's projection, (width, inner).

    width, inner (int): The weights' shape.
    rows (list[int]): How many rows, as many as a pack has subtokens.
    RETURNS (dict): Per kind, TFLOP/s by rows, or "failed"; float8 only where the device has it.
        "peak": the most that bfloat16 reached, of these and of a large square.
    """
    results: dict[str, Any] = {}
    for kind, make in _KINDS.items():
        if kind not in ("bfloat16", "nf4") and not has_float8():
            continue
        measure = partial(_measure, make, width, inner, rows)
        # Without bfloat16 nothing else can be compared.
        results[kind] = measure() if kind == "bfloat16" else attempt(measure)
    side = 8192 if DEVICE.type == "cuda" else 256
    A = torch.randn(side, side, device=DEVICE, dtype=torch.bfloat16)
    square = 2 * side**3 / median_seconds(lambda _: A @ A, _ROUNDS) / 1e12
    results["peak"] = max(square, *results["bfloat16"].values())
    return results


def _measure(make: Any, width: int, inner: int, rows: list[int]) -> dict[str, float]:
    weight = torch.randn(inner, width, device=DEVICE, dtype=torch.bfloat16) / width**0.5
    multiply = make(weight)
    found = {}
    for n in rows:
        X = torch.randn(n, width, device=DEVICE, dtype=torch.bfloat16)
        with torch.no_grad():
            seconds = median_seconds(multiply, _ROUNDS, lambda _, X=X: X)
        found[str(n)] = 2 * n * width * inner / seconds / 1e12
    return found


def _bfloat16(weight: torch.Tensor) -> Any:
    return lambda X: X @ weight.T


def nf4_linear(weight: torch.Tensor) -> Any:
    """A linear module of bitsandbytes.

    weight (Tensor): Shape: (outputs, inputs), bfloat16.
    RETURNS (Linear4bit): On the device, in NF4 with double quantization.
    """
    import bitsandbytes

    layer = bitsandbytes.nn.Linear4bit(
        weight.shape[1],
        weight.shape[0],
        bias=False,
        compute_dtype=torch.bfloat16,
        quant_type="nf4",
        compress_statistics=True,
    )
    layer.weight = bitsandbytes.nn.Params4bit(
        weight.cpu(), requires_grad=False, quant_type="nf4", compress_statistics=True
    )
    layer.support_avx512bf16_for_cpu = False
    return layer.to(DEVICE)


def _float8(weight: torch.Tensor) -> Any:
    return Float8Linear(weight, round_rows=round_rows, is_half_back=True)


def _float8_compiled(weight: torch.Tensor) -> Any:
    return Float8Linear(weight, round_rows=compiled_rounding(), is_half_back=True)


def _float8_alone(weight: torch.Tensor, is_fast: bool = True) -> Any:
    """Without the rounding of the inputs."""
    numbers, scales = round_rows(weight)
    rounded: dict[int, Any] = {}

    def multiply_rounded(X: torch.Tensor) -> torch.Tensor:
        if len(X) not in rounded:
            rounded[len(X)] = round_rows(X)
        return multiply(*rounded[len(X)], numbers.T, scales.T, is_fast=is_fast)

    return multiply_rounded


_KINDS = {
    "bfloat16": _bfloat16,
    "nf4": nf4_linear,
    "float8": _float8,
    "float8, rounding compiled": _float8_compiled,
    "float8, inputs rounded before": _float8_alone,
    "the same, sums in float32": partial(_float8_alone, is_fast=False),
}
