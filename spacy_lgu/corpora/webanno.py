"""WebAnno TSV 3: the export of WebAnno and INCEpTION, one document a file.

    #FORMAT=WebAnno TSV 3.3
    #T_SP=de.tudarmstadt.ukp.dkpro.core.api.ner.type.NamedEntity|identifier|value

    #Text=Mira Holt left Lund.
    1-1    0-4      Mira    *[1]    PER[1]
    1-2    5-9      Holt    *[1]    PER[1]
    1-3    10-14    left    _       _
    1-4    15-19    Lund    *       LOC
    1-5    19-20    .       _       _

Each feature of a layer has a column. _ is no annotation, * one without a value; [1] joins the rows
of one annotation, and | separates several. Offsets count UTF-16 units of the document.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from spacy.tokens import Doc
from spacy.vocab import Vocab

from ..inputs import shorten
from .records import AnnotatedText, LabeledSpan, Note, ReportT, TokenizedText
from .tokenizing import tokenize_texts
from .webanno_lines import TEXT, Column, Row, Sentence, read_file, unescape

_STACKED = re.compile(r"(?:\\.|[^\\|])+")
_VALUE = re.compile(r"((?:\\.|[^\\])+?)(?:\[([0-9]{1,9})\])?")


class _Span(NamedTuple):
    """An annotation, with its last token so far."""

    start: int
    end: int
    label: str
    token: int


def read_webanno(
    path: Path,
    *,
    report: ReportT,
    layer: str | None = None,
    feature: str | None = None,
    label: str | None = None,
    misaligned: str = "error",
) -> Iterator[TokenizedText]:
    """Read the tokens of a file and the spans of one feature.

    path (Path): The file.
    report (ReportT): Called for the feature that is read and for each that is left out.
    layer (str | None): Name of the layer, or the last part of it. None: the only one.
    feature (str | None): Name of the feature with the labels. None: the only one with values.
    label (str | None): Label of annotations without a value. None: they are an error.
    misaligned (str): What to do with spans of parts of a token (see tokenize_texts).
    RETURNS (Iterator[TokenizedText]): The sentences, with white space as it is. Raises ValueError
        with file and line for what is not valid, and if there are several features to choose from.
    """
    columns, sentences = read_file(path)
    if not sentences:
        return
    column = _choose_column(columns, sentences, layer, feature, path)
    for other in columns:
        verb = "read" if other == column else "left out"
        report(Note(f"{other.kind} layer {verb}: {other.name}", str(path)))
    if column is None:
        report(Note("file without annotations of the layer", str(path)))
    vocab = Vocab()
    numbers: set[str] = set()  # of annotations in the sentences before
    starts = [sentence.rows[0].start for sentence in sentences[1:]]
    for sentence, following in zip(sentences, [*starts, -1], strict=True):
        text, places = _find_text(sentence, path)
        spans: dict[str, _Span] = {}
        if column is not None:
            spans = _read_spans(sentence.rows, column.place, label, numbers, path)
        numbers |= spans.keys()
        annotated = AnnotatedText(
            f"{path}:{sentence.rows[0].line}",
            text,
            [
                LabeledSpan(places[span.start], places[span.end], span.label)
                for span in spans.values()
            ],
        )
        borders = [(places[row.start], places[row.end]) for row in sentence.rows if not row.is_part]
        tokenizer = partial(_tokenize, vocab, borders)
        for tokens in tokenize_texts([annotated], tokenizer, report=report, misaligned=misaligned):
            # What stands between sentences is not in the file, only how long it is.
            spaces = tokens.spaces if max(places) == following else (tokens.spaces or [])[:-1]
            yield replace(tokens, document=str(path), is_sentence=True, spaces=spaces)


def _choose_column(
    columns: list[Column],
    sentences: list[Sentence],
    layer: str | None,
    feature: str | None,
    path: Path,
) -> Column | None:
    """The feature to read; None if the document has no annotation of it."""
    named = [
        column
        for column in columns
        if (layer is None or layer in (column.layer, column.layer.rpartition(".")[2]))
        and (feature is None or feature == column.feature)
    ]
    fitting = [
        column for column in named if column.kind == "span" and not _is_slot(column, columns)
    ]
    if named and not fitting:
        raise ValueError(
            f"{path}: expected a span layer and no slot of one, but {named[0].name} belongs to a "
            f"{named[0].kind} layer. Name another with --layer or --feature."
        )
    rows = [row.values for sentence in sentences for row in sentence.rows]
    annotated = [c for c in fitting if any(values[c.place] != "_" for values in rows)]
    valued = [c for c in annotated if any(values[c.place][:1] not in "_*" for values in rows)]
    chosen = valued or annotated
    if len(chosen) > 1:
        raise ValueError(
            f"{path}: there are annotations in several features. Choose one with --layer and "
            f"--feature, of these (LAYER|FEATURE): {', '.join(column.name for column in chosen)}."
        )
    return chosen[0] if chosen else None


def _is_slot(column: Column, columns: list[Column]) -> bool:
    """Whether a feature has links to other annotations: roles, or the targets that follow them."""
    before = columns[column.place - 1] if column.place else column
    return column.feature.startswith("ROLE_") or (
        before.layer == column.layer and before.feature.startswith("ROLE_")
    )


def _find_text(sentence: Sentence, path: Path) -> tuple[str, dict[int, int]]:
    """The text of a sentence, and its character at each offset in the document.

    RETURNS (tuple[str, dict[int, int]]): Raises ValueError with file and line for a row that is
        not in the text at its offsets, and for text that is in no row.
    """
    first, faults = sentence.rows[0], []
    raw = "\n".join(sentence.text)
    for text in dict.fromkeys((unescape(raw), raw)):  # not all programs escape
        start = first.start
        if not text.startswith(first.text):
            start -= len(text) - len(text.lstrip())
        places = _count_units(text, start)
        fault = next((row for row in sentence.rows if not _fits(row, text, places)), None)
        if fault is None:
            _check_gaps(sentence.rows, text, places, path)
            return text, places
        faults.append(fault)
    raise ValueError(
        f"{path}:{faults[0].line}: expected {shorten(faults[0].text)} at {faults[0].start}-"
        f"{faults[0].end} of the document, in UTF-16 units, but {TEXT} in line "
        f"{sentence.text_line} has something else there: {shorten(raw)}."
    )


def _count_units(text: str, start: int) -> dict[int, int]:
    """For each offset in UTF-16 units, the character: one beyond U+FFFF has two units."""
    places = {}
    for place, character in enumerate(text):
        places[start] = place
        start += 2 if ord(character) > 0xFFFF else 1
    places[start] = len(text)
    return places


def _fits(row: Row, text: str, places: dict[int, int]) -> bool:
    if row.start not in places or row.end not in places:
        return False
    found = text[places[row.start] : places[row.end]]
    return found in (row.text, unescape(row.text))


def _check_gaps(rows: list[Row], text: str, places: dict[int, int], path: Path) -> None:
    end = 0
    for row in rows:
        start = places[row.start]
        if row.is_part:
            continue
        if start < end or row.start >= row.end or text[end:start].strip():
            raise ValueError(
                f"{path}:{row.line}: expected the token after the one before it, with nothing but "
                f"white space in between, but found {shorten(text[end:start] or row.text)}."
            )
        end = places[row.end]
    if text[end:].strip():
        raise ValueError(
            f"{path}:{rows[-1].line}: expected the last token of the sentence, but "
            f"{shorten(text[end:])} follows in its text."
        )


def _read_spans(
    rows: list[Row], place: int, label: str | None, before: set[str], path: Path
) -> dict[str, _Span]:
    """The annotations of a sentence by their numbers, or rows if they have none."""
    spans: dict[str, _Span] = {}
    for row in rows:
        where = f"{path}:{row.line}"
        values = [] if row.values[place] == "_" else _STACKED.findall(row.values[place])
        for i, value in enumerate(values):
            found = _VALUE.fullmatch(value)
            name = unescape(found[1]) if found and found[1] != "*" else label
            if found is None or name is None:
                raise ValueError(
                    f"{where}: the annotation {shorten(value)} has no value. Give a label for all "
                    "of these with --label, or another feature with --feature."
                )
            number = found[2] or f"{row.number} {i}"
            span = spans.get(number, _Span(row.start, row.end, name, row.token))
            if number in before or name != span.label or row.token - span.token > 1:
                raise ValueError(
                    f"{where}: expected the annotation [{number}] with one value, in adjacent "
                    f"tokens of one sentence, but found {shorten(value)}."
                )
            end = max(span.end, row.end)
            spans[number] = _Span(min(span.start, row.start), end, name, row.token)
    return spans


def _tokenize(vocab: Vocab, borders: list[tuple[int, int]], text: str) -> Doc:
    """The tokens of a text, and others for white space beyond one space after them."""
    words: list[str] = []
    spaces: list[bool] = []
    end = 0
    for start, stop in [*borders, (len(text), len(text))]:
        gap = text[end:start]
        if words and gap.startswith(" "):
            spaces[-1] = True
            gap = gap[1:]
        for word in filter(None, (gap, text[start:stop])):
            words.append(word)
            spaces.append(False)
        end = stop
    return Doc(vocab, words=words, spaces=spaces)
