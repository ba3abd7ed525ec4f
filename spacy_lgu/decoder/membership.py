"""Which decoders can be members of a fleet, and what each has of its own."""

from typing import TYPE_CHECKING, Any

import torch

from .building import BuiltDecoder
from .loading import SharedBase
from .mixers import find_mixers
from .mixing import Member, Update
from .products import dequantize

if TYPE_CHECKING:
    import peft


class ApartError(ValueError):
    """A decoder cannot run in one pass with others; alone it runs as ever."""


class BaseError(ApartError):
    """A decoder has another base, which would lie in memory beside that of the fleet."""


def find_member(built: BuiltDecoder, shared: SharedBase) -> Member:
    """What a decoder has of its own, beside a base that it shares.

    built (BuiltDecoder): The decoder. Its weights are not copied, so that training it would change
        the member; the factors of DoRA are computed from them now.
    shared (SharedBase): The base of the fleet, of any depth.
    RETURNS (Member): The member. Raises ApartError with the reason for a decoder with another base
        or dtype, and for adapters on modules that do not get all rows.
    """
    settings, decoder = built.settings, built.decoder
    if built.shared is None:
        raise ApartError("all its weights were trained (tuning = 'full')")
    check_base(built.shared, shared)
    if settings.quantization == "int8":
        # Outlier columns are found in the whole batch.
        raise ApartError("in int8, a text's vectors depend on the others in its pack")
    updates: dict[str, Update] = {}
    if decoder.adapter is not None:
        updates = _find_updates(decoder.base, decoder.adapter)
    return Member(
        unmasked=decoder.unmasked,
        repeat=decoder.repeat,
        read_previous=decoder.read_previous,
        updates=updates,
    )


def check_base(own: SharedBase, shared: SharedBase) -> None:
    """Compare two bases by what they were loaded from, not by what they are called.

    own (SharedBase): A pipeline's.
    shared (SharedBase): That of the fleet.
    RETURNS (None): Raises ApartError that names what differs.
    """
    if own is shared:
        return
    for what, one, other in zip(
        ("identity", "dtype", "quantization", "device"), own.key, shared.key, strict=False
    ):
        if one != other:
            raise BaseError(f"{what} of its base is {_brief(one)}, that of the fleet's "
                             f"{_brief(other)}")  # fmt: skip
    if not own.key:
        raise ApartError("its base was not loaded with load_shared_base")


def _brief(value: str) -> str:
    return repr(value if len(value) < 60 else f"{value[:12]}...")


def _find_updates(base: torch.nn.Module, adapter: "peft.PeftModel") -> dict[str, Update]:
    """The updates of an adapter, by the names of the linear modules that it is on."""
    from peft.tuners.lora import LoraLayer

    in_mixers = {id(module) for mixer in find_mixers(base) for module in mixer.modules()}
    updates: dict[str, Update] = {}
    for name, layer in base.named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        if hasattr(layer, "parameter_name") or "experts" in name.split("."):
            raise ApartError(f"its adapter is on experts ({name}), which get rows of their own")
        if id(layer) in in_mixers:
            raise ApartError(f"its adapter is on {name}, in a layer without softmax attention")
        if layer.active_adapters != ["default"] or layer.disable_adapters or layer.merged:
            raise ApartError(f"its adapter is switched off, merged or one of several ({name})")
        part = {name: getattr(layer, name)["default"] for name in ("lora_A", "lora_B", "scaling")}
        update = Update(part["lora_A"].weight, part["lora_B"].weight, part["scaling"])
        if layer.use_dora["default"]:
            update = _with_factor(update, layer, part)
        updates[name] = update
    return updates


@torch.no_grad()
def _with_factor(update: Update, layer: Any, part: dict[str, Any]) -> Update:
    """DoRA's factor, which depends on nothing but weights."""
    base = layer.get_base_layer()
    magnitudes = layer.lora_magnitude_vector["default"]
    return update._replace(factor=magnitudes.find_factor(dequantize(base), **part), bias=base.bias)
