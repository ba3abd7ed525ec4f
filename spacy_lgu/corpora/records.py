"""What the readers yield, and how they read lines."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..inputs import MAX_BYTES, check_size, check_start, read_bytes_of_lines

_MOST_LISTED = 1000


class LabeledSpan(NamedTuple):
    """A span in tokens or characters, end exclusive."""

    start: int
    end: int
    label: str


def from_outside_in(span: LabeledSpan) -> tuple[int, int, str]:
    """Sorts spans from left to right, a span before those inside it."""
    return span.start, -span.end, span.label


@dataclass(frozen=True, slots=True)
class AnnotatedText:
    """A text that is yet to be tokenized.

    where (str): File and line, or file and element, for messages.
    text (str): The text.
    spans (list[LabeledSpan]): In characters.
    """

    where: str
    text: str
    spans: list[LabeledSpan]


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """A text whose tokens are settled.

    where (str): File and line, for messages.
    words (list[str]): The tokens.
    spans (list[LabeledSpan]): In tokens.
    document (str): The same for all sentences of one document.
    is_sentence (bool): Whether this is one sentence; else its sentences are not known.
    spaces (list[bool] | None): Whether a space follows each token, or each but the last, if it is
        not known what stands between this text and the next. None: nothing is known.
    """

    where: str
    words: list[str]
    spans: list[LabeledSpan]
    document: str
    is_sentence: bool = True
    spaces: list[bool] | None = None


class Note(NamedTuple):
    """Something that a reader left out, changed or found out, so that nothing is done in silence.

    kind (str): The same for all notes that are counted together.
    detail (str): Where, and what exactly; empty if only the number matters.
    """

    kind: str
    detail: str = ""


ReportT = Callable[[Note], None]


class Notes:
    """Notes by kind: how many, and what the first thousand of each say."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._details: dict[str, list[str]] = {}

    def add(self, note: Note) -> None:
        """Add one more. Readers get this method as their `report`."""
        self._counts[note.kind] += 1
        details = self._details.setdefault(note.kind, [])
        if note.detail and len(details) < _MOST_LISTED:
            details.append(note.detail)

    def by_kind(self) -> Iterator[tuple[str, int, list[str]]]:
        """RETURNS (Iterator[tuple[str, int, list[str]]]): Kind, how many, and lines with details:
        if not all of them, the last says how many more there are.
        """
        for kind, n_notes in self._counts.items():
            details = self._details[kind]
            more = n_notes - len(details) if details else 0
            yield kind, n_notes, [*details, *([f"... and {more} more"] if more else [])]


class Faults:
    """What is wrong in a corpus, raised all together, so that it can be corrected in one go."""

    def __init__(self) -> None:
        self.n_faults = 0
        self._listed: list[str] = []

    def add(self, fault: str) -> None:
        """Add one more, with its place."""
        self.n_faults += 1
        if self.n_faults <= _MOST_LISTED:
            self._listed.append(fault)

    def __str__(self) -> str:
        """One line for each of the first thousand, and how many more there are."""
        more = self.n_faults - len(self._listed)
        return "\n".join([*self._listed, f"... and {more} more"][: len(self._listed) + bool(more)])


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file with their numbers, from 1, without their ends.

    Only line feeds end a line: tokens of tweets contain the other characters that Python's
    splitlines would split at.

    path (Path): The file.
    RETURNS (Iterator[tuple[int, str]]): Number and line. Raises ValueError with file and line
        for bytes that are not UTF-8, for NUL, and for a line of more than MAX_BYTES.
    """
    with path.open("rb") as stream:
        for number, content in enumerate(read_bytes_of_lines(stream, str(path)), 1):
            line = decode(content, path, number, "utf-8-sig" if number == 1 else "utf8")
            yield number, line.removesuffix("\n").removesuffix("\r")


def read_text(path: Path) -> str:
    """The whole of a UTF-8 file, line ends as they are, since offsets count them.

    path (Path): The file.
    RETURNS (str): Its text. Raises ValueError with file and line for bytes that are not UTF-8, for
        NUL, and for a text of more than MAX_BYTES.
    """
    with path.open("rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    check_start(content, str(path))
    check_size(len(content), str(path), "a text")
    return decode(content, path, 1, "utf8")


def decode(content: bytes, path: Path, first_line: int, encoding: str) -> str:
    """Decode a part of a file.

    content (bytes): The part.
    path (Path): The file, for messages.
    first_line (int): Number of the line that the part begins with.
    encoding (str): utf8 or utf-8-sig.
    RETURNS (str): The text. Raises ValueError with file and line for what is not UTF-8, and for
        NUL, which UTF-16 without a byte order mark is full of.
    """
    place = content.find(b"\0")
    if place >= 0:
        line = first_line + content.count(b"\n", 0, place)
        raise ValueError(
            f"{path}:{line}: expected text, but found a NUL. If the file is UTF-16, convert it, "
            f"for instance: iconv -f UTF-16LE -t UTF-8 {path.name} > converted.txt"
        )
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise no_utf8(error, path, first_line) from error


def no_utf8(error: UnicodeDecodeError, path: Path, first_line: int) -> ValueError:
    """The error to raise for bytes that are not UTF-8, with file and line.

    error (UnicodeDecodeError): What Python says.
    path (Path): The file.
    first_line (int): Number of the line that the decoded bytes begin with.
    RETURNS (ValueError): The error.
    """
    line = first_line + error.object.count(b"\n", 0, error.start)
    return ValueError(
        f"{path}:{line}: expected UTF-8, but found the byte {error.object[error.start]:#04x}. "
        f"Convert the file, for instance: iconv -f latin1 -t utf8 {path.name} > converted.txt"
    )
