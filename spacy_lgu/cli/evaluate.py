"""`python -m spacy lgu evaluate`: strict scores on the tokens of a file."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from wasabi import msg

from . import app
from .options import CodeOption, GpuOption

if TYPE_CHECKING:
    from ..metrics.strict import SpanCounts

_COLUMNS = ("P", "R", "F", "correct", "predicted", "gold")


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
    by_length: Annotated[
        bool, typer.Option("--by-length", help="Also F1 by the number of tokens of the texts")
    ] = False,
    lengths: Annotated[
        str | None,
        typer.Option(help="Most tokens of each bin of --by-length, in place of 32,128,512,2048"),
    ] = None,
    join: Annotated[
        str | None,
        typer.Option(
            help="Also F1 with neighbouring texts joined up to so many tokens: 128, or 128,512,2048"
        ),
    ] = None,
    limit: Annotated[int, typer.Option(help="Docs of each file; 0: all", min=0)] = 0,
    code: CodeOption = None,
    gpu_id: GpuOption = -1,
) -> None:
    """Score a pipeline as papers do: borders and label of a span must be right.

    The pipeline gets the tokens of the file, where `spacy evaluate` tokenizes the texts again.
    Docs without annotation are refused; predictions on tokens without annotation do not count.
    """
    from spacy.cli._util import import_code, setup_gpu

    from ..metrics.evaluation import evaluate, find_threshold, read_gold
    from ..metrics.lengths import (
        LENGTHS,
        describe_bin,
        evaluate_joined,
        parse_lengths,
        score_by_length,
    )
    from ..pipeline.opening import open_pipeline
    from ..replacing import replace_file

    if threshold_from is not None and spans_key is None:
        raise ValueError("--threshold-from is for span categorizers, and needs --spans-key.")
    if lengths is not None and not by_length:
        raise ValueError("--lengths are the bins of --by-length: give that, too.")
    ends = LENGTHS if lengths is None else parse_lengths(lengths)
    join_to = () if join is None else parse_lengths(join)
    if output is not None and output.is_dir():
        raise IsADirectoryError(f"{str(output)!r} is a folder: expected a file to write.")
    import_code(code)
    setup_gpu(gpu_id)
    nlp = open_pipeline(pipeline)
    docs = read_gold(nlp, data, limit, spans_key)
    scores: dict[str, Any] = {"threshold": None}
    if threshold_from is not None and spans_key is not None:
        held_out = read_gold(nlp, threshold_from, limit, spans_key)
        scores["threshold"] = find_threshold(nlp, held_out, spans_key)
    scores |= evaluate(nlp, docs, spans_key)
    name = "NER" if spans_key is None else "SPAN"
    _print(scores, name)
    if by_length:
        bins = score_by_length(map(len, docs), scores["documents"], ends)
        scores["by_length"] = [describe_bin(entry) for entry in bins]
        _print_by_length(scores["by_length"], name)
    if join_to:
        scores["joined"] = [evaluate_joined(nlp, docs, spans_key, to) for to in join_to]
        _print_joined([{**scores, "tokens": [len(doc) for doc in docs]}, *scores["joined"]], name)
    if output is not None:
        replace_file(output, json.dumps(scores).encode("utf8") + b"\n")
        msg.good(f"Saved results to {output}")


def _print(scores: dict[str, Any], name: str) -> None:
    """The look of `spacy evaluate`."""
    from ..inputs import printable
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
    rows = [(printable(label), *_spell(of)) for label, of in counts.items()]
    header = ("", *_COLUMNS)
    msg.table(rows, header=header, aligns=("l", *"rrrrrr"), title=f"{name} (per type)")


def _print_by_length(bins: list[dict[str, Any]], name: str) -> None:
    from ..metrics.strict import SpanCounts

    rows = [
        (
            f"{entry['first']:,}-{entry['last']:,}" if entry["last"] else f"{entry['first']:,}-",
            f"{entry['texts']:,}",
            *_spell(SpanCounts(*entry["spans"])),
        )
        for entry in bins
    ]
    header = ("tokens", "texts", *_COLUMNS)
    msg.table(rows, header=header, aligns=tuple("r" * len(header)), title=f"{name} (by length)")


def _print_joined(runs: list[dict[str, Any]], name: str) -> None:
    """The texts as they are, then joined."""
    from ..metrics.strict import SpanCounts

    rows = []
    for run in runs:
        sizes, documents = run["tokens"], run["documents"]
        counts = sum((SpanCounts(*row) for row in documents), SpanCounts())
        to = f"{run['join']:,}" if "join" in run else "-"
        mean = f"{sum(sizes) / len(sizes):.0f}"
        rows.append((to, f"{len(sizes):,}", mean, *_spell(counts)))
    header = ("joined to", "texts", "tokens each", *_COLUMNS)
    msg.table(rows, header=header, aligns=tuple("r" * len(header)), title=f"{name} (joined texts)")


def _spell(counts: "SpanCounts") -> tuple[str, ...]:
    scores = (counts.precision, counts.recall, counts.f1)
    numbers = (counts.n_correct, counts.n_predicted, counts.n_gold)
    return (*(f"{100 * score:.2f}" for score in scores), *map(str, numbers))
