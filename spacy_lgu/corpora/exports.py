"""JSON as other tools write it: doccano, GLiNER's training data, spaCy's pairs.

    {"text": "Ann slept", "label": [[0, 3, "PERSON"]]}
    {"text": "Ann slept", "entities": [{"label": "PERSON", "start_offset": 0, "end_offset": 3}]}
    {"tokenized_text": ["Ann", "slept"], "ner": [[0, 0, "PERSON"]]}
    ["Ann slept", {"entities": [[0, 3, "PERSON"]]}]

One record per line, or one array of them. Ends are exclusive, except GLiNER's, which name the last
token itself.
"""

from collections.abc import Iterator
from pathlib import Path

from ..inputs import shorten
from .json_records import read_records
from .json_tokens import TokenForm, find_tokens
from .jsonl import leave_out_empty, read_char_spans
from .offsets import Offsets
from .records import AnnotatedText, LabeledSpan, Note, ReportT, TokenizedText
from .spans import (
    SpanForm,
    check_characters,
    check_record,
    find_spans,
    report_others,
    take,
    take_text,
)

DOCCANO_FIELDS = ("label", "labels", "entities")
_DOCCANO_OBJECTS = SpanForm("start_offset", "end_offset")
_INCLUSIVE = SpanForm(ends="inclusive")


def read_doccano(
    path: Path, *, report: ReportT, text_field: str = "text", offsets: str | None = None
) -> Iterator[AnnotatedText]:
    """Read doccano's exports of sequence labeling, from any of its versions.

    path (Path): The file.
    report (ReportT): Called for each relation, and each record without text, which are left out.
    text_field (str): Field with the text.
    offsets (str | None): What start and end count, see offsets.py.
    RETURNS (Iterator[AnnotatedText]): The texts. Raises ValueError with file and line for what is
        not of this form.
    """
    checked = Offsets(path, offsets, report)
    for where, _, value in read_records(path):
        record = check_record(value, where)
        text = take_text(record, text_field, where, "--text-field")
        fields = [field for field in DOCCANO_FIELDS if field in record]
        if len(fields) != 1:
            raise ValueError(
                f"{where}: expected spans in one of the fields {', '.join(DOCCANO_FIELDS)}, but "
                f"found {shorten(sorted(record))}. Use --format char-jsonl with --spans-field."
            )
        found = record[fields[0]]
        spans = []
        for form in (SpanForm(), _DOCCANO_OBJECTS):
            is_object = form is _DOCCANO_OBJECTS
            part = found
            if isinstance(found, list):
                part = [span for span in found if isinstance(span, dict) == is_object]
            spans += read_char_spans(text, part, fields[0], form, checked, where)
        report_others(record, report)
        yield from leave_out_empty(AnnotatedText(where, text, spans), report)
    checked.close()


def read_gliner(
    path: Path, *, report: ReportT, spaces: str | None = None
) -> Iterator[TokenizedText]:
    """Read the training data of GLiNER.

    path (Path): The file.
    report (ReportT): Called for each record without a token, which is left out.
    spaces (str | None): all or none, see choose_spaces: a text beside the tokens is then not read.
    RETURNS (Iterator[TokenizedText]): The texts, each a document. Raises ValueError with file and
        line for what is not of this form.
    """
    form = TokenForm("tokenized_text", "text", None, spaces is None)
    offsets = Offsets(path, None, report)
    for where, _, value in read_records(path):
        record = check_record(value, where)
        words, known, *_ = find_tokens(record, form, offsets, where, report)
        found = take(record, "ner", where, "--spans-field of the format token-jsonl")
        report_others(record, report)
        spans = [
            LabeledSpan(span.start, span.end, span.label)
            for span in find_spans(found, "ner", _INCLUSIVE, len(words), "tokens", where)
        ]
        if words:
            yield TokenizedText(where, words, spans, where, is_sentence=False, spaces=known)
        else:
            report(Note("record without a token left out", where))


def read_spacy_pairs(
    path: Path, *, report: ReportT, offsets: str | None = None
) -> Iterator[AnnotatedText]:
    """Read pairs of a text and a dictionary with its entities, as spaCy took them for training.

    path (Path): The file.
    report (ReportT): Called for each annotation of another kind, and each empty text, which are
        left out.
    offsets (str | None): What start and end count, see offsets.py.
    RETURNS (Iterator[AnnotatedText]): The texts. Raises ValueError with file and line for what is
        not of this form.
    """
    checked = Offsets(path, offsets, report)
    for where, _, pair in read_records(path):
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)):
            raise ValueError(
                f'{where}: expected a pair [text, {{"entities": [...]}}], but found '
                f"{shorten(pair)}."
            )
        text, annotation = pair[0], check_record(pair[1], where)
        check_characters(text, where)
        found = take(annotation, "entities", where, "--spans-field of the format char-jsonl")
        spans = read_char_spans(text, found, "entities", SpanForm(), checked, where)
        for name in sorted(annotation.keys() - {"entities"}):
            report(Note(f"annotation of the kind {shorten(name)} left out", where))
        yield from leave_out_empty(AnnotatedText(where, text, spans), report)
    checked.close()
