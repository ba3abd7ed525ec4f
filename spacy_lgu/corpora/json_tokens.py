"""The tokens of a JSON record, what follows each, and their tags.

Tokens are strings, or objects with offsets into the text, as in Prodigy's exports:

    {"tokens": ["Ann", "ran", "."], "space_after": [true, false, false]}
    {"text": "Ann ran", "tokens": [{"text": "Ann", "start": 0, "end": 3, "ws": true}, ...]}
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ..inputs import shorten
from .json_records import Record
from .notation import Notation, find_notation
from .offsets import Offsets
from .records import LabeledSpan, Note, ReportT
from .spacing import find_spaces
from .spans import FoundSpan, check_characters, is_number, take

_SPACES_FIELDS = ("spaces", "space_after", "ws")
_FLAGS = {True: True, False: False, " ": True, "": False}


class Tokens(NamedTuple):
    """The tokens of a record.

    words (list[str]): The tokens.
    spaces (list[bool] | None): Whether a space follows each but the last; None: not known.
    starts (dict[int, int] | None): Tokens by their first character, if they are objects with
        places; then spans are in characters.
    ends (dict[int, int] | None): Tokens by the character after their last.
    """

    words: list[str]
    spaces: list[bool] | None
    starts: dict[int, int] | None = None
    ends: dict[int, int] | None = None

    def find(self, span: FoundSpan, borders: tuple[int, int], where: str) -> LabeledSpan:
        """Turn a span of characters into one of tokens. Raises ValueError if it cuts a token.

        span (FoundSpan): The span.
        borders (tuple[int, int]): Its borders in characters.
        where (str): File and line, for the message.
        """
        first = (self.starts or {}).get(borders[0])
        last = (self.ends or {}).get(borders[1])
        value = span.value if isinstance(span.value, dict) else {}
        said = (value.get("token_start", first), value.get("token_end", last))
        if first is None or last is None or said != (first, last):
            raise ValueError(
                f"{where}: expected a span that begins and ends with a token (in characters, since "
                f"the tokens have start and end), but found {shorten(span.value)}. To let spaCy "
                "divide the text into tokens, use --format char-jsonl."
            )
        return LabeledSpan(first, last + 1, span.label)


class TokenForm(NamedTuple):
    """Where the tokens of a record are.

    tokens_field (str): The tokens.
    text_field (str): The text, from which spaces follow; a record need not have it.
    spaces_field (str | None): A list of what follows each. None: one of the usual names, if any.
    is_spaced (bool): Whether to find out about spaces at all.
    """

    tokens_field: str
    text_field: str
    spaces_field: str | None
    is_spaced: bool


def find_tokens(
    record: dict[str, Any], form: TokenForm, offsets: Offsets, where: str, report: ReportT
) -> Tokens:
    """The tokens of a record, and what is known of spaces.

    record (dict[str, Any]): The record.
    form (TokenForm): Where they are.
    offsets (Offsets): Of the file.
    where (str): File and line, for messages.
    report (ReportT): Called if white space of the text is not kept.
    RETURNS (Tokens): The tokens; there may be none. Raises ValueError for what is not of this
        form, and for tokens that are not those of the text beside them.
    """
    found = take(record, form.tokens_field, where, "--tokens-field")
    text = record.get(form.text_field)
    text = text if isinstance(text, str) else None
    objects = found if isinstance(found, list) and found and isinstance(found[0], dict) else None
    words = found
    if objects is not None:
        words = [token.get("text") if isinstance(token, dict) else None for token in objects]
    if not isinstance(words, list) or not all(isinstance(w, str) and w for w in words):
        raise ValueError(
            f"{where}: expected a list of non-empty strings in {form.tokens_field!r}, or of "
            f"objects with such a text, but found {shorten(found)}."
        )
    check_characters("".join(words), where)
    starts = ends = None
    if objects and all("start" in token and "end" in token for token in objects):
        starts, ends = _find_places(objects, text, offsets, where)
    spaces = None
    if form.is_spaced and words:
        spaces = _find_listed(record, form, objects, len(words), where)
        if spaces is None and text is not None:
            spaces = _find_in_text(words, text, form, where, report)
    return Tokens(words, spaces, starts, ends)


class Tags:
    """The tags of a file, one per token.

    path (Path): The file.
    field (str): Field of a record with the list of tags.
    names (str | None): Names of tags that are numbers, from 0, separated by commas.
    """

    def __init__(self, path: Path, field: str, names: str | None) -> None:
        self.path = path
        self.field = field
        self.names = None if names is None else [name.strip() for name in names.split(",")]

    def find_notation(self, records: Iterable[Record], **options: Any) -> Notation:
        """How the tags are written; options and errors as in notation.find_notation."""
        sentences = []
        for record in records:
            tags = self.find(record.value, record.where)
            sentences.append(([self._place(record)] * len(tags), tags))
        return find_notation(sentences, str(self.path), **options)

    def find(self, record: dict[str, Any], where: str) -> list[str]:
        """The tags of a record, by name. Raises ValueError for what is not a tag."""
        found = take(record, self.field, where, "--tags-field")
        if not isinstance(found, list):
            raise ValueError(
                f"{where}: expected a list of tags in {self.field!r}, but found {shorten(found)}."
            )
        return [self._name(tag, where) for tag in found]

    def decode(
        self, record: Record, n_words: int, notation: Notation, report: ReportT
    ) -> list[LabeledSpan]:
        """The spans of a record. Raises ValueError unless there is a tag for each token, valid in
        their scheme.
        """
        tags = self.find(record.value, record.where)
        if len(tags) != n_words:
            raise ValueError(
                f"{record.where}: expected a tag for each of {n_words} tokens in {self.field!r}, "
                f"but found {len(tags)}."
            )
        places = [f"{self._place(record)}: token {i}, counted from 0" for i in range(n_words)]
        return notation.decode(places, tags, report)

    def _place(self, record: Record) -> str:
        return record.where.removeprefix(f"{self.path}:")

    def _name(self, tag: Any, where: str) -> str:
        if isinstance(tag, str) and tag and self.names is None:
            check_characters(tag, where)
            return tag
        if self.names is None:
            expected = "tags that are strings (for numbers, give --tag-names)"
        else:
            if is_number(tag) and 0 <= tag < len(self.names):
                return self.names[tag]
            expected = f"tags from 0 to {len(self.names) - 1}, the numbers of the --tag-names"
        raise ValueError(f"{where}: expected {expected}, but found {shorten(tag)}.")


def _find_places(
    tokens: list[dict[str, Any]], text: str | None, offsets: Offsets, where: str
) -> tuple[dict[int, int], dict[int, int]]:
    starts, ends = {}, {}
    last = 0
    for i, token in enumerate(tokens):
        start, end = token["start"], token["end"]
        if not (is_number(start) and is_number(end) and 0 <= last <= start < end):
            raise ValueError(
                f"{where}: expected tokens with start < end, one after the other, but found "
                f"{shorten(token)}."
            )
        last = end
        if text is not None:
            found = offsets.resolve(text, start, end, token["text"], where, "token")
            start, end = found or (start, end)
        starts[start], ends[end] = i, i
    return starts, ends


def _find_listed(
    record: dict[str, Any],
    form: TokenForm,
    objects: list[dict[str, Any]] | None,
    n_words: int,
    where: str,
) -> list[bool] | None:
    """What follows each token except the last, whose flag cannot be relied on."""
    field = form.spaces_field or next((f for f in _SPACES_FIELDS if f in record), None)
    if objects is not None and form.spaces_field is None and all("ws" in t for t in objects):
        field, found = "ws", [token["ws"] for token in objects]
    elif field is None:
        return None
    else:
        found = take(record, field, where, "--spaces-field")
    if (
        not isinstance(found, list)
        or len(found) != n_words
        or not all(isinstance(flag, bool | int | str) and flag in _FLAGS for flag in found)
    ):
        raise ValueError(
            f"{where}: expected true or false for each of {n_words} tokens in {field!r}, for "
            f"whether a space follows, but found {shorten(found)}. Name another with "
            "--spaces-field, or give --spaces all or none."
        )
    return [_FLAGS[flag] for flag in found[:-1]]


def _find_in_text(
    words: list[str], text: str, form: TokenForm, where: str, report: ReportT
) -> list[bool]:
    found = find_spaces(text, words)
    if found is None:
        raise ValueError(
            f"{where}: expected the text in {form.text_field!r} to consist of the tokens in "
            f"{form.tokens_field!r}, but found {shorten(text)} and {shorten(words)}. Give --spaces "
            "all or none to leave the text aside."
        )
    spaces, is_kept = found
    if not is_kept:
        report(Note("white space between gold tokens written as one space", where))
    return spaces
