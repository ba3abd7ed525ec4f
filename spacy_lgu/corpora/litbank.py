"""LitBank (Bamman et al. 2019, Sims et al. 2019): nested entities and event triggers.

Entities have a column for each layer of nesting, in IOB2; events a column of O and EVENT:

    Sir     B-PER  B-PER  O        Sir     O
    Walter  O      I-PER  O        smiled  EVENT
"""

from collections.abc import Iterator
from pathlib import Path

from ..inputs import shorten
from .columns import find_shape, read_rows, take_tokens
from .records import LabeledSpan, ReportT, TokenizedText, from_outside_in
from .schemes import decode_tags, find_fault

EVENT = "EVENT"


def read_litbank_entities(path: Path, *, report: ReportT) -> Iterator[TokenizedText]:
    """Read the nested entities of a file, or any file with IOB2 tags in all columns but the first.

    path (Path): A file of entities/tsv; one document.
    report (ReportT): Not called: nothing is left out.
    RETURNS (Iterator[TokenizedText]): The sentences, their spans from left to right, a span before
        those inside it. Raises ValueError with file and line for tags that are not IOB2.
    """
    for rows in read_rows(path, find_shape(path)):
        tokens = take_tokens(rows, 0, path)
        spans: list[LabeledSpan] = []
        for layer, tags in enumerate(list(zip(*rows.fields, strict=True))[1:], 1):
            fault = find_fault(tags, "iob2")
            if fault is not None:
                raise ValueError(
                    f"{path}:{rows.lines[fault.place]}: column {layer} is not iob2: "
                    f"{fault.message}. Correct the tag."
                )
            spans += decode_tags(tags)
        spans.sort(key=from_outside_in)
        yield TokenizedText(f"{path}:{rows.lines[0]}", tokens, spans, rows.document)


def read_litbank_events(path: Path, *, report: ReportT) -> Iterator[TokenizedText]:
    """Read the event triggers of a file, each a span of one token labeled EVENT.

    path (Path): A file of events/tsv; one document.
    report (ReportT): Not called: nothing is left out.
    RETURNS (Iterator[TokenizedText]): The sentences. Raises ValueError with file and line for
        another tag.
    """
    for rows in read_rows(path, find_shape(path)):
        tokens = take_tokens(rows, 0, path)
        spans = []
        for i, (line, fields) in enumerate(zip(rows.lines, rows.fields, strict=True)):
            if fields[1:] not in (["O"], [EVENT]):
                raise ValueError(
                    f"{path}:{line}: expected the tag O or {EVENT}, but found "
                    f"{shorten(fields[1:])}. Other columns of tags are read by --format conll and "
                    "litbank-entities."
                )
            if fields[1] == EVENT:
                spans.append(LabeledSpan(i, i + 1, EVENT))
        yield TokenizedText(f"{path}:{rows.lines[0]}", tokens, spans, rows.document)
