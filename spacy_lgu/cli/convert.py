"""`python -m spacy lgu convert`: annotated corpora to spaCy's .spacy format."""

import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from spacy.tokens import Doc, DocBin
from wasabi import msg

from ..corpora.docs import Counts, draw_held_out
from ..corpora.formats import FORMATS, find_format, read_docs
from ..corpora.records import Note
from ..replacing import replace_files
from . import app

_TARGETS = ("ents", "spans")


@app.command("convert")
def convert_cli(
    inputs: Annotated[list[Path], typer.Argument(help="Files, or folders (and their subfolders)")],
    output: Annotated[Path, typer.Argument(help="File to write, named *.spacy")],
    format_name: Annotated[str, typer.Option("--format", help=", ".join(FORMATS))],
    target: Annotated[
        str | None,
        typer.Option(help="ents or spans [default: ents; litbank-entities and brat: spans]"),
    ] = None,
    spans_key: Annotated[
        str | None, typer.Option(help="Write to doc.spans[KEY]; implies --target spans [sc]")
    ] = None,
    sentences_per_doc: Annotated[
        int | None,
        typer.Option("--sentences-per-doc", "-n", help="Most per Doc; 0: whole documents [1]"),
    ] = None,
    column: Annotated[
        int | None, typer.Option(help="conll: column of the tags, from 0 or, backwards, -1 [-1]")
    ] = None,
    token_column: Annotated[int | None, typer.Option(help="conll: of the tokens [0]")] = None,
    scheme: Annotated[
        str | None,
        typer.Option(help="conll: iob1, iob2, iobes, bilou, io, bare [detected, bare excepted]"),
    ] = None,
    comment: Annotated[
        str | None, typer.Option(help="conll: leave out lines that begin with this")
    ] = None,
    text_field: Annotated[str | None, typer.Option(help="char-jsonl: name [text]")] = None,
    tokens_field: Annotated[str | None, typer.Option(help="token-jsonl: name [tokens]")] = None,
    spans_field: Annotated[str | None, typer.Option(help="*-jsonl: name [spans]")] = None,
    start_field: Annotated[str | None, typer.Option(help="*-jsonl: in a span [start]")] = None,
    end_field: Annotated[
        str | None, typer.Option(help="*-jsonl: in a span, exclusive [end]")
    ] = None,
    label_field: Annotated[str | None, typer.Option(help="*-jsonl: in a span [label]")] = None,
    document_field: Annotated[
        str | None, typer.Option(help="token-jsonl: equal in sentences of a document [none]")
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="token-jsonl: of all spans, which may be token numbers")
    ] = None,
    discontinuous: Annotated[
        str | None, typer.Option(help="brat: error, cover or drop spans of fragments [error]")
    ] = None,
    misaligned: Annotated[
        str | None,
        typer.Option(
            help="Spans in characters that do not begin and end with a token: error, split (the "
            "token), expand, contract, drop [error]"
        ),
    ] = None,
    lang: Annotated[str | None, typer.Option(help="Language of the tokenizer [en]")] = None,
    hold_out: Annotated[
        str | None, typer.Option(help="Docs to hold out: a number, or a share such as 0.1")
    ] = None,
    hold_out_to: Annotated[Path | None, typer.Option(help="File for these, *.spacy")] = None,
    seed: Annotated[int, typer.Option(help="Seed of their drawing")] = 0,
) -> None:
    """Convert annotated corpora to one file that `spacy train` reads.

    Gold tokens are kept; texts with spans in characters are tokenized as by `spacy.blank(LANG)`.
    Nothing is left out or changed without being counted and named. Defaults in [brackets].
    """
    options: dict[str, Any] = {
        "column": column,
        "token_column": token_column,
        "scheme": scheme,
        "comment": comment,
        "text_field": text_field,
        "tokens_field": tokens_field,
        "spans_field": spans_field,
        "start_field": start_field,
        "end_field": end_field,
        "label_field": label_field,
        "document_field": document_field,
        "label": label,
        "discontinuous": discontinuous,
        "misaligned": misaligned,
        "lang": lang,
        "sentences_per_doc": sentences_per_doc,
    }
    given = {name: value for name, value in options.items() if value is not None}
    _check_outputs(output, hold_out, hold_out_to)
    key = _choose_spans_key(target, spans_key, find_format(format_name).is_nested)
    notes: list[Note] = []
    docs = list(read_docs(inputs, format_name, report=notes.append, spans_key=key, **given))
    if not docs:
        raise ValueError(f"There is no text in {', '.join(map(str, inputs))}.")
    parts = {output: docs}
    if hold_out is not None and hold_out_to is not None:
        held_out = draw_held_out(len(docs), _parse_size(hold_out), seed)
        parts = {
            output: [doc for i, doc in enumerate(docs) if i not in held_out],
            hold_out_to: [doc for i, doc in enumerate(docs) if i in held_out],
        }
    _print_notes(notes)
    counts = [(path, _count(part, key)) for path, part in parts.items()]
    # Never an earlier part beside a new one, which could have the same texts in both: a run that is
    # killed leaves the earlier parts, the new ones, or none that is held out, which is noticed.
    replace_files(
        {path: DocBin(docs=part, store_user_data=True).to_bytes() for path, part in parts.items()}
    )
    _print_counts(counts)


def _check_outputs(output: Path, hold_out: str | None, hold_out_to: Path | None) -> None:
    # The last argument is the output: without a suffix of its own, a forgotten one would
    # overwrite the last input.
    for path in filter(None, (output, hold_out_to)):
        if path.suffix != ".spacy":
            raise ValueError(f"Expected a file named *.spacy to write, but got {str(path)!r}.")
    if (hold_out is None) != (hold_out_to is None):
        raise ValueError("--hold-out and --hold-out-to need one another, but only one is given.")
    if hold_out_to is not None and hold_out_to.resolve() == output.resolve():
        raise ValueError(f"Expected another file for --hold-out-to than the output {output}.")


def _choose_spans_key(target: str | None, spans_key: str | None, is_nested: bool) -> str | None:
    """Key of doc.spans, None for entities."""
    if target is None:
        target = "spans" if spans_key is not None or is_nested else "ents"
    if target not in _TARGETS:
        raise ValueError(f"Expected --target ents or spans, but got {target!r}.")
    if target == "ents" and spans_key is not None:
        raise ValueError(
            f"--spans-key {spans_key} needs --target spans, but the target is ents. Leave one out."
        )
    return None if target == "ents" else spans_key or "sc"


def _parse_size(size: str) -> int | float:
    if size.isdecimal():
        return int(size)
    if re.fullmatch(r"0?\.\d+", size):
        return float(size)
    raise ValueError(
        f"Expected a number of Docs such as 300, or a share such as 0.1, for --hold-out, but got "
        f"{size!r}."
    )


def _count(docs: list[Doc], spans_key: str | None) -> Counts:
    counts = Counts(spans_key)
    for doc in docs:
        counts.add(doc)
    return counts


def _print_notes(notes: list[Note]) -> None:
    for kind, n_notes in Counter(note.kind for note in notes).items():
        msg.info(f"{kind}: {n_notes}")
        for note in notes:
            if note.kind == kind and note.detail:
                # Not by msg, which would wrap the lines.
                typer.echo(f"  {note.detail}")


def _print_counts(parts: list[tuple[Path, Counts]]) -> None:
    header = ("file", "docs", "sentences", "tokens", "longest", "spans", "nested")
    rows = [
        (
            str(path),
            counts.n_docs,
            "-" if counts.n_sentences is None else counts.n_sentences,
            counts.n_tokens,
            counts.longest,
            counts.n_spans,
            counts.n_nested,
        )
        for path, counts in parts
    ]
    aligns = ("l", *"rrrrrr")
    msg.table(rows, header=header, divider=True, aligns=aligns)
    totals: Counter[str] = sum((counts.labels for _, counts in parts), Counter())
    labels = [
        (label, *(counts.labels[label] for _, counts in parts)) for label, _ in totals.most_common()
    ]
    msg.table(
        labels,
        header=("label", *(path.name for path, _ in parts)),
        divider=True,
        aligns=("l", *"r" * len(parts)),
    )
    for path, _ in parts:
        msg.good(f"Wrote {path}")
