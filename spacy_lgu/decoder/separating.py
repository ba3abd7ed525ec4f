"""How transformers 5 loads a quantized decoder whose experts are separate.

A file that is not quantized is read as always, its experts joined by transformers, whatever names
it gives them; each joined weight is then split and quantized. Files that are quantized hold the
experts one by one, and nothing is joined.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from .attention import ATTENTION
from .separate import DOWN, GATE_UP, SeparateExperts, leads_to_experts, separate_experts
from .versions import IS_5


@contextmanager
def quantizing(separate: bool) -> Iterator[None]:
    """While a decoder is loaded, let it be quantized here. Other models load as ever.

    separate (bool): Whether experts are separated.
    """
    if not IS_5:
        yield
        return
    from transformers.quantizers import auto

    quantizers: dict[str, Any] = auto.AUTO_QUANTIZER_MAPPING
    kept = dict(quantizers)
    for kind in ("bitsandbytes_4bit", "bitsandbytes_8bit"):
        quantizers[kind] = _make_quantizer(kept[kind], separate)
    try:
        yield
    finally:
        quantizers.update(kept)


def _make_quantizer(base: Any, separate: bool) -> type:
    class Quantizer(base):
        """transformers' quantizer, for decoders of this package."""

        # No modules: transformers copies the quantizer for each weight that it reads.
        is_ours = False

        def _process_model_before_weight_loading(self, model: Any, **options: Any) -> None:
            self.is_ours = model.config._attn_implementation == ATTENTION
            experts = separate_experts(model) if self.is_ours and separate else {}
            super()._process_model_before_weight_loading(model, **options)
            if not self.pre_quantized:
                for module in experts.values():
                    module.expect_joined()

        def param_needs_quantization(self, model: Any, param_name: str, **options: Any) -> bool:
            is_joined = _find_experts(model, param_name) is not None
            return is_joined or super().param_needs_quantization(model, param_name, **options)

        def update_weight_conversions(self, weight_conversions: list[Any], model: Any) -> list[Any]:
            if self.is_ours and separate and self.pre_quantized:
                weight_conversions = [c for c in weight_conversions if not leads_to_experts(c)]
            updated: list[Any] = super().update_weight_conversions(weight_conversions, model)
            return updated

        def get_quantize_ops(self) -> Any:
            return _Splitting(super().get_quantize_ops())

        def get_load_operations(self) -> dict[str, Any]:
            operations: dict[str, Any] = super().get_load_operations()
            if self.is_ours:
                operations["deserialize"] = _make_reader(operations["deserialize"])
            return operations

    return Quantizer


def _find_experts(model: Any, name: str) -> SeparateExperts | None:
    """RETURNS (SeparateExperts | None): The module whose joined weight has this name."""
    owner, _, last = name.rpartition(".")
    module = model.get_submodule(owner)
    return module if isinstance(module, SeparateExperts) and last in (GATE_UP, DOWN) else None


class _Splitting:
    """transformers' operation that quantizes one weight, also for joined ones."""

    def __init__(self, quantize: Any) -> None:
        self.quantize = quantize

    def convert(
        self, input_dict: dict[str, Any], *, model: Any, missing_keys: set[str], **options: Any
    ) -> dict[str, torch.Tensor]:
        options |= {"model": model, "missing_keys": missing_keys}
        quantized: dict[str, torch.Tensor] = {}
        for name, values in input_dict.items():
            weight = values[0] if isinstance(values, list) else values
            parts = {name: weight}
            if (experts := _find_experts(model, name)) is not None:
                owner, _, last = name.rpartition(".")
                parts = {f"{owner}.{n}": part for n, part in experts.split(last, weight).items()}
                experts.forget_joined(last)
                missing_keys.discard(name)
            for part_name, part in parts.items():
                quantized |= self.quantize.convert({part_name: part.contiguous()}, **options)
        return quantized


def _make_reader(base: Any) -> type:
    import bitsandbytes

    class Reader(base):
        """transformers' operation that reads a weight that may be quantized, also for modules that
        are no linear layers, such as the routers of experts, which were linear layers once.

        What is not quantized gets the decoder's dtype: transformers leaves it that of the file.
        """

        def convert(
            self,
            input_dict: dict[str, Any],
            model: Any = None,
            full_layer_name: str = "",
            **options: Any,
        ) -> dict[str, torch.Tensor]:
            is_quantized = len(input_dict) > 1
            options |= {"model": model, "full_layer_name": full_layer_name}
            read: dict[str, Any] = super().convert(input_dict, **options)
            dtype = model.get_parameter_or_buffer(full_layer_name).dtype
            if not is_quantized:
                return {name: _convert(value, dtype) for name, value in read.items()}
            module = model.get_submodule(full_layer_name.rpartition(".")[0])
            if isinstance(module, torch.nn.Linear):
                return read
            return {
                name: bitsandbytes.functional.dequantize_4bit(weight, weight.quant_state).to(dtype)
                for name, weight in read.items()
            }

    return Reader


def _convert(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, list):
        return [_convert(weight, dtype) for weight in value]
    return value.to(dtype) if value.is_floating_point() and dtype.is_floating_point else value
