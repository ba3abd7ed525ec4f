"""JSON lines: gold tokens with spans in tokens, or a text with spans in characters.

    {"tokens": ["Ann", "slept"], "spans": [{"start": 0, "end": 1, "label": "PERSON"}]}
    {"tokens": ["Ann", "slept"], "spans": [[0, 1, "PERSON"]]}
    {"tokens": ["Ann", "slept"], "ner_tags": ["B-PERSON", "O"]}
    {"text": "Ann slept", "spans": [{"start": 0, "end": 3, "label": "PERSON"}]}

Or one JSON array of such records. End is exclusive, unless said otherwise. From Prodigy's
exports, what was not accepted is left out; a record without the field of spans has none.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..inputs import shorten
from .json_records import Record, read_records
from .json_tokens import Tags, TokenForm, Tokens, find_tokens
from .offsets import Offsets
from .records import AnnotatedText, LabeledSpan, Note, ReportT, TokenizedText
from .spans import (
    FoundSpan,
    SpanForm,
    check_record,
    find_spans,
    is_number,
    report_others,
    take,
    take_text,
)

PRODIGY_FIELDS = ("answer", "_input_hash", "_task_hash")
_TOKENS = ("token_start", "token_end")  # of its spans: their first token and their last
_WHOLE = ("label", "options", "accept")  # of its records that classify a whole text


def read_token_jsonl(
    path: Path,
    *,
    report: ReportT,
    tokens_field: str = "tokens",
    text_field: str = "text",
    spaces_field: str | None = None,
    spaces: str | None = None,
    spans_field: str = "spans",
    start_field: str = "start",
    end_field: str = "end",
    label_field: str = "label",
    span_text_field: str = "text",
    ends: str = "exclusive",
    offsets: str | None = None,
    document_field: str | None = None,
    label: str | None = None,
    tags_field: str | None = None,
    tag_names: str | None = None,
    scheme: str | None = None,
    outside: str | None = None,
) -> Iterator[TokenizedText]:
    """Read a file of gold tokens, one sentence per record.

    path (Path): The file.
    report (ReportT): Called for each record without a token or not accepted, which is left out,
        and for whatever has to be assumed.
    tokens_field (str): Field with a list of strings, or of objects as in Prodigy's exports. If
        these have start and end, spans are in characters, and the record may hold many sentences.
    text_field (str): Field with the text, if there is one: it says where spaces are.
    spaces_field (str | None): Field that says whether a space follows each token. None: spaces,
        space_after or ws, if there is one.
    spaces (str | None): all or none, see choose_spaces: then neither is read.
    spans_field (str): Field with a list of spans. A span is an object or a list [start, end,
        label]; if a label is given, the number of a token is one too.
    start_field (str): Field of a span with its first token, counted from 0.
    end_field (str): Field of a span with the token after its last.
    label_field (str): Field of a span with its label.
    span_text_field (str): Field of a span with its text, which is checked, if it has one.
    ends (str): exclusive or inclusive.
    offsets (str | None): What spans in characters count, see offsets.py.
    document_field (str | None): Field with one value in all sentences of a document. None: each
        file is a document.
    label (str | None): Label of all spans, read from no field, or of tags that are a prefix alone.
        None: they have their own.
    tags_field (str | None): Field with one tag per token, instead of spans. The file is read
        twice.
    tag_names (str | None): Names of tags that are numbers, separated by commas.
    scheme (str | None): Scheme of the tags. None: detect it over the whole file.
    outside (str | None): The tag of tokens outside. None: O.
    RETURNS (Iterator[TokenizedText]): The sentences. Raises ValueError with file and line for
        what is not of this form.
    """
    span_form = SpanForm(start_field, end_field, label_field, span_text_field, label, ends)
    form = TokenForm(tokens_field, text_field, spaces_field, spaces is None)
    checked = Offsets(path, offsets, report)
    tags = notation = None
    if tags_field is not None and next(_read_accepted(path, _ignore), None) is not None:
        tags = Tags(path, tags_field, tag_names)
        notation = tags.find_notation(
            _read_accepted(path, _ignore),
            report=report,
            scheme=scheme,
            outside=outside,
            label=label,
        )
    for found_record in _read_accepted(path, report):
        where, _, record = found_record
        tokens = find_tokens(record, form, checked, where, report)
        if not tokens.words:
            report(Note("record without a token left out", where))
            continue
        document = str(path)
        if document_field is not None:
            name = take(record, document_field, where, "--document-field")
            if not isinstance(name, str | int):
                raise ValueError(
                    f"{where}: expected a string or a number in {document_field!r}, but found "
                    f"{shorten(name)}."
                )
            document += f":{name}"
        if tags is not None and notation is not None:
            found = tags.decode(found_record, len(tokens.words), notation, report)
        else:
            found = _read_spans(
                record, spans_field, span_form, tokens, text_field, checked, where, report
            )
        is_sentence = tokens.starts is None
        yield TokenizedText(where, tokens.words, found, document, is_sentence, tokens.spaces)
    checked.close()


def read_char_jsonl(
    path: Path,
    *,
    report: ReportT,
    text_field: str = "text",
    spans_field: str = "spans",
    start_field: str = "start",
    end_field: str = "end",
    label_field: str = "label",
    span_text_field: str = "text",
    ends: str = "exclusive",
    offsets: str | None = None,
    label: str | None = None,
) -> Iterator[AnnotatedText]:
    """Read a file with one text per record.

    path (Path): The file.
    report (ReportT): Called for each record without text or not accepted, which is left out, and
        for whatever has to be assumed.
    text_field (str): Field with the text.
    spans_field (str): Field with a list of spans, each an object or a list [start, end, label].
    start_field (str): Field of a span with its first character, counted from 0.
    end_field (str): Field of a span with the character after its last.
    label_field (str): Field of a span with its label.
    span_text_field (str): Field of a span with its text, which is checked, if it has one.
    ends (str): exclusive or inclusive.
    offsets (str | None): What start and end count, see offsets.py.
    label (str | None): Label of all spans, read from no field. None: they have their own.
    RETURNS (Iterator[AnnotatedText]): The texts. Raises ValueError with file and line for what is
        not of this form.
    """
    form = SpanForm(start_field, end_field, label_field, span_text_field, label, ends)
    checked = Offsets(path, offsets, report)
    for where, _, record in _read_accepted(path, report):
        text = take_text(record, text_field, where, "--text-field")
        found = _take_spans(record, spans_field, where, "--spans-field", report)
        spans = read_char_spans(text, found, spans_field, form, checked, where)
        yield from leave_out_empty(AnnotatedText(where, text, spans), report)
    checked.close()


def read_char_spans(
    text: str, found: object, field: str, form: SpanForm, offsets: Offsets, where: str
) -> list[LabeledSpan]:
    """Read the spans of a text, with arguments as in find_spans. Those that do not hold the text
    given for them are left to offsets.close.
    """
    resolved = _resolve_spans(text, found, field, form, offsets, where)
    return [LabeledSpan(*borders, span.label) for span, borders in resolved]


def leave_out_empty(text: AnnotatedText, report: ReportT) -> Iterator[AnnotatedText]:
    """Yield the text of a record, or only report it if it is empty."""
    if text.text:
        yield text
    else:
        report(Note("record without text left out", text.where))


def _resolve_spans(
    text: str, found: object, field: str, form: SpanForm, offsets: Offsets, where: str
) -> list[tuple[FoundSpan, tuple[int, int]]]:
    """Spans with their borders in characters."""
    length, unit = offsets.length(text), offsets.unit.replace("codepoints", "characters")
    resolved = []
    for span in find_spans(found, field, form, length, unit, where, offsets.advise(text)):
        borders = offsets.resolve(text, span.start, span.end, span.said, where, span.label)
        if borders is not None:
            resolved.append((span, borders))
    return resolved


def _read_accepted(path: Path, report: ReportT) -> Iterator[Record]:
    hashes: set[object] = set()
    for where, line, value in read_records(path):
        record = check_record(value, where)
        if record.get("answer") in ("reject", "ignore"):
            report(Note(f"record with the answer {record['answer']} left out", where))
        else:
            if record.get("_view_id") == "ner":  # of ner.teach, which shows one span of a text
                report(
                    Note(
                        "decision on one span in Prodigy: the text is read as without others",
                        where,
                    )
                )
            report_others(record, report)
            found = where if record.get("_input_hash") is None else record["_input_hash"]
            if isinstance(found, list | dict):
                raise ValueError(
                    f"{where}: _input_hash is {shorten(found)}: expected a number, as Prodigy "
                    "writes it. Leave it out."
                )
            if found in hashes:
                report(Note("text that Prodigy has more than once", where))
            hashes.add(found)
            yield Record(where, line, record)


def _take_spans(
    record: dict[str, Any], field: str, where: str, option: str, report: ReportT
) -> object:
    if field not in record and any(name in record for name in PRODIGY_FIELDS):
        other = next((name for name in _WHOLE if name in record), None)
        if other is not None:
            raise ValueError(
                f"{where}: expected a record of Prodigy with spans, but found one that classifies "
                f"the text, with the field {other!r}. Export a dataset of ner.manual, ner.correct "
                "or spans.manual."
            )
        report(Note("record of Prodigy without spans read as having none", where))
        return []
    found = take(record, field, where, option)
    if found is None:
        report(Note(f"record with null as {field!r} read as having none", where))
        return []
    return found


def _read_spans(
    record: dict[str, Any],
    field: str,
    form: SpanForm,
    tokens: Tokens,
    text_field: str,
    offsets: Offsets,
    where: str,
    report: ReportT,
) -> list[LabeledSpan]:
    found = _take_spans(record, field, where, "--spans-field, or of tags with --tags-field", report)
    if tokens.starts is not None:
        text = take_text(record, text_field, where, "--text-field")
        resolved = _resolve_spans(text, found, field, form, offsets, where)
        # Tokens and spans cannot be compared if any are not where they say.
        if offsets.faults.n_faults:
            return []
        return [tokens.find(span, borders, where) for span, borders in resolved]
    spans = []
    _check_units(found, form, where)
    for span in find_spans(found, field, form, len(tokens.words), "tokens", where):
        if span.said is not None:
            offsets.check_words(tokens.words, span.start, span.end, span.said, where, span.label)
        spans.append(LabeledSpan(span.start, span.end, span.label))
    return spans


def _check_units(found: object, form: SpanForm, where: str) -> None:
    """Raise ValueError for spans that name their tokens, but have other numbers, those of
    characters, in the fields that are read.
    """
    if form.start in _TOKENS:
        return
    for span in found if isinstance(found, list) else ():
        first, last = map(span.get, _TOKENS) if isinstance(span, dict) else (None, None)
        if not (is_number(first) and is_number(last)):
            continue
        if (first, last + (form.ends == "exclusive")) != (span.get(form.start), span.get(form.end)):
            raise ValueError(
                f"{where}: expected spans in tokens, since the tokens have no start and end, but "
                f"found {shorten(span)}. Give --start-field {_TOKENS[0]} --end-field {_TOKENS[1]} "
                "--ends inclusive."
            )


def _ignore(note: Note) -> None:
    """Notes are reported when the file is read for good."""
