"""A 7B decoder on one GPU: inference and training beside the usual ways, and what is possible.

    python -m benchmarks.gpu --output docs/gpu.md             # under 10 minutes on an H100
    python -m benchmarks.gpu --shape tiny --output /tmp/gpu.md  # on any CPU, to try it

The decoder has Mistral-7B's shape and random weights, made on the device. Every step runs in a
process of its own within a time limit, the cheapest first; what a step found is written before the
next begins, so that a machine that goes away leaves the rest. Steps that may meet what a device
refuses, or a version of torch, leave the rows that they found, too.
"""

import json
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from thinc.compat import has_cupy_gpu
from transformers import AutoConfig

from spacy_lgu.replacing import replace_file

from .report import write_report
from .shapes import SHAPES, count_linear, find_heads, make_decoder

# What a step measures, by the shape: texts, packs, rounds, sentences per step, rows of a product.
_SIZES: dict[str, dict[str, Any]] = {
    "7b": {
        "counts": {"sentences": 3000, "articles": 160},
        "packs": [4096, "auto"],
        "rounds": 2,
        "sizes": [16, 64],
        "steps": 8,
        "rows": [256, 1024, 4096, 16384],
        "pack": 16384,
        "packs_timed": 10,
    },
    "tiny": {
        "counts": {"sentences": 40, "articles": 2},
        "packs": [512, "auto"],
        "rounds": 1,
        "sizes": [4],
        "steps": 2,
        "rows": [64],
        "pack": 256,
        "packs_timed": 1,
    },
}
# In the order in which they run, the most wanted first, with their limits in seconds.
STEPS = {
    "products": 90,
    "decoder": 120,
    "stored": 150,
    "ours-nf4": 150,
    "peer-nf4": 150,
    "ours-training": 150,
    "peer-training": 150,
    "ours-bfloat16": 100,
    "peer-bfloat16": 100,
    "attention": 110,
    "fp8": 90,
    "layer": 100,
    "heads": 100,
    "options": 100,
}
_WITHOUT_CUPY = {
    "products", "decoder", "attention", "layer", "fp8",
    "peer-nf4", "peer-training", "peer-bfloat16",
}  # fmt: skip
# Of steps that find rows: the most packs per figure, and the seconds after which none is begun.
_ROWS = {"attention": (5, 50), "layer": (10, 45), "fp8": (5, 35)}
_PACKAGES = ("torch", "transformers", "bitsandbytes", "peft", "spacy")

app = typer.Typer(add_completion=False)


@app.command()
def measure(
    output: Annotated[Path, typer.Option(help="The report, in Markdown")],
    shape: Annotated[str, typer.Option(help=f"Of the decoder: {', '.join(SHAPES)}")] = "7b",
    folder: Annotated[Path, typer.Option(help="Where the decoder is made")] = Path(
        "training/gpu-benchmark"
    ),
    steps: Annotated[str, typer.Option(help="Steps to run")] = ",".join(STEPS),
    minutes: Annotated[float, typer.Option(help="For all steps; what is left is named")] = 10,
    one: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Measure everything and write the report, and the figures beside it as .json."""
    for name, value, choices in (
        ("--shape", shape, SHAPES),
        *((("--steps", s, STEPS)) for s in steps.split(",")),
    ):
        if value not in choices:
            raise typer.BadParameter(
                f"expected one of {', '.join(choices)}: {value!r}", param_hint=name
            )
    figures = output.with_suffix(".json")
    if one is not None:
        found = _run_step(one, shape, folder / shape)
        print(json.dumps(found))
        return
    if torch.cuda.is_available() and not has_cupy_gpu and not {*steps.split(",")} <= _WITHOUT_CUPY:
        raise typer.BadParameter(
            "spaCy needs CuPy to use the GPU that is here: pip install cupy-cuda13x (or 12x, as "
            f"torch's CUDA). Without it: {', '.join(s for s in STEPS if s in _WITHOUT_CUPY)}",
            param_hint="--steps",
        )
    results: dict[str, Any] = {"machine": describe_machine(), "shape": shape, "steps": {}}
    end = time.monotonic() + 60 * minutes
    for step in steps.split(","):
        print(f"{step} ...", file=sys.stderr, flush=True)
        limit = min(STEPS[step], int(end - time.monotonic()))
        results["steps"][step] = (
            _in_process(step, shape, folder, output, limit)
            if limit > 0
            else {"failed": f"was not begun within {minutes:g} minutes"}
        )
        replace_file(figures, json.dumps(results, indent=2).encode("utf8") + b"\n")
        write_report(results, output)
    print(output.read_text())


def _in_process(step: str, shape: str, folder: Path, output: Path, limit: int) -> dict[str, Any]:
    """limit (int): Seconds. RETURNS (dict): What the step printed last, and if that is not all,
    "failed" with the reason."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--one", step, "--shape", shape]
    command += ["--folder", str(folder), "--output", str(output)]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=limit, check=True)
    except subprocess.TimeoutExpired as error:
        return {**_read_last(error.stdout), "failed": f"took over {limit} s"}
    except subprocess.CalledProcessError as error:
        failed = f"ended with status {error.returncode}; see its messages"
        return {**_read_last(error.stdout), "failed": failed}
    return _read_last(done.stdout) or {"failed": "printed nothing that it found"}


def _read_last(output: bytes | None) -> dict[str, Any]:
    """RETURNS (dict): What was printed last of what a step found; the last line may be cut off."""
    for line in reversed((output or b"").decode("utf8", "replace").splitlines()):
        if line.startswith("{"):
            try:
                found: dict[str, Any] = json.loads(line)
            except json.JSONDecodeError:
                continue
            return found
    return {}


def _run_step(step: str, shape: str, decoder: Path) -> dict[str, Any]:
    from . import (
        attention,
        float8_stack,
        heads,
        inference,
        layer,
        options,
        products,
        training,
    )  # after the parent's options are checked
    from .clock import DEVICE

    sizes = _SIZES[shape]
    if step == "products":
        width, inner = (SHAPES[shape][n] for n in ("hidden_size", "intermediate_size"))
        return products.measure_products(width, inner, sizes["rows"])
    if step in _ROWS:
        rounds, seconds = _ROWS[step]
        items, limits = sizes["pack"], (min(rounds, sizes["packs_timed"]), seconds)
        if step == "attention":
            n_heads, n_key_heads, width = find_heads(shape)
            return attention.measure_attention(n_heads, n_key_heads, width, items, *limits)
        if step == "layer":
            return layer.measure_layer(shape, items, *limits)
        return float8_stack.measure_float8(shape, items // 4, items, *limits)
    make_decoder(decoder, shape, DEVICE)
    if step == "decoder":
        return {"linear_weights": count_linear(AutoConfig.from_pretrained(decoder))}
    if step == "stored":
        return inference.measure_stored(decoder)
    if step == "options":
        return options.measure_options(decoder, sizes["counts"]["sentences"], sizes["rounds"])
    if step == "heads":
        return heads.measure_heads(decoder, "nf4", sizes["sizes"][-1], sizes["steps"])
    who, _, what = step.partition("-")
    if what == "training":
        measure_steps = training.measure_ours if who == "ours" else training.measure_peer
        return {"steps": measure_steps(decoder, sizes["sizes"], sizes["steps"])}
    quantization = "nf4" if what == "nf4" else "none"
    if who == "ours":
        return inference.measure_ours(
            decoder, quantization, sizes["counts"], sizes["packs"], sizes["rounds"]
        )
    return inference.measure_peer(decoder, quantization, sizes["counts"], sizes["rounds"])


def describe_machine() -> dict[str, Any]:
    """RETURNS (dict): What the figures were measured on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "gpu": gpu,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
    }


if __name__ == "__main__":
    app()
