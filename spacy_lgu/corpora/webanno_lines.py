"""The lines of WebAnno TSV 3: layers, and sentences of text and rows, not yet compared."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..inputs import shorten
from .records import read_lines

_FORMAT = re.compile(r"#FORMAT=WebAnno TSV 3(\.[0-9]+)?\s*")
_LAYER = re.compile(r"#(T_SP|T_CH|T_RL)=([^|]+)\|?(.*)")
_KINDS = {"T_SP": "span", "T_CH": "chain", "T_RL": "relation"}
TEXT = "#Text="
_ID = re.compile(r"([0-9]{1,9})-([0-9]{1,9})(\.[0-9]{1,9})?")
_OFFSETS = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)")
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "b": "\b"}


class Column(NamedTuple):
    """A feature of a layer, and the place of its values in a row."""

    kind: str
    layer: str
    feature: str
    place: int

    @property
    def name(self) -> str:
        return f"{self.layer}|{self.feature}"


class Row(NamedTuple):
    """A token or a part of one, with its offsets in the document and its values."""

    line: int
    number: str
    token: int
    is_part: bool
    start: int
    end: int
    text: str
    values: list[str]


@dataclass(slots=True)
class Sentence:
    """The text of a sentence, line by line, and its rows."""

    text: list[str] = field(default_factory=list)
    text_line: int = 0
    rows: list[Row] = field(default_factory=list)


def read_file(path: Path) -> tuple[list[Column], list[Sentence]]:
    """Read a file.

    path (Path): The file.
    RETURNS (tuple[list[Column], list[Sentence]]): The features of its layers, and its sentences,
        those without a row left out. Raises ValueError with file and line for what is not valid.
    """
    lines = read_lines(path)
    number, first = next(lines, (1, ""))
    if not _FORMAT.fullmatch(first):
        raise ValueError(
            f"{path}:{number}: expected #FORMAT=WebAnno TSV 3.x, but found {shorten(first)}. "
            "Export files of earlier versions again, as WebAnno TSV v3."
        )
    columns: list[Column] = []
    sentences = [Sentence()]
    for number, line in lines:
        is_text = line.startswith(TEXT)
        if sentences[-1].rows and (is_text or not line.strip()):
            sentences.append(Sentence())
        if is_text:
            sentences[-1].text.append(line.removeprefix(TEXT))
            sentences[-1].text_line = sentences[-1].text_line or number
        elif found := _LAYER.fullmatch(line):
            if sentences[0].rows:
                raise ValueError(
                    f"{path}:{number}: expected all layers above the first row, but found "
                    f"{shorten(line)}. If these are several files in one, divide it."
                )
            kind, layer, features = found.groups()
            for name in features.split("|"):
                columns.append(Column(_KINDS[kind], layer, name, len(columns)))
        elif line.strip() and not line.startswith("#"):
            if not sentences[-1].text:
                raise ValueError(f"{path}:{number}: expected {TEXT} before, but found a row.")
            sentences[-1].rows.append(_read_row(line, number, len(columns), path))
    return columns, [sentence for sentence in sentences if sentence.rows]


def unescape(text: str) -> str:
    """A text with what its backslashes stand for."""
    # Versions up to 3.1 escape as Java does: two units for a character beyond U+FFFF.
    units = _ESCAPE.sub(_read_escape, text).encode("utf-16-le", "surrogatepass")
    return units.decode("utf-16-le", "surrogatepass")


def _read_row(line: str, number: int, n_columns: int, path: Path) -> Row:
    fields = line.split("\t")
    name, offsets = _ID.fullmatch(fields[0]), _OFFSETS.fullmatch("".join(fields[1:2]))
    values = fields[3:-1] if fields[-1] == "" else fields[3:]  # rows end in a tab
    if name is None or offsets is None or len(values) != n_columns or "" in values:
        raise ValueError(
            f"{path}:{number}: expected SENTENCE-TOKEN<tab>START-END<tab>TEXT and a value for each "
            f"of the {n_columns} features of the layers above, but found {shorten(line)}."
        )
    return Row(
        number,
        fields[0],
        int(name[2]),
        name[3] is not None,
        int(offsets[1]),
        int(offsets[2]),
        fields[2],
        values,
    )


def _read_escape(found: re.Match[str]) -> str:
    escaped = found[1]
    if len(escaped) > 1:
        return chr(int(escaped[1:], 16))
    return _CONTROLS.get(escaped, escaped)
