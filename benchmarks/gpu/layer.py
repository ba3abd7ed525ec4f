"""One decoder layer on packs of new lengths: what compiling its small operations, or kernels that
join them, would bring."""

import gc
import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from itertools import product
from typing import Any
from unittest import mock

import torch
from transformers import AttentionInterface
from transformers.models.mistral import modeling_mistral

from spacy_lgu.decoder.attention import packed_attention
from spacy_lgu.decoder.loading import prepare_quantized_layers
from spacy_lgu.decoder.packing import PackedBatch

from .clock import COMPILER, DEVICE, median_seconds, now
from .products import nf4_linear
from .rows import attempt, distance, in_cell, tell
from .shapes import SHAPES, draw_pack, make_layers, replace_linear

_BASES = ("bfloat16", "nf4")
_PASSES = {"forward": False, "forward + backward": True}
_AS_IT_IS = "as it is"
_APART = "spacy_lgu_apart"
# The pack on which outputs are compared.
_CHECKED = 1024


def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    # Without fullgraph, too many compilations would end in the plain function, without an error.
    compiled: Callable[..., Any] = torch.compile(
        function, dynamic=True, fullgraph=True, backend=COMPILER
    )
    return compiled


def _compile_norms(layer: Any, _: ExitStack) -> None:
    for norm in (layer.input_layernorm, layer.post_attention_layernorm):
        norm.forward = _compile(norm.forward)


def _compile_rotary(_: Any, stack: ExitStack) -> None:
    _replace_rotary(_compile(modeling_mistral.apply_rotary_pos_emb), stack)


def _compile_activation(layer: Any, _: ExitStack) -> None:
    act = layer.mlp.act_fn
    _replace_activation(layer.mlp, _compile(lambda gate, up: act(gate) * up))


def _compile_parts(layer: Any, stack: ExitStack) -> None:
    for change in (_compile_norms, _compile_rotary, _compile_activation):
        change(layer, stack)


def _compile_layer(layer: Any, _: ExitStack) -> None:
    AttentionInterface.register(_APART, torch.compiler.disable(packed_attention))
    layer.self_attn.config._attn_implementation = _APART
    layer.compile(dynamic=True, backend=COMPILER)


def _use_liger(layer: Any, stack: ExitStack) -> None:
    if find_spec("liger_kernel") is None:
        raise NotImplementedError("liger-kernel is not installed")
    if DEVICE.type != "cuda":
        raise NotImplementedError("Liger's kernels need a GPU")
    from liger_kernel.transformers import liger_rotary_pos_emb
    from liger_kernel.transformers.functional import liger_rms_norm, liger_swiglu

    for norm in (layer.input_layernorm, layer.post_attention_layernorm):
        norm.forward = partial(liger_rms_norm, W=norm.weight, eps=norm.variance_epsilon)
    _replace_rotary(liger_rotary_pos_emb, stack)
    _replace_activation(layer.mlp, liger_swiglu)


def _replace_rotary(function: Callable[..., Any], stack: ExitStack) -> None:
    stack.enter_context(mock.patch.object(modeling_mistral, "apply_rotary_pos_emb", function))


def _replace_activation(mlp: Any, multiply: Callable[..., torch.Tensor]) -> None:
    """multiply (Callable): Takes what the gate gives, then what it is multiplied with."""

    def forward(X: torch.Tensor) -> torch.Tensor:
        Y: torch.Tensor = mlp.down_proj(multiply(mlp.gate_proj(X), mlp.up_proj(X)))
        return Y

    mlp.forward = forward


def _keep(_: Any, __: ExitStack) -> None:
    """Change nothing."""


_CHANGES: dict[str, Callable[[Any, ExitStack], None]] = {
    _AS_IT_IS: _keep,
    "norms compiled": _compile_norms,
    "rotary embedding compiled": _compile_rotary,
    "activation compiled": _compile_activation,
    "these three compiled": _compile_parts,
    "all but attention compiled": _compile_layer,
    "as it is, once more": _keep,  # what differs here is noise
    "Liger kernels": _use_liger,
}


def measure_layer(shape: str, items: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Milliseconds of a layer of a frozen base for packs of sentences, and for the backward pass to
    its input.

    shape (str): Of the decoder.
    items (int): Most subtokens of a pack.
    rounds (int): Packs per cell, after one that compiles.
    seconds (float): After which nothing is begun.
    RETURNS (dict): "rows": base, change and, by pass, "ms", "first", the seconds of the call that
        compiles, and "distance" of the output or the input's gradient from the unchanged layer's.
        Or "failed" in the place of any of these.
    """
    end = time.perf_counter() + seconds
    rows: list[dict[str, Any]] = []
    reference: dict[str, dict[str, torch.Tensor]] = {base: {} for base in _BASES}
    # Last, because what another version of Liger raises would end the step.
    ways = sorted(product(_BASES, _CHANGES), key=lambda way: _CHANGES[way[1]] is _use_liger)
    for base, name in ways:
        change = _CHANGES[name]
        measure = partial(_measure, shape, base, change, items, rounds, reference[base], end)
        rows.append({"base": base, "change": name, **attempt(measure, end)})
        tell(rows)
    return tell(rows)


def _measure(
    shape: str,
    base: str,
    change: Callable[[Any, ExitStack], None],
    items: int,
    rounds: int,
    reference: dict[str, torch.Tensor],
    end: float,
) -> dict[str, Any]:
    """reference (dict): The unchanged layer's output and gradient by pass; it fills it itself."""
    gc.collect()  # changed layers refer to themselves
    torch._dynamo.reset()
    model = make_layers(shape, 1, DEVICE)
    if base == "nf4":
        replace_linear(model, nf4_linear)
        prepare_quantized_layers(model, torch.bfloat16)
    generator = torch.Generator(DEVICE).manual_seed(0)
    size = (1, max(items, _CHECKED), SHAPES[shape]["hidden_size"])
    X, dY = (
        torch.randn(size, device=DEVICE, generator=generator).to(torch.bfloat16) for _ in range(2)
    )
    row = {}
    with ExitStack() as stack:
        change(model.layers[0], stack)
        for i, (name, backward) in enumerate(_PASSES.items()):
            run = partial(_run, model, X, dY, backward=backward)
            if change is _keep and name not in reference:
                reference[name] = run(draw_pack("sentences", _CHECKED, 0, DEVICE))
            row[name] = attempt(partial(_time, run, reference, name, items, rounds, 100 * i), end)
    return row


def _time(
    run: Callable[[PackedBatch], torch.Tensor],
    reference: dict[str, torch.Tensor],
    name: str,
    items: int,
    rounds: int,
    seed: int,
) -> dict[str, float]:
    packs = [draw_pack("sentences", items, seed + i, DEVICE) for i in range(rounds + 2)]
    start = now()
    run(packs.pop())
    first = now() - start
    seconds = median_seconds(run, rounds, packs.__getitem__)
    Y = run(draw_pack("sentences", _CHECKED, 0, DEVICE))
    apart = distance(Y, reference[name]) if name in reference else math.nan
    return {"ms": 1000 * seconds, "first": first, "distance": apart}


def _run(
    model: Any, X: torch.Tensor, dY: torch.Tensor, packed: PackedBatch, *, backward: bool
) -> torch.Tensor:
    """RETURNS (Tensor): The output or the input's gradient. Shape: (subtokens, width)."""
    n = packed.n_subtokens
    given = X[:, :n].detach().requires_grad_(backward)
    with torch.set_grad_enabled(backward):
        Y = model.layers[0](
            given,
            position_ids=packed.positions,
            position_embeddings=model.rotary_emb(given, packed.positions),
            packed=packed,
            unmasked=(False,),
        )
    Y = Y[0] if isinstance(Y, tuple) else Y  # a tuple in transformers 4
    if backward:
        (Y,) = torch.autograd.grad(Y, given, dY[:, :n])
    return Y[0]


def print_layer(found: dict[str, Any]) -> list[str]:
    """RETURNS (list[str]): A table of what measure_layer found."""
    lines = [
        "Milliseconds of one layer for a pack of sentences; times as fast as it is; seconds of the "
        "first call; distance of the output, or of the input's gradient, from those of the layer "
        "as it is.",
        "",
        f"| base | layer |{''.join(f' {name} | times | first | distance |' for name in _PASSES)}",
        f"|---|---|{'---:|' * 4 * len(_PASSES)}",
    ]
    plain = {row["base"]: row for row in found["rows"] if row["change"] == _AS_IT_IS}
    for row in found["rows"]:
        begin = f"| {row['base']} | {row['change']} |"
        if "failed" in row:
            lines.append(f"{begin} {in_cell(row['failed'])} |{' |' * (4 * len(_PASSES) - 1)}")
            continue
        cells = [_print_cells(row[name], plain[row["base"]].get(name, {})) for name in _PASSES]
        lines.append(f"{begin} {' | '.join(cells)} |")
    return lines


def _print_cells(found: dict[str, Any], plain: dict[str, Any]) -> str:
    if "failed" in found:
        return f"{in_cell(found['failed'])} | | |"
    times = f"{plain['ms'] / found['ms']:.2f}" if "ms" in plain else ""
    return f"{found['ms']:.2f} | {times} | {found['first']:.1f} | {found['distance']:.1g}"
