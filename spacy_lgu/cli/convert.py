"""`python -m spacy lgu convert`: annotated corpora to spaCy's .spacy format."""

import inspect
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from wasabi import msg

from ..corpora.converting import Counts, convert_corpus
from ..corpora.formats import AUTO
from ..corpora.options import OPTIONS
from ..corpora.records import Notes
from ..corpora.registry import FORMATS
from ..inputs import printable
from . import app

_NESTED = ", ".join(name for name, format_ in FORMATS.items() if format_.is_nested)


def _with_options_of_formats(command: Callable[..., None]) -> Callable[..., None]:
    """Name each option that a command takes as **options: Typer reads the signature."""
    signature = inspect.signature(command)
    own = list(signature.parameters.values())[:-1]
    others = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[option.kind | None, typer.Option(help=option.help)],
        )
        for name, option in OPTIONS.items()
    ]
    command.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*own, *others]
    )
    return command


@app.command("convert")
@_with_options_of_formats
def convert_cli(
    inputs: Annotated[list[Path], typer.Argument(help="Files, or folders (and their subfolders)")],
    output: Annotated[Path, typer.Argument(help="File to write, named *.spacy")],
    format_name: Annotated[
        str, typer.Option("--format", help=f"{', '.join(FORMATS)}; auto: detected")
    ] = AUTO,
    target: Annotated[
        str | None,
        typer.Option(help=f"ents or spans [default: ents; {_NESTED}: spans]"),
    ] = None,
    spans_key: Annotated[
        str | None, typer.Option(help="Write to doc.spans[KEY]; implies --target spans [sc]")
    ] = None,
    sentences_per_doc: Annotated[
        int | None,
        typer.Option(
            "--sentences-per-doc", "-n", help="Most sentences per Doc; 0: whole documents [1]"
        ),
    ] = None,
    hold_out: Annotated[
        str | None, typer.Option(help="Docs to hold out: a number, or a share such as 0.1")
    ] = None,
    hold_out_to: Annotated[Path | None, typer.Option(help="File for these, *.spacy")] = None,
    seed: Annotated[int, typer.Option(help="Seed for drawing them")] = 0,
    **options: Any,
) -> None:
    """Convert annotated corpora to one file that `spacy train` reads.

    Without --format, the format is detected. Gold tokens are kept; texts with spans in
    characters are tokenized as by `spacy.blank(LANG)`. Nothing is left out or changed without
    being counted and named. Defaults in [brackets].
    """
    options["sentences_per_doc"] = sentences_per_doc
    notes = Notes()
    counts = convert_corpus(
        inputs,
        output,
        format_name,
        report=notes.add,
        target=target,
        spans_key=spans_key,
        hold_out=None if hold_out is None else _parse_size(hold_out),
        hold_out_to=hold_out_to,
        seed=seed,
        **{name: value for name, value in options.items() if value not in (None, [])},
    )
    for kind, n_notes, details in notes.by_kind():
        msg.info(f"{printable(kind)}: {n_notes}")
        for detail in details:
            typer.echo(f"  {printable(detail)}")  # not by msg, which would wrap it
    _print_counts(counts)


def _parse_size(size: str) -> int | float:
    if size.isdecimal():
        return int(size)
    if re.fullmatch(r"0?\.\d+", size):
        return float(size)
    raise ValueError(
        f"Expected a number of Docs such as 300, or a share such as 0.1, for --hold-out, but got "
        f"{size!r}."
    )


def _print_counts(parts: dict[Path, Counts]) -> None:
    header = ("file", "docs", "sentences", "tokens", "longest", "spans", "nested")
    rows = [
        (path, c.n_docs, c.n_sentences or "-", c.n_tokens, c.longest, c.n_spans, c.n_nested)
        for path, c in parts.items()
    ]
    msg.table(rows, header=header, divider=True, aligns=("l", *"rrrrrr"))
    totals: Counter[str] = sum((counts.labels for counts in parts.values()), Counter())
    labels = [
        (printable(label), *(counts.labels[label] for counts in parts.values()))
        for label, _ in totals.most_common()
    ]
    names = ("label", *(path.name for path in parts))
    msg.table(labels, header=names, divider=True, aligns=("l", *"r" * len(parts)))
    for path in parts:
        msg.good(f"Wrote {path}")
