"""Attention alone, in each way that torch has, on packs whose lengths are new in every call."""

import time
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy
import torch

from spacy_lgu.decoder.packing import PackedBatch

from .attention_kernels import KERNELS, Kernel, attend_exactly
from .clock import DEVICE, median_seconds
from .rows import attempt, distance, in_cell, tell
from .shapes import draw_pack

_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
_DIRECTIONS = {"causal": False, "whole": True}
_TEXTS = ("sentences", "articles")
_PASSES = {"forward": False, "forward + backward": True}
# The pack that is compared with the definition: equal lengths, unequal ones, and 1.
_CHECKED = (200, 130, 64, 64, 31, 7, 1)
# Seconds after which a cell needs no more rounds.
_MOST = 1.0


class Inputs:
    """Queries, keys, values and the output's gradient, as a decoder lays them out.

    QKV (list[Tensor]): Shape of each: (1, subtokens, heads, width).
    dY (Tensor): Shape: (subtokens, heads, width).
    """

    def __init__(self, QKV: list[torch.Tensor], dY: torch.Tensor) -> None:
        self.QKV = QKV
        self.dY = dY

    @classmethod
    def draw(
        cls, n_heads: int, n_key_heads: int, width: int, items: int, dtype: torch.dtype
    ) -> "Inputs":
        """For packs of at most so many items, always the same."""
        generator = torch.Generator(DEVICE).manual_seed(0)
        *QKV, dY = (
            torch.randn(1, items, n, width, device=DEVICE, generator=generator).to(dtype)
            for n in (n_heads, n_key_heads, n_key_heads, n_heads)
        )
        return cls(QKV, dY[0])

    def double(self) -> "Inputs":
        """RETURNS (Inputs): The same numbers in float64."""
        return Inputs([X.double() for X in self.QKV], self.dY.double())

    def take(self, n: int, requires_grad: bool) -> list[torch.Tensor]:
        """RETURNS (list[Tensor]): Query, key and value of n subtokens."""
        return [X[:, :n].transpose(1, 2).detach().requires_grad_(requires_grad) for X in self.QKV]


def measure_attention(
    n_heads: int, n_key_heads: int, width: int, items: int, rounds: int, seconds: float
) -> dict[str, Any]:
    """Milliseconds of every kernel, in both dtypes and directions, for both kinds of texts.

    n_heads, n_key_heads, width (int): Of a layer.
    items (int): Most subtokens of a pack.
    rounds (int): Packs per cell, after one to warm up.
    seconds (float): After which no cell is begun.
    RETURNS (dict): "rows": kernel, dtype, direction and "distance" from the definition by pass;
        "cells" by texts and pass, with "ms" and "subtokens_per_second"; "prepare", milliseconds of
        what the layers of a direction share. Or "failed" in the place of any of these.
    """
    end = time.perf_counter() + seconds
    packs = {
        # No cell sees the lengths of another one of its kernel.
        (texts, kind): [
            draw_pack(texts, items, 100 * i + seed, DEVICE) for seed in range(rounds + 1)
        ]
        for i, kind in enumerate(_PASSES)
        for texts in _TEXTS
    }
    shape = (n_heads, n_key_heads, width)
    inputs = {name: Inputs.draw(*shape, items, dtype) for name, dtype in _DTYPES.items()}
    small = {name: Inputs.draw(*shape, sum(_CHECKED), dtype) for name, dtype in _DTYPES.items()}
    rows: list[dict[str, Any]] = []
    # What takes seconds comes last, and is what is left out if there is no time.
    ways = sorted(product(_DTYPES, KERNELS), key=lambda way: KERNELS[way[1]].is_slow)
    for (dtype, name), (direction, unmasked) in product(ways, _DIRECTIONS.items()):
        kernel = KERNELS[name]
        torch._dynamo.reset()  # so that no row counts the compilations of the one before
        row: dict[str, Any] = {"kernel": name, "dtype": dtype, "direction": direction}
        rows.append(row)
        row["distance"] = {
            kind: attempt(partial(_check, kernel, small[dtype], unmasked, backward), end)
            for kind, backward in _PASSES.items()
        }
        if "failed" in row["distance"]["forward"]:
            row["failed"] = row.pop("distance")["forward"]["failed"]
        else:
            row |= _time_row(kernel, inputs[dtype], unmasked, packs, row["distance"], end)
        tell(rows)
    return tell(rows)


def _check(kernel: Kernel, inputs: Inputs, unmasked: bool, backward: bool) -> dict[str, float]:
    """The output's distance from the definition; or the largest of the gradients'."""
    lengths = numpy.array(_CHECKED)
    ids = numpy.zeros(lengths.sum(), dtype="int64")
    packed = PackedBatch.pack(ids, lengths, device=DEVICE)
    found = _run(_bind(kernel, packed, unmasked), inputs, packed, unmasked, backward)
    exact = _run(attend_exactly, inputs.double(), packed, unmasked, backward)
    return {"of": float(numpy.max(list(map(distance, found, exact))))}  # NaN stays


def _bind(kernel: Kernel, packed: PackedBatch, unmasked: bool) -> Callable[..., torch.Tensor]:
    """RETURNS (Callable): The kernel, with what is made once for all layers."""
    _ = packed.buckets, packed.max_length
    shared = None if kernel.prepare is None else kernel.prepare(packed, unmasked)

    def attend(*args: Any) -> torch.Tensor:
        return kernel.attend(*args, shared)

    return attend


def _run(
    attend: Callable[..., torch.Tensor],
    inputs: Inputs,
    packed: PackedBatch,
    unmasked: bool,
    backward: bool,
) -> list[torch.Tensor]:
    """RETURNS (list[Tensor]): The output; or the gradients of query, key and value, rows first."""
    n = packed.n_subtokens
    QKV = inputs.take(n, backward)
    with torch.set_grad_enabled(backward):
        Y = attend(*QKV, packed, unmasked)
    if not backward:
        return [Y]
    gradients = torch.autograd.grad(Y, QKV, inputs.dY[:n])
    return [dX[0].transpose(0, 1) for dX in gradients]


def _time_row(
    kernel: Kernel,
    inputs: Inputs,
    unmasked: bool,
    packs: dict[tuple[str, str], list[PackedBatch]],
    checked: dict[str, dict[str, Any]],
    end: float,
) -> dict[str, Any]:
    row: dict[str, Any] = {"cells": {}}
    for (texts, kind), drawn in packs.items():
        if "failed" in checked[kind]:
            found = checked[kind]
        else:
            found = attempt(partial(_time, kernel, inputs, unmasked, drawn, _PASSES[kind]), end)
        row["cells"][f"{texts}, {kind}"] = found
    if kernel.prepare is not None:
        row["prepare"] = attempt(
            partial(_time_preparing, kernel.prepare, unmasked, packs["sentences", "forward"]), end
        )
    return row


def _time(
    kernel: Kernel, inputs: Inputs, unmasked: bool, packs: list[PackedBatch], backward: bool
) -> dict[str, float]:
    def prepare(i: int) -> tuple[Callable[..., torch.Tensor], PackedBatch]:
        return _bind(kernel, packs[i], unmasked), packs[i]

    seconds = median_seconds(
        lambda made: _run(made[0], inputs, made[1], unmasked, backward),
        len(packs) - 1, prepare, most=_MOST,
    )  # fmt: skip
    n = numpy.median([packed.n_subtokens for packed in packs])
    return {"ms": 1000 * seconds, "subtokens_per_second": float(n) / seconds}


def _time_preparing(
    prepare: Callable[[PackedBatch, bool], Any], unmasked: bool, packs: list[PackedBatch]
) -> dict[str, float]:
    seconds = median_seconds(
        lambda i: prepare(packs[i], unmasked), len(packs) - 1, lambda i: i, most=_MOST
    )
    return {"ms": 1000 * seconds}


def print_attention(found: dict[str, Any]) -> list[str]:
    """RETURNS (list[str]): A table of what measure_attention found."""
    cells = [f"{texts}, {kind}" for texts in _TEXTS for kind in _PASSES]
    lines = [
        "Milliseconds for a pack and one layer, and subtokens/s. The distance is that from the "
        "definition in float64, of the output and of the gradients.",
        "",
        f"| kernel | dtype | direction | {' | '.join(cells)} | distance |",
        f"|---|---|---|{'---:|' * len(cells)}---:|",
    ]
    preparing = []
    for row in found["rows"]:
        begin = f"| {row['kernel']} | {row['dtype']} | {row['direction']} |"
        if "failed" in row:
            lines.append(f"{begin} {in_cell(row['failed'])} |{' |' * len(cells)}")
            continue
        values = [_print_cell(row["cells"][cell]) for cell in cells]
        apart = ", ".join(
            f"{found['of']:.1g}" for found in row["distance"].values() if "of" in found
        )
        lines.append(f"{begin} {' | '.join(values)} | {apart} |")
        if "ms" in row.get("prepare", {}):
            preparing.append(f"{row['direction']}, {row['dtype']}: {row['prepare']['ms']:.1f} ms")
    if preparing:
        lines += [
            "",
            "Not counted, because the layers of a direction share it: FlexAttention's block mask "
            f"of a pack of sentences ({'; '.join(preparing)}).",
        ]
    return lines


def _print_cell(found: dict[str, Any]) -> str:
    if "failed" in found:
        return in_cell(found["failed"])
    return f"{found['ms']:.2f} ({found['subtokens_per_second']:,.0f})"
