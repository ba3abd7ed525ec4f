"""What the readers yield, and how they read lines."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class LabeledSpan(NamedTuple):
    """A span in tokens or characters, end exclusive."""

    start: int
    end: int
    label: str


@dataclass(frozen=True, slots=True)
class AnnotatedText:
    """A text that spaCy's tokenizer is still to divide.

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
    is_sentence (bool): Whether this is one sentence, rather than of unknown division.
    spaces (list[bool] | None): Whether a space follows each token; None: after all but the last.
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


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file with their numbers, from 1, without their ends.

    Only line feeds end a line: tokens of tweets contain the other characters that Python's
    splitlines would divide at.

    path (Path): The file.
    RETURNS (Iterator[tuple[int, str]]): Number and line. Raises ValueError with file and line
        for bytes that are not UTF-8.
    """
    with path.open("rb") as stream:
        for number, content in enumerate(stream, 1):
            line = _decode(content, path, number, "utf-8-sig" if number == 1 else "utf8")
            yield number, line.removesuffix("\n").removesuffix("\r")


def read_text(path: Path) -> str:
    """The whole of a UTF-8 file, line ends as they are, since offsets count them.

    path (Path): The file.
    RETURNS (str): Its text. Raises ValueError with file and line for bytes that are not UTF-8.
    """
    return _decode(path.read_bytes(), path, 1, "utf8")


def quote_span(text: str, start: int, end: int, label: str) -> str:
    """A span with its label and surroundings, as messages show it.

    text (str): The whole text.
    start (int): First character of the span.
    end (int): The character after it.
    label (str): Its label.
    RETURNS (str): Such as "'Ann' (PERSON) in ...'Annabel slept'...".
    """
    context = text[max(0, start - 20) : end + 20]
    return f"{text[start:end]!r} ({label}) in ...{context!r}..."


def _decode(content: bytes, path: Path, first_line: int, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = first_line + content[: error.start].count(b"\n")
        raise ValueError(
            f"{path}:{line}: expected UTF-8, but found the byte {error.object[error.start]:#04x}. "
            f"Convert the file, for instance: iconv -f latin1 -t utf8 {path.name} > converted.txt"
        ) from error
