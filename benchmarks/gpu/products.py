"""Matrix products alone, by rows: what the hardware gives in bfloat16, NF4 and float8."""

from typing import Any

import torch

from .clock import DEVICE, median_seconds

_ROUNDS = 10


def measure_products(width: int, inner: int, rows: list[int]) -> dict[str, Any]:
    """Products of (rows, width) with the weights of an MLP's projection, (width, inner).

    width, inner (int): The weights' shape.
    rows (list[int]): How many rows, as many as a pack has subtokens.
    RETURNS (dict): Per kind, TFLOP/s by rows; "float8" only where the device has it. "peak":
        the most that bfloat16 reached, of these and of a large square.
    """
    results: dict[str, Any] = {}
    for kind, make in (("bfloat16", _bfloat16), ("nf4", _nf4), ("float8", _float8)):
        if kind == "float8" and not _has_float8():
            continue
        weight = torch.randn(inner, width, device=DEVICE, dtype=torch.bfloat16) / width**0.5
        multiply = make(weight)
        results[kind] = {}
        for n in rows:
            X = torch.randn(n, width, device=DEVICE, dtype=torch.bfloat16)
            with torch.no_grad():
                seconds = median_seconds(multiply, _ROUNDS, lambda _, X=X: X)
            results[kind][str(n)] = 2 * n * width * inner / seconds / 1e12
    side = 8192 if DEVICE.type == "cuda" else 256
    A = torch.randn(side, side, device=DEVICE, dtype=torch.bfloat16)
    square = 2 * side**3 / median_seconds(lambda _: A @ A, _ROUNDS) / 1e12
    results["peak"] = max(square, *results["bfloat16"].values())
    return results


def _bfloat16(weight: torch.Tensor) -> Any:
    return lambda X: X @ weight.T


def _nf4(weight: torch.Tensor) -> Any:
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
    """Per-channel scales of the weights, per-row scales of the inputs."""
    largest = torch.finfo(torch.float8_e4m3fn).max
    scale = weight.abs().amax(1, keepdim=True).float() / largest
    quantized = (weight.float() / scale).to(torch.float8_e4m3fn)

    def multiply(X: torch.Tensor) -> torch.Tensor:
        row = X.abs().amax(1, keepdim=True).float() / largest
        X8 = (X.float() / row).to(torch.float8_e4m3fn)
        return torch._scaled_mm(
            X8, quantized.T, scale_a=row, scale_b=scale.T, out_dtype=torch.bfloat16
        )

    return multiply


def _has_float8() -> bool:
    return DEVICE.type == "cuda" and torch.cuda.get_device_capability() >= (8, 9)
