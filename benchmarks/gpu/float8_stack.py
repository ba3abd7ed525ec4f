"""Layers whose frozen weights are float8, under LoRA, beside the same in bfloat16 and NF4."""

import gc
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn.functional import cosine_similarity

from spacy_lgu.decoder.decoder import LGUDecoder
from spacy_lgu.decoder.loading import prepare_quantized_layers
from spacy_lgu.decoder.packing import PackedBatch

from .clock import DEVICE, median_seconds, peak_gib, reset_peak
from .float8 import Float8Linear, compiled_rounding, has_float8, round_rows
from .products import nf4_linear
from .rows import attempt, in_cell, tell
from .shapes import draw_pack, make_layers, replace_linear

_LAYERS = 4
_UNMASKED = (False, False, True, True)
_RANK = 16
_ADAPTED = ("q_proj", "v_proj")
# Worth building from here on: times as fast, and cosine of the gradients.
GAIN, COSINE = 1.25, 0.999
MakeT = Callable[[torch.Tensor], torch.nn.Module]


class Lora(torch.nn.Module):
    """LoRA on a linear module, with float32 weights that are multiplied in the input's dtype.

    base (Module): Frozen.
    inputs, outputs (int): Its widths.
    """

    def __init__(self, base: torch.nn.Module, inputs: int, outputs: int) -> None:
        super().__init__()
        self.base = base
        # B is not 0, as after some training: else A would have no gradient.
        self.A, self.B = (
            torch.nn.Parameter(torch.randn(size, device=DEVICE) / size[1] ** 0.5)
            for size in ((_RANK, inputs), (outputs, _RANK))
        )

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """RETURNS (Tensor): Shape: (..., outputs), from (..., inputs)."""
        Y: torch.Tensor = self.base(X) + X @ self.A.to(X.dtype).T @ self.B.to(X.dtype).T
        return Y


def adapt(model: Any, make: MakeT | None) -> list[Lora]:
    """Put LoRA on a decoder, whose linear modules are first replaced.

    model (PreTrainedModel): A Llama or one of its kin. Changed in place.
    make (Callable | None): Takes a weight, returns the module for it; None: they stay.
    RETURNS (list[Lora]): The adapted modules, input side first.
    """
    sizes = {
        name: (module.in_features, module.out_features)
        for name, module in model.named_modules()
        if name.rpartition(".")[2] in _ADAPTED
    }
    if make is not None:
        replace_linear(model, make)
    torch.manual_seed(1)
    adapted = []
    for name, size in sizes.items():
        parent, _, attribute = name.rpartition(".")
        module = model.get_submodule(parent)
        adapted.append(Lora(getattr(module, attribute), *size))
        setattr(module, attribute, adapted[-1])
    return adapted


def _kinds() -> dict[str, MakeT | None]:
    """By the names that the report has for them; None: as the layers are made."""
    return {
        "bfloat16": None,
        "nf4": nf4_linear,
        **{
            f"float8, gradients in {back}{how}": partial(
                Float8Linear, round_rows=rounding, is_half_back=back == "bfloat16"
            )
            for how, rounding in (("", round_rows), (", rounding compiled", compiled_rounding()))
            for back in ("float8", "bfloat16")
        },
    }


def measure_float8(
    shape: str, step_items: int, items: int, rounds: int, seconds: float
) -> dict[str, Any]:
    """Seconds of training steps and of inference, and how alike outputs and gradients are.

    shape (str): Of the decoder.
    step_items, items (int): Most subtokens of a pack, in a step and in inference.
    rounds (int): Packs that are counted, after one to warm up.
    seconds (float): After which nothing is begun.
    RETURNS (dict): "rows": kind, "outputs" and "gradients", cosines with bfloat16; "real", whether
        the products are the device's own; where they are, "step" and "inference" in milliseconds
        and "peak_gib". Or "failed".
    """
    end = time.perf_counter() + seconds
    rows: list[dict[str, Any]] = []
    reference: list[torch.Tensor] = []
    for kind, make in _kinds().items():
        is_real = has_float8() or "float8" not in kind
        measure = partial(_measure, shape, make, reference, step_items, items, rounds * is_real)
        rows.append({"kind": kind, "real": is_real, **attempt(measure, end)})
        tell(rows)
    return tell(rows)


def _measure(
    shape: str,
    make: MakeT | None,
    reference: list[torch.Tensor],
    step_items: int,
    items: int,
    rounds: int,
) -> dict[str, Any]:
    """reference (list[Tensor]): Outputs and gradients in bfloat16; filled by that kind.

    rounds (int): 0: nothing is timed.
    """
    gc.collect()
    torch._dynamo.reset()
    model = make_layers(shape, _LAYERS, DEVICE)
    adapt(model, make)
    if make is not None:
        prepare_quantized_layers(model, torch.bfloat16)
    decoder = LGUDecoder(model, unmasked=_UNMASKED, dtype="bfloat16").eval()
    generator = torch.Generator(DEVICE).manual_seed(0)
    dY = torch.randn(step_items, decoder.width, device=DEVICE, generator=generator)

    found = _compute(decoder, draw_pack("sentences", step_items, 0, DEVICE), dY)
    if make is None:
        reference += found
    if not reference:
        raise RuntimeError("bfloat16, with which it is compared, has no figures")
    names = ("outputs", "gradients")
    row: dict[str, Any] = {
        name: cosine_similarity(X.double(), Y.double(), dim=0).item()
        for name, X, Y in zip(names, found, reference, strict=True)
    }
    if not rounds:
        return row

    def step(packed: PackedBatch) -> None:
        _compute(decoder, packed, dY)

    @torch.no_grad()
    def infer(packed: PackedBatch) -> None:
        decoder(packed)

    reset_peak()
    for name, most, call in (("step", step_items, step), ("inference", items, infer)):
        packs = [draw_pack("sentences", most, 1 + i, DEVICE) for i in range(rounds + 1)]
        row[name] = 1000 * median_seconds(call, rounds, packs.__getitem__)
    return {**row, "peak_gib": peak_gib()}


def _compute(decoder: LGUDecoder, packed: PackedBatch, dY: torch.Tensor) -> list[torch.Tensor]:
    """RETURNS (list[Tensor]): The output and all gradients of the adapter, as one row each."""
    Y = decoder(packed)
    weights = [p for _, p in decoder.trainable()]
    gradients = torch.autograd.grad(Y, weights, dY[: len(Y)])
    return [Y.detach().flatten(), torch.cat([dW.flatten() for dW in gradients])]


def print_float8(found: dict[str, Any]) -> list[str]:
    """RETURNS (list[str]): A table of what measure_float8 found, and what follows from it."""
    rows = {row["kind"]: row for row in found["rows"]}
    lines = [
        f"{_LAYERS} layers, their linear modules frozen, under LoRA of rank {_RANK} on "
        f"{' and '.join(_ADAPTED)}: milliseconds of a step (forward and backward) and of "
        "inference, for packs of sentences; cosines with bfloat16 of the adapter's gradients and "
        "of the outputs.",
        "",
        "| weights | step | times bfloat16 | times nf4 | inference | times bfloat16 | times nf4 | "
        "gradients | outputs | GiB |",
        f"|---|{'---:|' * 9}",
    ]
    for kind, row in rows.items():
        if "failed" in row:
            lines.append(f"| {kind} | {in_cell(row['failed'])} |{' |' * 8}")
            continue
        times = [_print_times(rows, kind, name) for name in ("step", "inference")]
        gib = row.get("peak_gib")
        lines.append(
            f"| {kind} | {' | '.join(times)} | {row['gradients']:.5f} | {row['outputs']:.5f} | "
            f"{'' if gib is None else f'{gib:.1f}'} |"
        )
    return [*lines, "", _decide(rows)]


def _print_times(rows: dict[str, dict[str, Any]], kind: str, name: str) -> str:
    own = rows[kind].get(name)
    if own is None:
        return " | | "
    others = (rows.get(other, {}).get(name) for other in ("bfloat16", "nf4"))
    times = ["" if other is None else f"{other / own:.2f}" for other in others]
    return f"{own:.2f} | {' | '.join(times)}"


def _decide(rows: dict[str, dict[str, Any]]) -> str:
    rule = (
        f"Worth building if a step is at least {GAIN} times as fast as the faster of bfloat16 and "
        f"nf4, and the cosine of its gradients at least {COSINE}:"
    )
    if not all(row["real"] for row in rows.values()):
        return f"{rule} not decided, because this device only imitates products in float8."
    others = [rows[kind]["step"] for kind in ("bfloat16", "nf4") if "step" in rows.get(kind, {})]
    tried = {kind: row for kind, row in rows.items() if "float8" in kind and "step" in row}
    if not tried or not others:
        return f"{rule} not decided, because steps are missing."
    exact = {kind: row for kind, row in tried.items() if row["gradients"] >= COSINE}
    best = min(exact or tried, key=lambda kind: tried[kind]["step"])
    gain = min(others) / tried[best]["step"]
    worth = "yes" if exact and gain >= GAIN else "no"
    cosines = [
        f"{name} {rows[kind]['gradients']:.5f}"
        for name, kind in (("its cosine", best), ("nf4's", "nf4"))
        if "gradients" in rows.get(kind, {})
    ]
    return f"{rule} {worth} ({best}: {gain:.2f} times, {', '.join(cosines)})."
