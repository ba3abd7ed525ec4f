"""Brat standoff: a text, and a file of its annotation under the same name.

    a.txt   Ann Lee slept
    a.ann   T1<tab>PERSON 0 7<tab>Ann Lee

Spans may nest, overlap and consist of several fragments ("0 3;8 13"), in any order.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..inputs import cut, shorten
from .quoting import guess_unit, quote_span
from .records import AnnotatedText, LabeledSpan, Note, ReportT, read_lines, read_text

DISCONTINUOUS = ("error", "cover", "drop")
# Lines that annotate spans or relate them, by their first letter.
_OTHERS = {
    "R": "relation",
    "*": "equivalence",
    "E": "event",
    "A": "attribute",
    "M": "attribute",
    "N": "normalization",
    "#": "comment",
}
_LINE = re.compile(
    r"T\S*\t(?P<label>\S+) (?P<fragments>[0-9]+ [0-9]+(?:;[0-9]+ [0-9]+)*)\t(?P<text>.*)"
)
_DIGITS = 18  # more than any text needs, fewer than Python refuses to parse


class _Term(NamedTuple):
    where: str
    label: str
    fragments: list[tuple[int, int]]


def read_brat(
    path: Path, *, report: ReportT, discontinuous: str = "error"
) -> Iterator[AnnotatedText]:
    """Read a text with its annotated spans.

    path (Path): The .txt or the .ann file; the other lies beside it.
    report (ReportT): Called for each line that is not a span, by kind, and for each span of several
        fragments that is not kept as it is. Fragments with only white space between them, which
        brat writes where a span crosses a line end, count as one.
    discontinuous (str): What to do with spans of several fragments, which spaCy does not have:
        error, cover (one span from the first to the last character) or drop.
    RETURNS (Iterator[AnnotatedText]): One text. Raises ValueError with file and line for what is
        not of this form, and for all discontinuous spans of the file together.
    """
    if discontinuous not in DISCONTINUOUS:
        raise ValueError(
            f"Expected one of {', '.join(DISCONTINUOUS)} for discontinuous spans, but got "
            f"{discontinuous!r}."
        )
    text_path, path = path.with_suffix(".txt"), path.with_suffix(".ann")
    for missing in (file for file in (text_path, path) if not file.is_file()):
        raise FileNotFoundError(
            f"Expected {text_path} and {path.name} beside it, but there is no {missing.name}. A "
            "text without spans has an empty .ann file."
        )
    text = read_text(text_path)
    spans, broken = [], []
    for term in _read_terms(path, text, report):
        start, end = term.fragments[0][0], term.fragments[-1][1]
        if len(term.fragments) > 1:
            shown = f"{term.where}: {shorten(_join(text, term.fragments))} ({cut(term.label)})"
            if discontinuous == "error":
                broken.append(shown)
            elif discontinuous == "drop":
                report(Note("discontinuous span dropped", shown))
                continue
            else:
                report(Note("discontinuous span covered", f"{shown} -> {shorten(text[start:end])}"))
        spans.append(LabeledSpan(start, end, term.label))
    if broken:
        raise ValueError(
            "spaCy has no spans of several fragments, but these have several. Give --discontinuous "
            "cover (from the first to the last character) or drop:\n" + "\n".join(broken)
        )
    if text:
        yield AnnotatedText(str(path), text, spans)
    else:
        report(Note("empty text left out", str(text_path)))


def _read_terms(path: Path, text: str, report: ReportT) -> Iterator[_Term]:
    for number, line in read_lines(path):
        where = f"{path}:{number}"
        if not line.strip():
            continue
        if line[0] in _OTHERS:
            report(Note(f"{_OTHERS[line[0]]} left out"))
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise ValueError(
                f"{where}: expected T1<tab>LABEL START END<tab>TEXT (or a line that begins with "
                f"one of {' '.join(_OTHERS)}), but found {shorten(line)}."
            )
        fragments = [_read_fragment(pair) for pair in found["fragments"].split(";")]
        ordered = sorted(fragments)
        borders = [border for fragment in ordered for border in fragment]
        if borders != sorted(borders) or any(start >= end for start, end in fragments):
            raise ValueError(
                f"{where}: expected fragments that do not overlap, each with START < END, but "
                f"found {shorten(found['fragments'])}."
            )
        if borders[-1] > len(text) or not _is_text_of(found["text"], text, fragments, ordered):
            raise ValueError(
                f"{where}: expected {shorten(found['text'])} at {cut(found['fragments'])}, but "
                f"found {quote_span(text, borders[0], borders[-1], found['label'])}. Was the text "
                "changed after the annotation, or its line ends?"
                f"{guess_unit(text, borders[0], borders[-1], found['text'])}"
            )
        yield _Term(where, found["label"], _merge(text, ordered))


def _read_fragment(pair: str) -> tuple[int, int]:
    start, end = (int(number.lstrip("0")[:_DIGITS] or "0") for number in pair.split(" "))
    return start, end


def _is_text_of(expected: str, text: str, *orders: list[tuple[int, int]]) -> bool:
    """Whether fragments spell a text in one of the orders: not all programs sort them."""
    # White space may differ: brat writes a line end as a space.
    return any(_join(text, fragments).split() == expected.split() for fragments in orders)


def _merge(text: str, fragments: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged = fragments[:1]
    for start, end in fragments[1:]:
        if text[merged[-1][1] : start].strip():
            merged.append((start, end))
        else:
            merged[-1] = (merged[-1][0], end)
    return merged


def _join(text: str, fragments: list[tuple[int, int]]) -> str:
    return " ".join(text[start:end] for start, end in fragments)
