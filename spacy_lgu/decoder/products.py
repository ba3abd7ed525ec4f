"""Products of rows and weights in float32 on AMD's CPUs.

torch computes these with MKL, which takes a slow way on CPUs of other makers than Intel: 2.2 times
the time of oneDNN on an AMD EPYC with AVX512, forward and backward (benchmarks/cpu_products.py).
oneDNN is in torch's builds for x86, where half precision is computed with it. Both sum in float32,
in another order: results differ by rounding alone.
"""

import platform
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.autograd.function import once_differentiable

_CPU_INFO = Path("/proc/cpuinfo")
# Once there was no memory for the code of a product, oneDNN makes none for products of new sizes in
# this thread, however much memory there is later.
_NO_PRIMITIVE = "could not create a primitive"


class OneDNNLinear(torch.nn.Linear):
    """torch's module, with oneDNN's products in float32 on a CPU."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """RETURNS (Tensor): Shape: (..., outputs), from (..., inputs)."""
        if (
            input.dtype is torch.float32 is self.weight.dtype
            and input.device.type == self.weight.device.type == "cpu"
            and input.numel()
            and not torch.is_autocast_enabled("cpu")
        ):
            Y: torch.Tensor = Product.apply(input, self.weight, self.bias)
            return Y
        return super().forward(input)


class Product(torch.autograd.Function):
    """X W^T + b by oneDNN, with gradients."""

    @staticmethod
    def forward(ctx: Any, X: torch.Tensor, W: torch.Tensor, b: torch.Tensor | None) -> torch.Tensor:
        """RETURNS (Tensor): Shape: (..., outputs), from (..., inputs), at least one row."""
        for_X, for_W, _ = ctx.needs_input_grad
        # A frozen base keeps no inputs for its backward pass.
        ctx.save_for_backward(X if for_W else None, W if for_X else None)
        return multiply(X, W, b)

    @staticmethod
    @once_differentiable  # oneDNN's product has no gradient by itself
    def backward(ctx: Any, dY: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """RETURNS (tuple[Tensor | None]): Gradients of X, W and b, where they are asked for."""
        X, W = ctx.saved_tensors
        for_X, for_W, for_b = ctx.needs_input_grad
        rows = dY.reshape(-1, dY.shape[-1])
        dX = multiply(dY, W.t()) if for_X else None
        dW = multiply(rows.t(), X.reshape(-1, X.shape[-1]).t()) if for_W else None
        return dX, dW, rows.sum(0) if for_b else None


def multiply(X: torch.Tensor, W: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
    """X W^T + b by oneDNN.

    X (Tensor): Shape: (..., inputs), at least one row.
    W (Tensor): Shape: (outputs, inputs). Contiguous or the transpose of what is: anything else
        takes oneDNN a hundred times as long.
    b (Tensor | None): Shape: (outputs,).
    RETURNS (Tensor): Shape: (..., outputs).
    """
    try:
        Y: torch.Tensor = torch.ops.mkldnn._linear_pointwise(X, W, b, "none", [], "")
    except RuntimeError as error:
        if _NO_PRIMITIVE not in str(error):
            raise
        return torch.nn.functional.linear(X, W, b)
    return Y


def use_onednn(module: torch.nn.Module) -> None:
    """Let plain linear modules compute with oneDNN where that is the faster way.

    module (Module): Changed in place: they become instances of OneDNNLinear, with the same weights.
    """
    if not is_mkl_slow():
        return
    for child in module.modules():
        if type(child) is torch.nn.Linear:
            child.__class__ = OneDNNLinear


@cache
def is_mkl_slow() -> bool:
    """RETURNS (bool): Whether torch has both MKL and oneDNN, and the CPU is one of AMD's."""
    return (
        torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and "AuthenticAMD" in _read_maker()
    )


def has_fast_products(dtype: torch.dtype) -> bool:
    """Whether `multiply` is the faster way where torch's kernels for attention multiply with MKL.

    dtype (dtype): Of the factors.
    """
    if dtype is torch.bfloat16:
        return is_mkl_slow() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype is torch.float32 and is_mkl_slow()


def _read_maker() -> str:
    """What the system says of the CPU; Windows names its maker in platform.processor()."""
    return _CPU_INFO.read_text(encoding="utf8") if _CPU_INFO.is_file() else platform.processor()


def dequantize(module: Any) -> torch.Tensor:
    """The weight of a linear module as numbers.

    module (Linear): Plain, of bitsandbytes or of int8_products.py.
    RETURNS (Tensor): Shape: (outputs, inputs), without a gradient.
    """
    weight = module.weight
    if type(weight).__name__ == "Params4bit":
        from bitsandbytes.functional import dequantize_4bit

        numbers: torch.Tensor = dequantize_4bit(weight.data, weight.quant_state)
        return numbers
    if type(weight).__name__ == "Int8Params":
        from bitsandbytes.functional import int8_vectorwise_dequant

        scales = weight.SCB if module.state.SCB is None else module.state.SCB
        return int8_vectorwise_dequant(weight.data, scales)
    if hasattr(module, "dequantize"):
        found: torch.Tensor = module.dequantize()
        return found
    detached: torch.Tensor = weight.detach()
    return detached
