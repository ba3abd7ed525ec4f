"""`python -m spacy lgu evaluate`: strict scores on the tokens of a file."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from wasabi import msg

from . import app


@app.command("evaluate")
def evaluate_cli(
    pipeline: Annotated[str, typer.Argument(help="Name or folder of a trained pipeline")],
    data: Annotated[Path, typer.Argument(help="Annotated data, .spacy file or folder of them")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON to write")] = None,
    spans_key: Annotated[
        str | None, typer.Option("--spans-key", help="Score doc.spans[KEY], not doc.ents")
    ] = None,
    threshold_from: Annotated[
        Path | None,
        typer.Option(help="Choose the threshold of the span categorizer on this data, .spacy"),
    ] = None,
    limit: Annotated[int, typer.Option(help="Docs of each file; 0: all")] = 0,
    code: Annotated[Path | None, typer.Option("--code", "-c", help="Python file to import")] = None,
    gpu_id: Annotated[int, typer.Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
) -> None:
    """Score a pipeline as papers do: borders and label of a span must be right.

    The pipeline gets the tokens of the file, where `spacy evaluate` tokenizes the texts again.
    Docs without annotation are refused; predictions on tokens without annotation do not count.
    """
    # Every `python -m spacy` imports this file, so slow imports wait until they are needed.
    import spacy
    from spacy.cli._util import import_code, setup_gpu

    from ..metrics.evaluation import evaluate, find_threshold, read_gold
    from ..replacing import finished_folder, replace_file

    if threshold_from is not None and spans_key is None:
        raise ValueError("--threshold-from is for span categorizers, and needs --spans-key.")
    import_code(code)
    setup_gpu(gpu_id)
    found = finished_folder(Path(pipeline))
    nlp = spacy.load(pipeline if found == Path(pipeline) else found)
    docs = read_gold(nlp, data, limit, spans_key)
    scores: dict[str, Any] = {"threshold": None}
    if threshold_from is not None and spans_key is not None:
        held_out = read_gold(nlp, threshold_from, limit, spans_key)
        scores["threshold"] = find_threshold(nlp, held_out, spans_key)
    scores |= evaluate(nlp, docs, spans_key)
    _print(scores, "NER" if spans_key is None else "SPAN")
    if output is not None:
        replace_file(output, json.dumps(scores).encode("utf8") + b"\n")
        msg.good(f"Saved results to {output}")


def _print(scores: dict[str, Any], name: str) -> None:
    """The look of `spacy evaluate`."""
    from ..metrics.strict import SpanCounts

    results = {
        f"{name} P": f"{scores['precision']:.2f}",
        f"{name} R": f"{scores['recall']:.2f}",
        f"{name} F": f"{scores['f1']:.2f}",
        "SPEED": f"{scores['tokens_per_second']:.0f}",
    }
    if scores["threshold"] is not None:
        results["THRESHOLD"] = f"{scores['threshold']:.2f}"
    msg.table(results, title="Results")
    counts = {label: SpanCounts(*numbers) for label, numbers in scores["labels"].items()}
    rows = [
        (
            label,
            *(f"{100 * score:.2f}" for score in (of.precision, of.recall, of.f1)),
            *(of.n_correct, of.n_predicted, of.n_gold),
        )
        for label, of in counts.items()
    ]
    header = ("", "P", "R", "F", "correct", "predicted", "gold")
    msg.table(rows, header=header, aligns=("l", *"rrrrrr"), title=f"{name} (per type)")
