"""The spans of JSON records: objects, lists of start, end and label, or numbers of tokens."""

import re
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard

from ..inputs import cut, shorten
from .records import Note, ReportT

ENDS = ("exclusive", "inclusive")
# Half of a pair of escapes such as \\ud83d\\ude00; JSON lets it pass, no encoding does.
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class FoundSpan(NamedTuple):
    """A span as it stands in a file, its end made exclusive; its unit is the file's.

    said (str | None): The text that the file gives for it.
    value (Any): What stands in the file.
    """

    start: int
    end: int
    label: str
    said: str | None
    value: Any


@dataclass(frozen=True, slots=True)
class SpanForm:
    """How spans are written.

    start, end, text (str): Fields of a span that is an object; the last is its own text, which it
        need not have.
    label_field (str): Field of the label.
    label (str | None): Label of all spans, read from no field. None: they have their own.
    ends (str): exclusive, or inclusive: the end is that of the last token or character itself.
    """

    start: str = "start"
    end: str = "end"
    label_field: str = "label"
    text: str = "text"
    label: str | None = None
    ends: str = "exclusive"

    def __post_init__(self) -> None:
        if self.ends not in ENDS:
            raise ValueError(f"Expected --ends {' or '.join(ENDS)}, but got {self.ends!r}.")


def find_spans(
    found: object,
    field: str,
    form: SpanForm,
    length: int,
    unit: str,
    where: str,
    advice: str = "",
) -> list[FoundSpan]:
    """Read a list of spans.

    found (object): What stands in the field.
    field (str): Name of the field, for messages.
    form (SpanForm): How the spans are written.
    length (int): How long the text is.
    unit (str): Of length and offsets, for messages. If tokens, a number alone is a span too.
    where (str): File and line, for messages.
    advice (str): What an error about borders should add.
    RETURNS (list[FoundSpan]): The spans. Raises ValueError for what is not of this form, and for
        spans that end beyond the text, if the file does not give theirs.
    """
    if not isinstance(found, list):
        raise ValueError(f"{where}: expected a list in {field!r}, but found {shorten(found)}.")
    return [_find_span(span, form, length, unit, where, advice) for span in found]


def take(record: dict[str, Any], field: str, where: str, option: str) -> Any:
    """The value of a field. Raises ValueError that names the option if there is none."""
    if field not in record:
        raise ValueError(
            f"{where}: there is no field {field!r} in {shorten(sorted(record))}. Name another with "
            f"{option}."
        )
    return record[field]


def take_text(record: dict[str, Any], field: str, where: str, option: str) -> str:
    """The text of a field. Raises ValueError if it is not a string."""
    text = take(record, field, where, option)
    if not isinstance(text, str):
        raise ValueError(f"{where}: expected a string in {field!r}, but found {shorten(text)}.")
    check_characters(text, where)
    return text


def check_record(value: object, where: str) -> dict[str, Any]:
    """The record, if it is an object. Raises ValueError if not."""
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected a JSON object, but found {shorten(value)}.")
    return value


def report_others(record: dict[str, Any], report: ReportT) -> None:
    """Report the annotation of a record besides spans, which is left out."""
    for field, name in (("relations", "relation"), ("cats", "category")):
        others = record.get(field)
        for _ in others if isinstance(others, list | dict) else ():
            report(Note(f"{name} left out"))


def check_characters(text: str, where: str) -> None:
    """Raise ValueError for half a surrogate pair."""
    found = _LONE_SURROGATE.search(text)
    if found:
        raise ValueError(
            f"{where}: expected Unicode characters, but found {found[0]!r}, half of a surrogate "
            "pair. Write the character itself, or both of its escapes."
        )


def is_number(value: object) -> TypeGuard[int]:
    """Whether a value of JSON is an integer. In Python, but not in JSON, true and false are."""
    return isinstance(value, int) and not isinstance(value, bool)


def _find_span(
    span: Any, form: SpanForm, length: int, unit: str, where: str, advice: str
) -> FoundSpan:
    label, said = form.label, None
    if isinstance(span, dict):
        start = take(span, form.start, where, "--start-field")
        end = take(span, form.end, where, "--end-field")
        label = label or take(span, form.label_field, where, "--label-field")
        said = span.get(form.text)
    elif isinstance(span, list) and len(span) == 3 - (label is not None):
        start, end = span[:2]
        label = label or span[2]
    elif label is not None and unit == "tokens" and is_number(span):
        start, end = span, span + (form.ends == "exclusive")
    else:
        raise ValueError(
            f"{where}: expected for each span an object with "
            f"{[form.start, form.end, form.label_field]} or a list [{form.start}, {form.end}, "
            f"{form.label_field}] (under --label without the label; the number of a token is then "
            f"a span, too), but found {shorten(span)}. Tags, one per token, are read with "
            "--tags-field."
        )
    if is_number(end) and form.ends == "inclusive":
        end += 1
    is_inside = is_number(start) and is_number(end) and 0 <= start < end
    if not is_inside or (end > length and said is None):
        first = "<=" if form.ends == "inclusive" else "<"
        raise ValueError(
            f"{where}: expected 0 <= {form.start} {first} {form.end} "
            f"{'<' if form.ends == 'inclusive' else '<='} {length} (in {unit}, end {form.ends}), "
            f"but found {shorten(span)}.{advice}"
        )
    if not isinstance(label, str) or not label:
        raise ValueError(
            f"{where}: expected a non-empty string as label, but found {shorten(span)}."
        )
    if not isinstance(said, str | None):
        raise ValueError(
            f"{where}: expected the text of a span in its field {form.text!r}, but found "
            f"{shorten(said)} ({cut(label)}). Name another with --span-text-field."
        )
    check_characters(label, where)
    return FoundSpan(start, end, label, said, span)
