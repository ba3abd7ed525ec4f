"""The report of the GPU benchmark, as a page of the documentation."""

from pathlib import Path
from typing import Any

from spacy_lgu.replacing import replace_file

from .attention import print_attention
from .float8_stack import print_float8
from .heads import print_heads
from .layer import print_layer

_QUANTIZATIONS = {"nf4": "NF4", "bfloat16": "bfloat16"}
# Steps that find rows, of which some may be there when the step fails.
_ROWS = {
    "attention": ("Attention", print_attention),
    "layer": ("One layer", print_layer),
    "fp8": ("Frozen layers in float8", print_float8),
}


def write_report(results: dict[str, Any], output: Path) -> None:
    """Write the tables of all steps that have run.

    results (dict): "machine", "shape" and "steps", by name.
    output (Path): The page.
    """
    lines = ["# On a GPU", "", *_introduce(results)]
    steps = {name: step for name, step in results["steps"].items() if "failed" not in step}
    peak = _peak_subtokens(steps)
    for quantization, name in _QUANTIZATIONS.items():
        ours, peer = (steps.get(f"{who}-{quantization}", {}) for who in ("ours", "peer"))
        if ours or peer:
            lines += ["", f"## Inference, {name}", "", *_inference(ours, peer, peak)]
    if "ours-training" in steps or "peer-training" in steps:
        lines += ["", "## Training (QLoRA)", "", *_training(steps, peak)]
    if "stored" in steps:
        found = steps["stored"]
        lines += [
            "",
            f"`nlp.initialize` in NF4: {found['quantizing']:.1f} s where the decoder is quantized "
            f"while it is loaded, {found['stored']:.1f} s where it was quantized once and stored, "
            f"which took {found['store']:.1f} s.",
        ]
    if "options" in steps:
        lines += ["", "## What single parts bring", "", *_options(steps["options"])]
    if "heads" in steps:
        lines += ["", "## Heads", "", *print_heads(steps["heads"])]
    if "products" in steps:
        lines += ["", "## Matrix products", "", *_products(steps["products"])]
    for name, (title, print_rows) in _ROWS.items():
        if "rows" in results["steps"].get(name, {}):
            lines += ["", f"## {title}", "", *print_rows(results["steps"][name])]
    failed = {name: step for name, step in results["steps"].items() if "failed" in step}
    for name, step in failed.items():
        how = "Not finished" if "rows" in step else "Not measured"
        lines += ["", f"{how}: {name}, which {step['failed']}."]
    replace_file(output, ("\n".join(lines) + "\n").encode("utf8"))


def _introduce(results: dict[str, Any]) -> list[str]:
    machine = results["machine"]
    packages = ", ".join(
        f"{name} {machine[name]}" for name in machine if name not in ("gpu", "cuda")
    )
    return [
        f"A decoder of the shape `{results['shape']}` with random weights, on {machine['gpu']} "
        f"(CUDA {machine['cuda']}, {packages}). Lengths of texts are new in every batch. Made by",
        "",
        "```bash",
        f"python -m benchmarks.gpu --shape {results['shape']} --output docs/gpu.md",
        "```",
    ]


def _peak_subtokens(steps: dict[str, Any]) -> float | None:
    """Subtokens per second if nothing but the products of the layers took time."""
    if "products" not in steps or "decoder" not in steps:
        return None
    flops = 2 * steps["decoder"]["linear_weights"]
    return steps["products"]["peak"] * 1e12 / flops


def _share(speed: float, peak: float | None) -> str:
    return "" if peak is None else f"{speed / peak:.0%}"


def _inference(ours: dict[str, Any], peer: dict[str, Any], peak: float | None) -> list[str]:
    lines = ["| | subtokens/s | of peak |", "|---|---:|---:|"]
    for who, step in (("lgu_transformer", ours), ("padded loop", peer)):
        for name, speed in step.get("passes", {}).items():
            lines.append(f"| {who}: {name} | {speed:,.0f} | {_share(speed, peak)} |")
    if "load" in peer:
        lines += ["", f"transformers alone loaded the decoder in {peer['load']:.1f} s."]
    if ours:
        outside = ", ".join(f"{kind} {share:.1%}" for kind, share in ours["outside"].items())
        lines += [
            "",
            f"`nlp.initialize` took {ours['initialize']:.1f} s. Outside the decoder's forward: "
            f"{outside}.",
        ]
    return lines


def _training(steps: dict[str, Any], peak: float | None) -> list[str]:
    lines = [
        "Of peak counts three forward passes a step: forward, backward through the inputs, and the "
        "adapter's share.",
        "",
        "| | sentences | checkpointing | s/step | subtokens/s | of peak | GiB |",
        "|---|---:|---|---:|---:|---:|---:|",
    ]
    for who, name in (("lgu_transformer", "ours-training"), ("padded PEFT", "peer-training")):
        for row in steps.get(name, {}).get("steps", []):
            gib = "" if row["peak_gib"] is None else f"{row['peak_gib']:.1f}"
            speed = row["subtokens_per_second"]
            lines.append(
                f"| {who} | {row['sentences']} | {'on' if row['checkpointing'] else 'off'} | "
                f"{row['seconds']:.3f} | {speed:,.0f} | {_share(3 * speed, peak)} | {gib} |"
            )
    return lines


def _options(options: dict[str, Any]) -> list[str]:
    lines = [
        "LoRA on all linear modules of an NF4 base, with the sequence labeler; subtokens/s.",
        "",
        "| | without | with | times |",
        "|---|---:|---:|---:|",
    ]
    for part, row in options.items():
        gain = row["with"] / row["without"]
        lines.append(f"| {part} | {row['without']:,.0f} | {row['with']:,.0f} | {gain:.2f} |")
    return lines


def _products(products: dict[str, Any]) -> list[str]:
    tried = {kind: rows for kind, rows in products.items() if isinstance(rows, dict)}
    kinds = {kind: rows for kind, rows in tried.items() if "failed" not in rows}
    lines = [
        f"TFLOP/s by rows; the most that bfloat16 reached is {products['peak']:,.1f}.",
        "",
        f"| rows | {' | '.join(kinds)} |",
        f"|---:|{'---:|' * len(kinds)}",
    ]
    for n in next(iter(kinds.values())):
        values = " | ".join(f"{rows[n]:,.1f}" for rows in kinds.values())
        lines.append(f"| {int(n):,} | {values} |")
    for kind, rows in tried.items():
        if "failed" in rows:
            lines += ["", f"Not measured: {kind}. {rows['failed']}"]
    return lines
