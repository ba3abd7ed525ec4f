"""JSON lines and plain text, compressed or not, read from any shard on."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..compressed import DAMAGED, unpack
from ..inputs import MAX_BYTES, check_start, parse_json, shorten
from .records import BadRecord, Record, check_text

_CHUNK = 1 << 20


def scan_lines(path: Path, kind: str, shard_size: int) -> tuple[int, list[list[int]], str]:
    """Read a file once to know its shards.

    path (Path): The file.
    kind (str): jsonl, in which empty lines are no records, or text, in which they are.
    shard_size (int): Records of a shard.
    RETURNS (tuple[int, list[list[int]], str]): The number of records; for each shard the byte of
        the content at which it begins, and the lines before it; and the file's SHA-256.
        Raises ValueError for a file that is damaged, cut off or not UTF-8 by its beginning.
    """
    n_records = n_lines = offset = 0
    starts: list[list[int]] = []
    with path.open("rb") as stream:
        hashing = _Hashing(stream)
        content = unpack(io.BufferedReader(hashing, _CHUNK), path.suffix)
        try:
            for line, n_bytes in _split_lines(content):
                if not n_lines:
                    check_start(line, str(path))
                if kind == "text" or line.strip():
                    if n_records % shard_size == 0:
                        starts.append([offset, n_lines])
                    n_records += 1
                n_lines += 1
                offset += n_bytes
        except DAMAGED as error:
            raise ValueError(f"{path}:{n_lines + 1}: damaged or cut off here: {error}") from error
        while hashing.read(_CHUNK):  # what a decompressor leaves unread
            pass
    return n_records, starts, hashing.sha256.hexdigest()


class LineReader:
    """Reads shards of a file, those that follow each other without reading anything twice.

    path (Path): The file.
    kind (str): jsonl or text.
    text_field (str): Field with the text.
    """

    def __init__(self, path: Path, kind: str, text_field: str) -> None:
        self._path = path
        self._is_text = kind == "text"
        self._text_field = text_field
        self._stream: BinaryIO | None = None
        self._content: BinaryIO = io.BytesIO()
        self._offset = 0

    schema = None

    def read(self, start: list[int], n_records: int) -> Iterator[Record | BadRecord]:
        """The records of a shard, in order.

        start (list[int]): Of the shard, from scan_lines.
        n_records (int): How many.
        """
        offset, number = start
        n_expected = n_records
        try:
            self._go_to(offset)
            for line, n_bytes in _split_lines(self._content):
                self._offset += n_bytes
                number += 1
                if self._is_text or line.strip():
                    yield self._read_record(line, number, n_bytes)
                    n_records -= 1
                if not n_records:
                    return
            raise ValueError(
                f"{self._path} has changed: {n_expected:,} records were expected here, but there "
                f"are {n_expected - n_records:,}."
            )
        except DAMAGED as error:
            raise ValueError(f"{self._path}:{number}: damaged or cut off here: {error}") from error

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _go_to(self, offset: int) -> None:
        if self._stream is None or self._offset > offset:
            self.close()
            self._stream = self._path.open("rb")
            self._content = unpack(self._stream, self._path.suffix)
            self._offset = 0
        if self._content is self._stream:
            self._content.seek(offset)
            self._offset = offset
        while self._offset < offset:
            skipped = len(self._content.read(min(_CHUNK, offset - self._offset)))
            if not skipped:
                raise EOFError("the file has become shorter than it was")
            self._offset += skipped

    def _read_record(self, line: bytes, number: int, n_bytes: int) -> Record | BadRecord:
        if n_bytes > MAX_BYTES:
            reason = f"expected a line of at most {MAX_BYTES:,} bytes, but it has {n_bytes:,}"
            return BadRecord(number, reason)
        try:
            string = line.decode("utf-8-sig" if number == 1 else "utf8")
        except UnicodeDecodeError as error:
            return BadRecord(number, f"expected UTF-8, but byte {error.start} is not")
        try:
            if self._is_text:
                text = string.removesuffix("\n").removesuffix("\r")
                return Record(number, text, {self._text_field: text})
            return self._parse(string.strip(), number)
        except ValueError as error:
            return BadRecord(number, str(error))

    def _parse(self, string: str, number: int) -> Record:
        fields: Any = parse_json(string, f"line {number}")
        if not isinstance(fields, dict):
            raise ValueError(f"expected a JSON object, but found {shorten(fields)}")
        if self._text_field not in fields:
            raise ValueError(f"there is no field {self._text_field!r} among {shorten([*fields])}")
        text = check_text(fields[self._text_field], self._text_field)
        return Record(number, text, fields, raw=string)


def _split_lines(content: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """The lines with their lengths; of one that is too long, the beginning."""
    while line := content.readline(MAX_BYTES + 1):
        n_bytes = len(line)
        if n_bytes > MAX_BYTES:
            end, line = line[-1:], line[:_CHUNK]
            while end not in (b"\n", b""):
                rest = content.readline(_CHUNK)
                n_bytes += len(rest)
                end = rest[-1:]
        yield line, n_bytes


class _Hashing(io.RawIOBase):
    """A file that is hashed while it is read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.sha256 = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._stream.read(len(buffer))
        self.sha256.update(content)
        buffer[: len(content)] = content
        return len(content)
