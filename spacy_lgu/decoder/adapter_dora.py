"""DoRA on any base, computed without a change to it.

PEFT's own layer dequantizes the base in each forward pass, and on CPUs then replaces its weight by
a copy, which costs an int8 module its scales, and which other threads would see.

Imported only with PEFT, which takes seconds.
"""

from typing import Any

import torch
from peft.tuners.lora.dora import DoraLinearLayer
from peft.tuners.lora.layer import LoraLayer

from .products import dequantize

# A norm that is none.
_LEAST = 1e-30


class DoraLayer(DoraLinearLayer):
    """The trained magnitudes of one module, with another forward pass than PEFT's.

    With m the magnitudes, s the scale and W the weight of the base, the module computes
    m * (W + s B A) x / ||W + s B A|| + b, the norm one for each output and without a gradient, as
    in section 4.3 of Liu et al., 2024 (arXiv 2402.09353).
    """

    def forward(
        self,
        x: torch.Tensor,
        *,
        lora_A: torch.nn.Linear,
        lora_B: torch.nn.Linear,
        scaling: float,
        base_layer: Any,
        base_result: torch.Tensor | None = None,
        **_: Any,
    ) -> torch.Tensor:
        """What is added to the base's output. Shape: (..., outputs).

        x (Tensor): The input, after dropout. Shape: (..., inputs).
        base_result (Tensor | None): The base's output, b included. None: it was computed without
            the dropout that x went through.
        """
        weight = dequantize(base_layer)  # (outputs, inputs)
        factor = self.find_factor(weight, lora_A, lora_B, scaling)
        if base_result is None:
            # In the dtype of the base: faster, and autograd keeps no larger copy of the weight.
            base_result = torch.nn.functional.linear(x.to(weight.dtype), weight)
        elif base_layer.bias is not None:
            base_result = base_result - base_layer.bias
        return (factor - 1) * base_result + factor * scaling * lora_B(lora_A(x))

    def find_factor(
        self,
        weight: torch.Tensor,
        lora_A: torch.nn.Linear,
        lora_B: torch.nn.Linear,
        scaling: float,
    ) -> torch.Tensor:
        """m / ||W + s B A||, with a gradient for m alone. Shape: (outputs,).

        weight (Tensor): W. Shape: (outputs, inputs).
        """
        with torch.no_grad():
            updated = torch.addmm(weight.float(), lora_B.weight, lora_A.weight, alpha=scaling)
            norm = torch.linalg.norm(updated, dim=1)
        # An output without weights has no direction to scale.
        factor: torch.Tensor = torch.where(norm > 0, self.weight / norm.clamp(min=_LEAST), 1.0)
        return factor


def use_dora_layer(module: torch.nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Give all of PEFT's DoRA layers the forward pass of DoraLayer.

    module (Module): A decoder with an adapter; changed in place.
    weights (dict[str, Tensor]): The weights of its linear modules as they were before PEFT
        looked at them, by the names of the modules.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, LoraLayer):
            layer.get_base_layer().weight = weights[name]
            for magnitudes in layer.lora_magnitude_vector.values():
                magnitudes.__class__ = DoraLayer


def reset_magnitudes(layer: LoraLayer) -> None:
    """Set the magnitudes of a new adapter to the norms of the base's weights, so that it changes
    nothing. PEFT's own are rounded to the dtype of the base.

    layer (LoraLayer): Its matrix B is zero.
    """
    weight = dequantize(layer.get_base_layer()).float()
    layer.lora_magnitude_vector["default"].weight.data = torch.linalg.norm(weight, dim=1)
