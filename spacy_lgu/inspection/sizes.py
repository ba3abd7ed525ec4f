"""What follows from the sizes of a decoder: layers, parameters, memory, where it runs."""

from dataclasses import asdict, dataclass
from typing import Any

from ..decoder.pack_size import choose_items, computed_bytes
from ..decoder.settings import DecoderSettings
from ..decoder.shape import DecoderShape
from ..unmasking import unmask_layers
from .machine import Machine, attention_kind, resolve_dtype, resolve_products
from .memory import (
    BYTES,
    PROCESS,
    Use,
    adapter_parameters,
    inference_bytes,
    loaded_bytes,
    trained_parameters,
    training_bytes,
    weights_bytes,
)

FactsT = dict[str, Any]
_ROWS = 4096  # of the Docs in memory at once, where max_batch_items is "auto"


@dataclass(frozen=True, kw_only=True)
class Load:
    """Where a decoder would run, and how much it would compute at once.

    machine (Machine): The machine.
    max_batch_items (int | None): Subtokens per forward pass at inference. None: as in the config,
        or what "auto" stands for.
    batch_size (int): Subtokens per update.
    """

    machine: Machine
    max_batch_items: int | None = None
    batch_size: int = 512


def size_facts(
    shape: DecoderShape,
    settings: DecoderSettings,
    adapted: dict[str, int],
    load: Load,
    *,
    dropout: float = 0.1,
    dora: bool = False,
) -> FactsT:
    """What follows from a decoder's sizes: layers, parameters, memory, where it runs."""
    unmasked = unmask_layers(settings.unmasking, shape.n_layers, shape.kinds)
    gpu = load.machine.gpu
    dtype = resolve_dtype(settings.dtype, gpu=gpu is not None)
    use = Use(
        quantization=settings.quantization,
        dtype=dtype,
        tuning=settings.tuning,
        adapted=adapted,
        dropout=dropout,
        dora=dora,
        gradient_checkpointing=settings.gradient_checkpointing,
        paged_8bit=settings.optimizer is not None and settings.optimizer.paged_8bit,
        gpu=gpu is not None,
    )
    n_items = load.max_batch_items
    if is_auto := n_items is None:
        beside = None if gpu is None else max(0, gpu.free - loaded_bytes(shape, use))
        n_items = choose_items(beside, computed_bytes(shape, BYTES[dtype]))
    memory = {
        "weights": weights_bytes(shape, use),
        "inference": inference_bytes(shape, use, n_rows=max(n_items, is_auto * _ROWS)),
        "training": training_bytes(shape, use, n_rows=load.batch_size * (settings.repeat + 1)),
        "max_batch_items": n_items,
        "is_auto": is_auto,
        "batch_size": load.batch_size,
    }
    free = load.machine.free if gpu is None else gpu.free
    process = PROCESS if gpu is None else 0
    sizes = asdict(shape)
    del sizes["linear"], sizes["experts"]
    kinds = [kind.value for kind in sizes.pop("kinds")]
    return {
        **sizes,
        "depth": settings.n_layers,
        "repeat": settings.repeat,
        "read_previous": settings.read_previous,
        "pattern": settings.unmasking,
        "layers": "".join("b" if flag else "c" for flag in unmasked),
        "kinds": kinds,
        "parameters": {
            "total": shape.n_parameters + adapter_parameters(shape, use),
            "trained": trained_parameters(shape, use),
        },
        "quantization": settings.quantization,
        "dtype": dtype,
        "products": {
            "wanted": settings.products,
            "here": resolve_products(settings, gpu=gpu is not None),
        },
        "tuning": settings.tuning,
        "memory": memory,
        "runs": {
            "on": "CPU" if gpu is None else gpu.name,
            "attention": attention_kind(dtype, shape.head_width, gpu=gpu),
            "free": free,
            "inference_fits": None if free is None else memory["inference"] + process < free,
            "training_fits": None if free is None else memory["training"] + process < free,
        },
    }
