"""JSON records of a file: one per line, or the elements of one array, read one at a time."""

import codecs
import re
from collections.abc import Iterator
from json import JSONDecodeError
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ..inputs import MAX_BYTES, check_size, check_start, parse_json, parse_json_at
from .records import no_utf8, read_lines

_CHUNK = 1 << 16  # bytes
_SPACE = re.compile(r"[ \t\r\n]*")
# An array of records; one that begins with a string is itself the record of a line.
_ARRAY = re.compile(r"\ufeff?\s*\[\s*(?:[\[{\]]|$)")


class Record(NamedTuple):
    """A JSON value and its place.

    where (str): File and line, and in an array the number of the record from 1, for messages.
    line (int): The line alone.
    value (Any): The value.
    """

    where: str
    line: int
    value: Any


def read_records(path: Path) -> Iterator[Record]:
    """Read the records of a file of JSON lines, or of one JSON array.

    path (Path): The file.
    RETURNS (Iterator[Record]): The records, of whatever type. Raises ValueError with file and
        line for what is not JSON (see parse_json), and for records of more than MAX_BYTES; an
        array may have any number of them.
    """
    with path.open("rb") as stream:
        head = stream.read(_CHUNK)
        check_start(head, str(path))
        if _ARRAY.match(head.decode("utf8", errors="replace")):
            stream.seek(0)
            yield from _Array(stream, path).read()
            return
    for number, line in read_lines(path):
        if line.strip():
            where = f"{path}:{number}"
            yield Record(where, number, parse_json(line, where))


class _Array:
    """A window on the text of a JSON array, which grows to the size of its largest element."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self.stream = stream
        self.path = path
        self.decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self.text = ""
        self.start = 0  # of what is not yet read
        self.line = 1
        self.column = 1  # where, in its line, the window begins

    def read(self) -> Iterator[Record]:
        self._expect("[")
        separator, number = self._next(), 0
        while separator != "]":
            if number:
                self._expect(",")
            self._next()
            number += 1
            where, line = f"{self.path}:{self.line}: record {number}", self.line
            yield Record(where, line, self._read_element(where))
            separator = self._next()
        self._expect("]")
        if self._next():
            raise self._unexpected("nothing after the array")

    def _read_element(self, where: str) -> Any:
        while True:
            begin = self.start
            try:
                value, end = parse_json_at(self.text, begin, where)
            except JSONDecodeError as error:
                if self._grow(where):
                    continue
                self._move(error.pos - begin)
                raise self._unexpected("JSON", error.msg) from error
            # A number could go on beyond the window.
            if end < len(self.text) or isinstance(value, dict | list):
                self._move(end)
                return value
            if not self._grow(where):
                self._move(end - begin)
                return value

    def _expect(self, character: str) -> None:
        if self._next() != character:
            raise self._unexpected(repr(character))
        self._move(self.start + 1)

    def _next(self) -> str:
        """The next character that is no white space, empty at the end."""
        while True:
            space = _SPACE.match(self.text, self.start)
            if space is not None:
                self._move(space.end())
            if self.start < len(self.text) or not self._grow(f"{self.path}:{self.line}"):
                return self.text[self.start : self.start + 1]

    def _move(self, end: int) -> None:
        self.line += self.text.count("\n", self.start, end)
        self.start = end

    def _column(self) -> int:
        newline = self.text.rfind("\n", 0, self.start)
        return self.start - newline if newline >= 0 else self.column + self.start

    def _grow(self, where: str) -> bool:
        """Read as much again as there is, so that parsing anew at most doubles the cost; at most
        one byte more than a record may have.
        """
        self.column = self._column()
        self.text, self.start = self.text[self.start :], 0
        check_size(len(self.text), where, "a record")
        more = max(_CHUNK, len(self.text))
        chunk = self.stream.read(min(more, MAX_BYTES + 1 - len(self.text)))
        try:
            self.text += self.decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            raise no_utf8(error, self.path, self.line + self.text.count("\n")) from error
        return bool(chunk)

    def _unexpected(self, expected: str, message: str = "") -> ValueError:
        found = self.text[self.start : self.start + 20]
        message = message or (f"found {found!r}" if found else "the file ends")
        return ValueError(
            f"{self.path}:{self.line}: expected {expected}, but at column {self._column()}: "
            f"{message}."
        )
