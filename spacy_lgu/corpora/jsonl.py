"""JSON lines: gold tokens with spans in tokens, or a text with spans in characters.

    {"tokens": ["Ann", "slept"], "spans": [{"start": 0, "end": 1, "label": "PERSON"}]}
    {"text": "Ann slept", "spans": [{"start": 0, "end": 3, "label": "PERSON"}]}

End is exclusive. Other fields are not read, but for the "answer" of Prodigy's exports: what was not
accepted is left out.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .records import AnnotatedText, LabeledSpan, Note, ReportT, TokenizedText, read_lines

# Half of a pair of escapes such as \\ud83d\\ude00; JSON lets it pass, no encoding does.
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class _SpanFields(NamedTuple):
    start: str
    end: str
    label: str


def read_token_jsonl(
    path: Path,
    *,
    report: ReportT,
    tokens_field: str = "tokens",
    spans_field: str = "spans",
    start_field: str = "start",
    end_field: str = "end",
    label_field: str = "label",
    document_field: str | None = None,
    label: str | None = None,
) -> Iterator[TokenizedText]:
    """Read a file with one sentence per line.

    path (Path): The file.
    report (ReportT): Called for each record without a token or not accepted, which is left out.
    tokens_field (str): Field with a list of strings.
    spans_field (str): Field with a list of spans. A span is an object; if a label is given, the
        number of a token is one too.
    start_field (str): Field of a span with its first token, counted from 0.
    end_field (str): Field of a span with the token after its last.
    label_field (str): Field of a span with its label.
    document_field (str | None): Field that is equal in sentences of one document. None: a file
        is a document.
    label (str | None): Label of all spans, read from no field. None: they have their own.
    RETURNS (Iterator[TokenizedText]): The sentences. Raises ValueError with file and line for
        what is not of this form.
    """
    fields = _SpanFields(start_field, end_field, label_field)
    for where, record in _read_records(path, report):
        words = _take(record, tokens_field, where, "--tokens-field")
        if not isinstance(words, list) or not all(isinstance(w, str) and w for w in words):
            raise ValueError(
                f"{where}: expected a list of non-empty strings in {tokens_field!r}, but found "
                f"{_shorten(words)}."
            )
        _check_characters("".join(words), where)
        if not words:
            report(Note("record without a token left out", where))
            continue
        document = str(path)
        if document_field is not None:
            document += f":{_take(record, document_field, where, '--document-field')}"
        spans = _take_spans(record, spans_field, fields, label, len(words), "tokens", where)
        yield TokenizedText(where, words, spans, document)


def read_char_jsonl(
    path: Path,
    *,
    report: ReportT,
    text_field: str = "text",
    spans_field: str = "spans",
    start_field: str = "start",
    end_field: str = "end",
    label_field: str = "label",
) -> Iterator[AnnotatedText]:
    """Read a file with one text per line.

    path (Path): The file.
    report (ReportT): Called for each record without text or not accepted, which is left out.
    text_field (str): Field with the text.
    spans_field (str): Field with a list of spans.
    start_field (str): Field of a span with its first character, counted from 0.
    end_field (str): Field of a span with the character after its last.
    label_field (str): Field of a span with its label.
    RETURNS (Iterator[AnnotatedText]): The texts. Raises ValueError with file and line for what is
        not of this form.
    """
    fields = _SpanFields(start_field, end_field, label_field)
    for where, record in _read_records(path, report):
        text = _take(record, text_field, where, "--text-field")
        if not isinstance(text, str):
            raise ValueError(
                f"{where}: expected a string in {text_field!r}, but found {_shorten(text)}."
            )
        _check_characters(text, where)
        spans = _take_spans(record, spans_field, fields, None, len(text), "characters", where)
        if text:
            yield AnnotatedText(where, text, spans)
        else:
            report(Note("record without text left out", where))


def _read_records(path: Path, report: ReportT) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in read_lines(path):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{where}: expected one JSON object per line, but at column {error.colno}: "
                f"{error.msg}."
            ) from error
        if not isinstance(record, dict):
            raise ValueError(f"{where}: expected a JSON object, but found {_shorten(record)}.")
        if record.get("answer") in ("reject", "ignore"):
            report(Note(f"record with the answer {record['answer']} left out", where))
            continue
        yield where, record


def _check_characters(text: str, where: str) -> None:
    found = _LONE_SURROGATE.search(text)
    if found:
        raise ValueError(
            f"{where}: expected Unicode characters, but found {found[0]!r}, half of a surrogate "
            "pair. Write the character itself, or both of its escapes."
        )


def _take(record: dict[str, Any], field: str, where: str, option: str) -> Any:
    if field not in record:
        raise ValueError(
            f"{where}: there is no field {field!r} in {sorted(record)}. Name another with {option}."
        )
    return record[field]


def _take_spans(
    record: dict[str, Any],
    field: str,
    fields: _SpanFields,
    label: str | None,
    length: int,
    unit: str,
    where: str,
) -> list[LabeledSpan]:
    found = _take(record, field, where, "--spans-field")
    if not isinstance(found, list):
        raise ValueError(f"{where}: expected a list in {field!r}, but found {_shorten(found)}.")
    spans = []
    for span in found:
        if isinstance(span, dict):
            start = _take(span, fields.start, where, "--start-field")
            end = _take(span, fields.end, where, "--end-field")
            own = label or _take(span, fields.label, where, "--label-field")
        elif label is not None and _is_number(span):
            start, end, own = span, span + 1, label
        else:
            raise ValueError(
                f"{where}: expected an object with {list(fields)} for each span (or, for "
                f"token-jsonl with --label, the number of a token), but found {_shorten(span)}."
            )
        if not (_is_number(start) and _is_number(end) and 0 <= start < end <= length):
            raise ValueError(
                f"{where}: expected 0 <= {fields.start} < {fields.end} <= {length} (in {unit}, end "
                f"exclusive), but found {_shorten(span)}."
            )
        if not isinstance(own, str) or not own:
            raise ValueError(
                f"{where}: expected a non-empty string as label, but found {_shorten(span)}."
            )
        _check_characters(own, where)
        spans.append(LabeledSpan(start, end, own))
    return spans


def _is_number(value: object) -> bool:
    # In Python, but not in JSON, true and false are numbers.
    return isinstance(value, int) and not isinstance(value, bool)


def _shorten(value: object) -> str:
    shown = json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= 80 else f"{shown[:80]}..."
