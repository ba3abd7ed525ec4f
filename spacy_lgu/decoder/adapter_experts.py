"""LoRA on weights of experts, computed so that threads do not see each other's weights.

PEFT's own layer puts a parametrization on the module for the time of a forward pass and takes it
off again, with a cache that the whole process shares: two threads in one decoder break it. Here
each forward pass gets a module of its own, which differs in these weights alone.

Imported only with PEFT, which takes seconds.
"""

import copy
from typing import Any

import torch
from peft.tuners.lora.layer import ParamWrapper


class ExpertLora(ParamWrapper):
    """PEFT's layer for one parameter, with another forward pass."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes with the update added to its weights, nested layers included.

        RETURNS (Any): As the module itself returns it.
        """
        weights: dict[str, torch.Tensor] = {}
        layer: torch.nn.Module = self
        while isinstance(layer, ExpertLora):
            weights[layer.parameter_name] = layer._adapted()
            layer = layer.base_layer
        experts = copy.copy(layer)
        # The copy shares all other weights and, until here, this very dictionary.
        experts.__dict__["_parameters"] = {**layer._parameters, **weights}
        return experts(*args, **kwargs)

    def _adapted(self) -> torch.Tensor:
        """RETURNS (Tensor): The parameter with the active adapters. Shape: as the parameter's."""
        weight: torch.Tensor = self.get_param()
        if self.disable_adapters or self.merged:
            return weight
        for name in self.active_adapters:
            left, right, scale = self.get_delta_factors(name)
            # No product of its own: that would be as large as the weights of all experts.
            weight = torch.baddbmm(weight, left, right, alpha=scale)
        return weight


def use_expert_lora(module: torch.nn.Module) -> None:
    """Give all of PEFT's layers for parameters the forward pass of ExpertLora.

    module (Module): A decoder with an adapter; changed in place.
    """
    for layer in module.modules():
        if type(layer) is ParamWrapper:
            layer.__class__ = ExpertLora
