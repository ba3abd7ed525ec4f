"""A decoder with its adapter as plain weights: dequantized, and the update added, in float32."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, PretrainedConfig

from ..decoder.adapter import load_adapter
from ..decoder.locking import LOADING
from ..decoder.products import dequantize


@torch.no_grad()
def merge_decoder(
    module: torch.nn.Module, config: PretrainedConfig, adapter: Path | None
) -> dict[str, torch.Tensor]:
    """The weights of a decoder, whatever was trained in it.

    module (Module): The decoder without an adapter, perhaps quantized. It stays as it is.
    config (PretrainedConfig): Its config.
    adapter (Path | None): Folder of the adapter that was trained on it.
    RETURNS (dict[str, Tensor]): By name, float32, on the CPU.
    """
    weights = dict(plain_weights(module))
    with LOADING, torch.device("meta"):
        plain: Any = AutoModel.from_config(copy.deepcopy(config))
    plain.load_state_dict(weights, assign=True)
    if adapter is None:
        return weights
    merged = load_adapter(plain, adapter, trainable=False).merge_and_unload(safe_merge=True)
    return dict(merged.state_dict())


def plain_weights(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights of a decoder as numbers of 32 bits.

    module (Module): A decoder.
    YIELDS (tuple[str, Tensor]): Names and weights, on the CPU. Those that were quantized are what
        bitsandbytes computes with.
    """
    quantized = {
        f"{name}.weight": dequantize(layer)
        for name, layer in module.named_modules()
        if type(getattr(layer, "weight", None)).__name__ in ("Params4bit", "Int8Params")
    }
    parameters = {**dict(module.named_parameters()), **quantized}
    for name, value in parameters.items():
        yield name, value.detach().to("cpu", torch.float32, copy=True)
    for name in module.state_dict():
        buffer = dict(module.named_buffers()).get(name)
        if buffer is not None:  # one that is saved
            yield name, buffer.detach().cpu().clone()
