"""Files from elsewhere, read within bounds: whatever they hold, memory and messages stay small."""

import json
import math
import os
from collections.abc import Iterator
from configparser import Error as ConfigError
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path
from typing import Any, BinaryIO

# The limit for a line, a JSON record or a text. The longest novels have 7 million characters.
MAX_BYTES = 32 * 2**20
_QUOTED = 80
_CUT = 200
_DIGITS = 1000  # Python itself stops at 4300
_CONVERT = "Convert it, for instance: iconv -f UTF-16 -t UTF-8"
_UNPACK = "Unpack it first"
_EXPORT = "Export it as text"
_STARTS = {
    b"\xff\xfe": ("UTF-16 or UTF-32", _CONVERT),
    b"\xfe\xff": ("UTF-16", _CONVERT),
    b"\0\0\xfe\xff": ("UTF-32", _CONVERT),
    b"\x1f\x8b": ("compressed with gzip", _UNPACK),
    b"\xfd7zXZ\0": ("compressed with xz", _UNPACK),
    b"\x28\xb5\x2f\xfd": ("compressed with zstd", _UNPACK),
    **{b"BZh%d1AY&SY" % size: ("compressed with bzip2", _UNPACK) for size in range(1, 10)},
    b"PK\x03\x04": ("a zip archive, or an Excel or Word file", f"{_UNPACK}, or export it as text"),
    b"PAR1\x15": ("Parquet", f"{_EXPORT}, for instance as JSON lines"),
    b"SQLite format 3\0": ("a database", f"{_EXPORT}, for instance with prodigy db-out"),
}


def read_bytes_of_lines(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """The lines of a stream with their ends, not decoded.

    stream (BinaryIO): The stream, which may be compressed: no more than a line is held.
    name (str): Its name, for messages.
    RETURNS (Iterator[bytes]): The lines. Raises ValueError with file and line for a line of more
        than MAX_BYTES, and if the beginning is that of UTF-16 or of a compressed file.
    """
    number = 0
    while line := stream.readline(MAX_BYTES + 1):
        number += 1
        if number == 1:
            check_start(line, name)
        check_size(len(line), f"{name}:{number}", "a line")
        yield line


def named_path(name: str | Path) -> Path:
    """A file or folder as users name it, ~ for their home.

    name (str | Path): The name.
    RETURNS (Path): The path. Of ~NAME without a user NAME, what it says; Path.expanduser fails.
    """
    return Path(os.path.expanduser(name))


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """What is wrong with a file is told with its name, by readers, too, that do not know it.

    file (Path): The file. Of errors of values and of configs it becomes a note.
    """
    try:
        yield
    except (ValueError, ConfigError) as error:
        if str(file) not in str(error):
            error.add_note(f"In {str(file)!r}.")
        raise


def printable(text: str) -> str:
    """A text from a file, for a terminal, whose cursor it must not move.

    text (str): The text.
    RETURNS (str): It, with other characters, or half an emoji, as Python escapes them.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def check_start(content: bytes, name: str) -> None:
    """Raise ValueError if a file begins like one that is not UTF-8, whatever its other bytes are.

    content (bytes): Its beginning.
    name (str): Its name, for the message.
    """
    for start, (kind, advice) in _STARTS.items():
        if content.startswith(start):
            raise ValueError(f"{name}:1: expected UTF-8, but the file is {kind}. {advice}.")
    if b"\0" in content[:2]:  # in the first character, which is ASCII in JSON and most texts
        raise ValueError(
            f"{name}:1: expected UTF-8, but the file begins with a NUL, as UTF-16 without a byte "
            "order mark does. Convert it, for instance: iconv -f UTF-16LE -t UTF-8."
        )


def check_size(n_bytes: int, where: str, what: str) -> None:
    """Raise ValueError for more than MAX_BYTES.

    n_bytes (int): The number of bytes, or a lower bound.
    where (str): File and line, for the message.
    what (str): What has this size, for instance "a line".
    """
    if n_bytes > MAX_BYTES:
        raise ValueError(
            f"{where}: expected {what} of at most {MAX_BYTES:,} bytes, but it is longer. Divide "
            "it, for instance into one document or record per line."
        )


def parse_json(text: str, where: str) -> Any:
    """Parse one JSON value.

    text (str): The JSON.
    where (str): File and line, for messages.
    RETURNS (Any): The value. Raises ValueError for what is not JSON (NaN is not), a key that
        occurs twice in one object, a number too large for Python, and nesting that is too deep.
    """
    text = text.strip()
    try:
        value, end = parse_json_at(text, 0, where)
    except JSONDecodeError as error:
        raise ValueError(
            f"{where}: expected JSON, but at column {error.pos + 1}: {error.msg}."
        ) from error
    if end < len(text):
        raise ValueError(
            f"{where}: expected one JSON value, but after it, at column {end + 1}, found "
            f"{shorten(text[end:].lstrip())}."
        )
    return value


def parse_json_at(text: str, start: int, where: str) -> tuple[Any, int]:
    """Parse the JSON value that begins at a character.

    text (str): Text with JSON in it.
    start (int): Where the value begins.
    where (str): File and line, for messages.
    RETURNS (tuple[Any, int]): The value and where it ends. Raises JSONDecodeError for what is not
        JSON or ends early, and ValueError for the other faults that parse_json refuses.
    """
    try:
        return _DECODER.raw_decode(text, start)
    except JSONDecodeError:
        raise
    except RecursionError as error:
        raise ValueError(f"{where}: expected JSON, but it is nested too deeply to read.") from error
    except ValueError as error:  # from the functions below
        raise ValueError(f"{where}: expected JSON, but {error}.") from error


def shorten(value: object) -> str:
    """A value that comes from a file, as messages quote it.

    value (object): A string, or a value of JSON.
    RETURNS (str): A string as in Python, any other value as in JSON, cut after 80 characters.
    """
    if isinstance(value, str):
        return f"{value[:_QUOTED]!r}{'...' if len(value) > _QUOTED else ''}"
    shown = ""
    for part in _ENCODER.iterencode(value):  # in small parts: no more is encoded than is shown
        shown += part[: _QUOTED + 1]
        if len(shown) > _QUOTED:
            shown = f"{shown[:_QUOTED]}..."
            break
    # Half a surrogate pair cannot be printed.
    return shown.encode("utf8", errors="backslashreplace").decode()


def cut(text: str) -> str:
    """A text inside a message, such as a label: without quotes, cut after 200 characters.

    text (str): The text.
    RETURNS (str): The text, or its beginning and an ellipsis.
    """
    return text if len(text) <= _CUT else f"{text[:_CUT]}..."


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {shorten(key)} occurs twice in one object")
            seen.add(key)
    return made


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def _parse_int(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"the number {shorten(digits)} is too large")
    return int(digits)


def _parse_float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"the number {shorten(digits)} is too large")
    return value


_DECODER = json.JSONDecoder(
    object_pairs_hook=_make_object,
    parse_constant=_refuse,
    parse_float=_parse_float,
    parse_int=_parse_int,
)
_ENCODER = json.JSONEncoder(ensure_ascii=False)
