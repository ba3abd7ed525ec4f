"""From annotated corpora to files that `spacy train` reads, whole or split in two."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spacy.tokens import Doc, DocBin

from ..replacing import replace_files
from .formats import AUTO, detect_format, read_docs
from .records import ReportT
from .registry import find_format

_TARGETS = ("ents", "spans")


@dataclass(frozen=True, slots=True)
class Counts:
    """What a corpus holds, in numbers.

    n_docs (int): Docs.
    n_sentences (int | None): Sentences; None if their starts are not known in all Docs.
    n_tokens (int): Tokens.
    n_spans (int): Spans or entities.
    n_nested (int): Those of them that lie inside a longer one.
    longest (int): Tokens of the longest Doc.
    labels (Counter[str]): Spans by label.
    """

    n_docs: int
    n_sentences: int | None
    n_tokens: int
    n_spans: int
    n_nested: int
    longest: int
    labels: Counter[str]


def convert_corpus(
    inputs: Sequence[Path],
    output: Path,
    format_name: str = AUTO,
    *,
    report: ReportT,
    target: str | None = None,
    spans_key: str | None = None,
    hold_out: int | float | None = None,
    hold_out_to: Path | None = None,
    seed: int = 0,
    **options: Any,
) -> dict[Path, Counts]:
    """Convert annotated corpora to one .spacy file, or to two that have no Doc in common.

    inputs (Sequence[Path]): Files, or folders, see list_files.
    output (Path): File to write, named *.spacy.
    format_name (str): Name of the format; auto: see detect_format.
    report (ReportT): Called for whatever is left out, changed or found out.
    target (str | None): ents or spans. None: spans if a key is given, and for nested formats.
    spans_key (str | None): Key of doc.spans. None: sc.
    hold_out (int | float | None): Docs to hold out, or their share, see draw_held_out.
    hold_out_to (Path | None): File for these, named *.spacy.
    seed (int): Seed for drawing them.
    options: See read_docs.
    RETURNS (dict[Path, Counts]): What was written to each file. Raises ValueError for arguments
        that do not go together, before anything is read, for texts that are not valid, and if
        there is none; nothing is written then.
    """
    _check_outputs(output, hold_out, hold_out_to)
    if format_name == AUTO:
        format_name = detect_format(inputs, report=report)
    key = _choose_spans_key(target, spans_key, find_format(format_name).is_nested)
    docs = list(read_docs(inputs, format_name, report=report, spans_key=key, **options))
    if not docs:
        raise ValueError(f"There is no text in {', '.join(map(str, inputs))}.")
    parts = {output: docs}
    if hold_out is not None and hold_out_to is not None:
        held_out = draw_held_out(len(docs), hold_out, seed)
        parts = {
            output: [doc for i, doc in enumerate(docs) if i not in held_out],
            hold_out_to: [doc for i, doc in enumerate(docs) if i in held_out],
        }
    counts = {path: count_docs(part, key) for path, part in parts.items()}
    # An earlier part must never lie beside a new one, since both could hold the same texts. A run
    # that is killed leaves the earlier parts, the new ones, or none held out, which is noticed.
    replace_files(
        {path: DocBin(docs=part, store_user_data=True).to_bytes() for path, part in parts.items()}
    )
    return counts


def draw_held_out(n_docs: int, size: int | float, seed: int) -> set[int]:
    """Draw the Docs that are held out of a corpus, the same ones for the same seed.

    n_docs (int): How many Docs there are.
    size (int | float): How many of them to draw, or which share.
    seed (int): Seed for drawing.
    RETURNS (set[int]): Their numbers, from 0. Raises ValueError if either side would be
        empty.
    """
    n_held_out = round(n_docs * size) if isinstance(size, float) else size
    if not 0 < n_held_out < n_docs:
        raise ValueError(
            f"Expected to hold out between 1 and {n_docs - 1} of {n_docs} Docs, but {size} means "
            f"{n_held_out}."
        )
    # Of random's functions, only this one promises the same values in later versions.
    rng = random.Random(seed)
    order = sorted((rng.random(), i) for i in range(n_docs))
    return {i for _, i in order[:n_held_out]}


def count_docs(docs: Iterable[Doc], spans_key: str | None) -> Counts:
    """Count what Docs hold.

    docs (Iterable[Doc]): The Docs.
    spans_key (str | None): Key of the spans in doc.spans. None: the entities.
    RETURNS (Counts): The counts.
    """
    lengths: list[int] = []
    n_sentences: int | None = 0
    n_nested = 0
    labels: Counter[str] = Counter()
    for doc in docs:
        lengths.append(len(doc))
        if n_sentences is not None:
            is_divided = doc.has_annotation("SENT_START")
            n_sentences = n_sentences + sum(1 for _ in doc.sents) if is_divided else None
        spans = doc.ents if spans_key is None else doc.spans[spans_key]
        labels.update(span.label_ for span in spans)
        # From left to right, a span before those inside it.
        ranges = Counter((span.start, -span.end) for span in spans)
        furthest = 0
        for start, minus_end in sorted(ranges):
            if -minus_end <= furthest:
                n_nested += ranges[start, minus_end]
            furthest = max(furthest, -minus_end)
    return Counts(
        n_docs=len(lengths),
        n_sentences=n_sentences,
        n_tokens=sum(lengths),
        n_spans=labels.total(),
        n_nested=n_nested,
        longest=max(lengths, default=0),
        labels=labels,
    )


def _check_outputs(output: Path, hold_out: int | float | None, hold_out_to: Path | None) -> None:
    # The last argument is the output: if its suffix were not checked, a call that forgets it would
    # overwrite the last input.
    for path in filter(None, (output, hold_out_to)):
        if path.suffix != ".spacy":
            raise ValueError(f"Expected a file named *.spacy to write, but got {str(path)!r}.")
    if (hold_out is None) != (hold_out_to is None):
        raise ValueError("--hold-out and --hold-out-to need each other, but only one is given.")
    if hold_out_to is not None and hold_out_to.resolve() == output.resolve():
        raise ValueError(f"Expected --hold-out-to to be another file than the output {output}.")


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
