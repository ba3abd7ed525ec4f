"""Linear modules in int8 that take inputs of any shape.

bitsandbytes looks for outliers in matrices, which it makes of inputs with three dimensions, and of
no others; latent attention hands it four.

Imported only with bitsandbytes, which takes seconds.
"""

import torch
from bitsandbytes.nn import Linear8bitLt


class LinearInt8(Linear8bitLt):
    """bitsandbytes' module, with inputs as matrices."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """RETURNS (Tensor): Shape: (..., outputs), from (..., inputs)."""
        rows: torch.Tensor = super().forward(x.reshape(-1, x.shape[-1]))
        return rows.reshape(*x.shape[:-1], -1)


def use_int8_linear(module: Linear8bitLt) -> None:
    """Give a module of bitsandbytes the forward pass of LinearInt8; changed in place."""
    if type(module) is Linear8bitLt:
        module.__class__ = LinearInt8
