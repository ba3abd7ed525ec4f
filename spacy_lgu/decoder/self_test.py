"""A decoder proves itself once it is loaded: by its own weights, in one forward pass.

Three sequences of four positions enter every layer: a text, the same again, and the same with
another last position. What the layer makes of them shows its direction:

    causal layer         bidirectional layer
      a b c d              a b c d
      a b c d              a b c d              what differs here is noise
      a b c D              A B C D              what differs by more has seen the change

Layers without softmax attention are causal under every pattern. layer_check.py checks a family on a
tiny random copy. Here it is these weights, quantized as they are, on this device, with this
adapter.
"""

import re
from typing import Any

import numpy
import torch

from ..unmasking import LayerKind
from .config import MODEL_ERRORS
from .decoder import LGUDecoder
from .loading import TORCH_DTYPES
from .memory import is_out_of_memory
from .mixers import layer_kinds
from .packing import PackedBatch
from .tiny import find_layers

_LENGTH = 4
# Equal rows of a batch may be rounded differently; a change must exceed that by this factor.
_NOISE = 8.0
# Where equal rows have no noise, others may still be rounded: those that an expert gets last, and
# in recurrent layers, which compute with all positions of a chunk at once, those before the change,
# which are then rounded to the decoder's dtype, and in int8 to float16.
_FINE, _COARSE = torch.float32, torch.float16
_EXPERT = re.compile(r"\.experts\.\d+\.")
_NESTED = re.compile(r"(\.base_layer)+$")


@torch.no_grad()
def check_decoder(decoder: LGUDecoder) -> None:
    """Run a few subtokens through a loaded decoder and check what moved.

    decoder (LGUDecoder): The decoder, in evaluation mode.
    RETURNS (None): Raises ValueError naming the layer that does not have the direction of its
        group, or the modules whose adapter was not applied, for vectors that are not finite, and
        for a decoder that does not run.
    """
    layers, kinds = find_layers(decoder.base), layer_kinds(decoder.base.config)
    has_experts = any("experts" in name.split(".") for name, _ in decoder.base.named_modules())
    moved: list[list[int]] = []
    applied: set[str] = set()
    adapters = _find_adapters(decoder.base)
    hooks = [layer.register_forward_pre_hook(_repeat, with_kwargs=True) for layer in layers]
    fine = torch.finfo(_FINE).eps
    coarse = max(torch.finfo(dtype).eps for dtype in (TORCH_DTYPES[decoder.dtype], _COARSE))

    def record(_: torch.nn.Module, args: tuple[Any, ...], output: Any) -> None:
        i = len(moved)
        is_plain = kinds[i] is LayerKind.ATTENTION or decoder.unmasked[i]
        Y = output[0] if isinstance(output, tuple) else output
        moved.append(_find_moved(Y, fine if is_plain else coarse, has_experts=has_experts))

    hooks += [layer.register_forward_hook(record) for layer in layers]
    for name, module in adapters.items():

        def count(ran: torch.nn.Module, args: Any, output: Any, name: str = name) -> None:
            if not getattr(ran, "disable_adapters", False):
                applied.add(name)

        hooks.append(module.register_forward_hook(count))
    # Of each linear layer: attention kernels give zeros for queries that are no numbers.
    are_finite: list[torch.Tensor] = []

    def look(_: torch.nn.Module, args: Any, output: Any) -> None:
        are_finite.append(torch.isfinite(output).all())

    hooks += [
        module.register_forward_hook(look)
        for module in decoder.base.modules()
        if isinstance(module, torch.nn.Linear)
    ]
    vocabulary = decoder.base.get_input_embeddings().num_embeddings
    ids = numpy.tile((numpy.arange(_LENGTH) + 1) * 7919 % vocabulary, 3)
    try:
        Y = decoder(PackedBatch.pack(ids, [_LENGTH] * 3, device=decoder.device))
    except MODEL_ERRORS as error:
        if is_out_of_memory(error):
            raise
        raise ValueError(
            f"The decoder {decoder.base.config._name_or_path!r} does not run: layer {len(moved)} "
            f"or what is around it fails ({type(error).__name__}: {str(error)[:200]}). Its "
            "config.json is damaged, or quantization, adapter or device do not suit it."
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    if not all(map(bool, [torch.isfinite(Y).all(), *are_finite])):
        raise ValueError(
            f"The decoder's values are not finite in {decoder.dtype}: its weights are damaged, or "
            "too large for this dtype. Load it with dtype = 'float32', or copy its weights again."
        )
    for i, (positions, unmasked) in enumerate(zip(moved, decoder.unmasked, strict=True)):
        if positions != (list(range(_LENGTH)) if unmasked else [_LENGTH - 1]):
            raise ValueError(
                f"Layer {i} of the decoder should be {'bidirectional' if unmasked else 'causal'}, "
                f"but a change of position {_LENGTH - 1} moved positions {positions} of "
                f"{_LENGTH}. Its vectors would be wrong: please report the decoder, its "
                "quantization and the versions of torch and transformers. self_test = false in the "
                "config's [components.transformer.model] loads it anyway."
            )
    # Three texts do not reach every expert that is a module of its own.
    if missed := sorted(n for n in set(adapters) - applied if not _EXPERT.search(n)):
        raise ValueError(
            f"The adapter was not applied in {len(missed)} of {len(adapters)} modules, such as "
            f"{missed[0]!r}: please report the versions of peft and transformers."
        )


def _find_adapters(base: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """What runs when an adapter is applied, by the names of PEFT's layers."""
    modules = dict(base.named_modules())
    found = {}
    for name, module in modules.items():
        if name.rpartition(".")[0].endswith("lora_B"):
            layer = name.rpartition(".lora_B")[0]
            # LoRA on a parameter changes weights; its matrices are no modules that run. Of nested
            # layers, the outermost does it for all.
            is_parameter = hasattr(modules[layer], "parameter_name")
            found[layer] = modules[_NESTED.sub("", layer)] if is_parameter else module
    return found


def _repeat(
    _: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Show a layer the first sequence, twice as it is and once with another last position."""
    X = args[0] if args else kwargs["hidden_states"]  # (1, 3 * length, width)
    text = X[:, :_LENGTH]
    changed = torch.cat([text[:, :-1], -text[:, -1:]], dim=1)
    X = torch.cat([text, text, changed], dim=1)
    return ((X, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": X})


def _find_moved(Y: torch.Tensor, rounding: float, *, has_experts: bool = False) -> list[int]:
    """Positions of the last sequence that differ from those of the first by more than noise, and by
    more than rounding, relative to the largest value."""
    text, again, changed = Y[0].float().split(_LENGTH)  # (length, width) each
    noise = torch.maximum((again - text).abs().amax(), rounding * text.abs().amax())
    if has_experts:
        # An expert that gets another row may round all its rows otherwise, equal ones alike.
        noise = torch.maximum(noise, torch.finfo(Y.dtype).eps * text.abs().median())
    return ((changed - text).abs().amax(dim=1) > _NOISE * noise).nonzero()[:, 0].tolist()
