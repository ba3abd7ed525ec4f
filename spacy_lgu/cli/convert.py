"""`python -m spacy lgu convert`: annotated corpora to spaCy's .spacy format."""

import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from spacy.tokens import Doc, DocBin
from wasabi import msg

from ..corpora.docs import Counts, draw_held_out
from ..corpora.formats import AUTO, detect_format, read_docs
from ..corpora.records import Note
from ..corpora.registry import FORMATS, find_format
from ..corpora.schemes import SCHEMES
from ..replacing import replace_files
from . import app

_TARGETS = ("ents", "spans")
_NESTED = ", ".join(name for name, format_ in FORMATS.items() if format_.is_nested)
_MOST_PRINTED = 1000


@app.command("convert")
def convert_cli(
    inputs: Annotated[list[Path], typer.Argument(help="Files, or folders (and their subfolders)")],
    output: Annotated[Path, typer.Argument(help="File to write, named *.spacy")],
    format_name: Annotated[
        str, typer.Option("--format", help=f"{', '.join(FORMATS)}; auto: by the files")
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
        typer.Option("--sentences-per-doc", "-n", help="Most per Doc; 0: whole documents [1]"),
    ] = None,
    column: Annotated[
        list[int] | None,
        typer.Option(
            help="conll, conllu: column of the tags, from 0 or, backwards, -1; may be given again, "
            "for spans that overlap [conll: -1, conllu: in MISC]"
        ),
    ] = None,
    token_column: Annotated[int | None, typer.Option(help="conll: of the tokens [0]")] = None,
    misc_key: Annotated[
        str | None, typer.Option(help="conllu: name of the tags in MISC [name or NE]")
    ] = None,
    subtokens: Annotated[
        str | None,
        typer.Option(
            help="conllu: merge words such as 2-3, widening spans, or split them [merge, but spans "
            "that end inside one are an error]"
        ),
    ] = None,
    scheme: Annotated[
        str | None,
        typer.Option(help=f"Of tags: {', '.join(SCHEMES)} [detected, but for io and bare]"),
    ] = None,
    outside: Annotated[
        str | None,
        typer.Option(help="conll, conllu, token-jsonl: tag of tokens outside, such as _ [O]"),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="webanno-tsv: layer to read [the only one]")
    ] = None,
    feature: Annotated[
        str | None, typer.Option(help="webanno-tsv: feature with the labels [the only one]")
    ] = None,
    comment: Annotated[
        str | None, typer.Option(help="conll: leave out lines that begin with this")
    ] = None,
    text_field: Annotated[
        str | None, typer.Option(help="JSON: name of the text [text; label-studio: the only one]")
    ] = None,
    tokens_field: Annotated[str | None, typer.Option(help="token-jsonl: name [tokens]")] = None,
    spans_field: Annotated[str | None, typer.Option(help="*-jsonl: name [spans]")] = None,
    start_field: Annotated[str | None, typer.Option(help="*-jsonl: in a span [start]")] = None,
    end_field: Annotated[
        str | None, typer.Option(help="*-jsonl: in a span, exclusive [end]")
    ] = None,
    label_field: Annotated[str | None, typer.Option(help="*-jsonl: in a span [label]")] = None,
    span_text_field: Annotated[
        str | None, typer.Option(help="*-jsonl: in a span, its text, which is checked [text]")
    ] = None,
    ends: Annotated[
        str | None, typer.Option(help="*-jsonl: end of a span, exclusive or inclusive [exclusive]")
    ] = None,
    offsets: Annotated[
        str | None,
        typer.Option(help="JSON: spans in codepoints, utf16 (JavaScript) or bytes [codepoints]"),
    ] = None,
    document_field: Annotated[
        str | None, typer.Option(help="token-jsonl: equal in sentences of a document [none]")
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            help="*-jsonl: of all spans, which may be token numbers; conll, conllu, webanno-tsv "
            "and --tags-field: of spans without one"
        ),
    ] = None,
    tags_field: Annotated[
        str | None, typer.Option(help="token-jsonl: name of one tag per token, not of spans")
    ] = None,
    tag_names: Annotated[
        str | None, typer.Option(help="token-jsonl: of tags that are numbers: O,B-PER,I-PER,...")
    ] = None,
    spaces_field: Annotated[
        str | None,
        typer.Option(
            help="token-jsonl: what follows each token [spaces, space_after or ws, if there]"
        ),
    ] = None,
    from_name: Annotated[
        str | None, typer.Option(help="label-studio: labels of this name alone [all]")
    ] = None,
    discontinuous: Annotated[
        str | None, typer.Option(help="brat: error, cover or drop spans of fragments [error]")
    ] = None,
    misaligned: Annotated[
        str | None,
        typer.Option(
            help="Spans that do not begin and end with a token, or do with white space: error, "
            "split (the token), expand, contract, drop [error]"
        ),
    ] = None,
    lang: Annotated[
        str | None, typer.Option(help="Language: its tokenizer, for gold tokens its spaces [en]")
    ] = None,
    spaces: Annotated[
        str | None,
        typer.Option(help="After gold tokens: all or none [as the file says, else the language]"),
    ] = None,
    hold_out: Annotated[
        str | None, typer.Option(help="Docs to hold out: a number, or a share such as 0.1")
    ] = None,
    hold_out_to: Annotated[Path | None, typer.Option(help="File for these, *.spacy")] = None,
    seed: Annotated[int, typer.Option(help="Seed of their drawing")] = 0,
) -> None:
    """Convert annotated corpora to one file that `spacy train` reads.

    Without --format, the files say what they are. Gold tokens are kept; texts with spans in
    characters are tokenized as by `spacy.blank(LANG)`. Nothing is left out or changed without
    being counted and named. Defaults in [brackets].
    """
    options: dict[str, Any] = {
        "column": column or None,
        "token_column": token_column,
        "misc_key": misc_key,
        "subtokens": subtokens,
        "scheme": scheme,
        "outside": outside,
        "layer": layer,
        "feature": feature,
        "comment": comment,
        "text_field": text_field,
        "tokens_field": tokens_field,
        "spans_field": spans_field,
        "start_field": start_field,
        "end_field": end_field,
        "label_field": label_field,
        "span_text_field": span_text_field,
        "ends": ends,
        "offsets": offsets,
        "document_field": document_field,
        "label": label,
        "tags_field": tags_field,
        "tag_names": tag_names,
        "spaces_field": spaces_field,
        "from_name": from_name,
        "discontinuous": discontinuous,
        "misaligned": misaligned,
        "lang": lang,
        "spaces": spaces,
        "sentences_per_doc": sentences_per_doc,
    }
    given = {name: value for name, value in options.items() if value is not None}
    _check_outputs(output, hold_out, hold_out_to)
    notes = _Notes()
    if format_name == AUTO:
        format_name = detect_format(inputs, report=notes.add)
    key = _choose_spans_key(target, spans_key, find_format(format_name).is_nested)
    docs = list(read_docs(inputs, format_name, report=notes.add, spans_key=key, **given))
    if not docs:
        raise ValueError(f"There is no text in {', '.join(map(str, inputs))}.")
    parts = {output: docs}
    if hold_out is not None and hold_out_to is not None:
        held_out = draw_held_out(len(docs), _parse_size(hold_out), seed)
        parts = {
            output: [doc for i, doc in enumerate(docs) if i not in held_out],
            hold_out_to: [doc for i, doc in enumerate(docs) if i in held_out],
        }
    notes.print()
    counts = [(path, _count(part, key)) for path, part in parts.items()]
    # Never an earlier part beside a new one, which could have the same texts in both: a run that is
    # killed leaves the earlier parts, the new ones, or none that is held out, which is noticed.
    replace_files(
        {path: DocBin(docs=part, store_user_data=True).to_bytes() for path, part in parts.items()}
    )
    _print_counts(counts)


class _Notes:
    """Notes by kind: how many, and the first thousand details of each."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._details: dict[str, list[str]] = {}

    def add(self, note: Note) -> None:
        self._counts[note.kind] += 1
        details = self._details.setdefault(note.kind, [])
        if note.detail and len(details) < _MOST_PRINTED:
            details.append(note.detail)

    def print(self) -> None:
        for kind, n_notes in self._counts.items():
            msg.info(f"{kind}: {n_notes}")
            details = self._details[kind]
            for detail in details:
                # Not by msg, which would wrap the lines.
                typer.echo(f"  {detail}")
            if details and len(details) < n_notes:
                typer.echo(f"  ... and {n_notes - len(details)} more")


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
