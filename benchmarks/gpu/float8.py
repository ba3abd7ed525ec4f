"""Products in float8 (e4m3) with a frozen weight, and their gradient for the input.

Each output of the weight W has a scale, and each row of the input X: with q the rounded numbers,

    Y   =  (q(X) q(W)^T) * scales of X's rows * scales of W's outputs
    dX  =  (q(dY * scales of W's outputs) q(W)) * scales of these rows

The scales of W's outputs lie along the sum of dX, and therefore go into dY before it is rounded.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from .clock import COMPILER, DEVICE

_LARGEST = torch.finfo(torch.float8_e4m3fn).max
# A row of zeros has no largest number to divide by.
_SMALLEST = 1e-12
RoundT = Callable[..., tuple[torch.Tensor, torch.Tensor]]


def has_float8() -> bool:
    """RETURNS (bool): Whether the device multiplies in float8."""
    return DEVICE.type == "cuda" and torch.cuda.get_device_capability() >= (8, 9)


def round_rows(
    X: torch.Tensor, factors: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Round rows to float8, each with its largest number at the end of the range.

    X (Tensor): Shape: (rows, width).
    factors (Tensor | None): What is multiplied in before. Shape: (1, width).
    RETURNS (tuple[Tensor, Tensor]): The rounded rows, and their scales in float32, of shape
        (rows, 1).
    """
    if factors is not None:
        X = X.float() * factors
    scales = X.abs().amax(1, keepdim=True).float().clamp(min=_SMALLEST) / _LARGEST
    return (X.float() / scales).to(torch.float8_e4m3fn), scales


def compiled_rounding() -> RoundT:
    """RETURNS (Callable): round_rows in one kernel, for any number of rows."""
    compiled: RoundT = torch.compile(round_rows, dynamic=True, fullgraph=True, backend=COMPILER)
    return compiled


def multiply(
    X: torch.Tensor,
    X_scales: torch.Tensor,
    W: torch.Tensor,
    W_scales: torch.Tensor,
    *,
    is_fast: bool = True,
) -> torch.Tensor:
    """X W, rounded to bfloat16; in float32 where the device has no products in float8.

    X (Tensor): Rounded. Shape: (rows, inputs).
    X_scales (Tensor): Shape: (rows, 1).
    W (Tensor): Rounded, columns end to end. Shape: (inputs, outputs), multiples of 16.
    W_scales (Tensor): Shape: (1, outputs).
    is_fast (bool): Whether sums may have fewer bits than float32, which Hopper adds faster.
    RETURNS (Tensor): Shape: (rows, outputs).
    """
    if not has_float8():
        return (X.float() @ W.float() * X_scales * W_scales).bfloat16()
    return torch._scaled_mm(
        X, W, scale_a=X_scales, scale_b=W_scales, out_dtype=torch.bfloat16, use_fast_accum=is_fast
    )


class Float8Linear(torch.nn.Module):
    """A frozen linear module without bias that multiplies in float8.

    weight (Tensor): Shape: (outputs, inputs).
    round_rows (Callable): For inputs and gradients.
    is_half_back (bool): Whether gradients are multiplied in bfloat16, with the weight's rounded
        numbers, instead of in float8.
    """

    def __init__(self, weight: torch.Tensor, *, round_rows: RoundT, is_half_back: bool) -> None:
        super().__init__()
        self.round_rows = round_rows
        self.is_half_back = is_half_back
        numbers, scales = round_rows(weight)
        self.register_buffer("numbers", numbers)  # (outputs, inputs)
        self.register_buffer("scales", scales)  # (outputs, 1)
        if not is_half_back:
            # The kernel wants the columns of the second factor end to end, here as in forward.
            self.register_buffer("numbers_back", numbers.T.contiguous())  # (inputs, outputs)
            self.register_buffer("ones", torch.ones(1, weight.shape[1], device=weight.device))

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """RETURNS (Tensor): Shape: (..., outputs), from (..., inputs)."""
        Y: torch.Tensor = _Product.apply(X.flatten(0, -2).contiguous(), self)
        return Y.unflatten(0, X.shape[:-1])

    def multiply(self, X: torch.Tensor) -> torch.Tensor:
        """RETURNS (Tensor): Shape: (rows, outputs), from (rows, inputs)."""
        return multiply(*self.round_rows(X), self.numbers.T, self.scales.T)

    def multiply_back(self, dY: torch.Tensor) -> torch.Tensor:
        """RETURNS (Tensor): Shape: (rows, inputs), from (rows, outputs)."""
        if self.is_half_back:
            return (dY * self.scales.T).to(dY.dtype) @ self.numbers.to(dY.dtype)
        rounded, scales = self.round_rows(dY, self.scales.T)
        return multiply(rounded, scales, self.numbers_back.T, self.ones)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, X: torch.Tensor, linear: Float8Linear) -> torch.Tensor:
        ctx.linear = linear
        return linear.multiply(X)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dY: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.linear.multiply_back(dY.contiguous()), None
