"""LoRA in half precision, at inference on a base that computes in half precision.

An adapter's weights are float32. PEFT's layers therefore cast each input to float32, multiply there
and cast the sum back: products on a GPU's slow path, and twice the traffic, for digits that the sum
is then rounded off. Here inputs stay as they are, and the weights, which are small, are cast:

    PEFT      base(x) + (B (A float32(x)) * scale)       everything right of base(x) in float32
    here      base(x) + (half(B) (half(A) x) * scale)    one product that adds, sums in float32

In training, where float32 is what keeps small updates, and on a base in float32, PEFT's own forward
pass runs.

Imported only with PEFT, which takes seconds.
"""

from typing import Any

import torch
from peft.tuners.lora import bnb
from peft.tuners.lora.layer import Linear

from . import products
from .kinds import put_before

_HALF = (torch.bfloat16, torch.float16)
# The last two are there only with bitsandbytes.
_KINDS = [Linear, *(getattr(bnb, name, None) for name in ("Linear4bit", "Linear8bitLt"))]


class HalfLora(torch.nn.Module):
    """The part of a class that computes in half precision what it can, and leaves the rest to
    PEFT's class after it."""

    base_layer: Any
    lora_A: Any
    lora_B: Any
    scaling: dict[str, float]

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """RETURNS (Tensor): Shape: (..., outputs), from (..., inputs)."""
        if args or kwargs or not self._is_plain(x):
            return super().forward(x, *args, **kwargs)
        A, B = self.lora_A["default"], self.lora_B["default"]
        hidden = torch.nn.functional.linear(x, A.weight.to(x.dtype))
        added: torch.Tensor = B(hidden, self.base_layer(x), self.scaling["default"])
        return added

    def _is_plain(self, x: torch.Tensor) -> bool:
        """Whether this is inference in half precision, and LoRA that only adds."""
        layer: Any = self
        return (
            x.dtype in _HALF
            and not self.training
            and not torch.is_grad_enabled()
            and not torch.is_autocast_enabled(x.device.type)
            and layer.active_adapters == ["default"]
            and not (layer.disable_adapters or layer.merged)
            and not layer.lora_variant  # DoRA, which does more
            and layer.lora_B["default"].bias is None
        )


class AddingLinear(torch.nn.Linear):
    """LoRA's matrix B, which can add its product to the output of the base."""

    def forward(
        self, input: torch.Tensor, base: torch.Tensor | None = None, scale: float = 1.0
    ) -> torch.Tensor:
        """RETURNS (Tensor): Shape: (..., outputs), from (..., rank).

        base (Tensor | None): What the product is added to; changed in place, since nothing else has
            the output of a linear module. None: the product alone, in the weight's dtype.
        scale (float): Factor on the product.
        """
        if base is None:
            return super().forward(input)
        rows = base.reshape(-1, base.shape[-1])
        hidden = input.reshape(-1, input.shape[-1]).to(base.dtype)
        rows.addmm_(hidden, self.weight.to(base.dtype).T, alpha=scale)
        return rows.view(base.shape)


class AddingOneDNNLinear(AddingLinear, products.OneDNNLinear):
    """The same on CPUs where oneDNN is the faster way."""


def use_half_lora(module: torch.nn.Module) -> None:
    """Give PEFT's linear layers the forward pass of HalfLora.

    module (Module): A decoder with an adapter; its layers are changed in place.
    """
    adding = AddingOneDNNLinear if products.is_mkl_slow() else AddingLinear
    for found in module.modules():
        layer: Any = found
        if type(layer) in _KINDS:
            layer.__class__ = put_before(HalfLora, type(layer))
            for matrix in layer.lora_B.values():
                matrix.__class__ = adding
