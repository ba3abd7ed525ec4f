"""Files of columns: lines split into columns and grouped into sentences.

Columns are separated by tabs, or in a file without tabs by runs of spaces. Lines of nothing but
these are blank, and end a sentence. Tabs at the end of a line are empty columns if other lines have
something there.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..inputs import shorten
from .records import Note, ReportT, read_lines

_DOCUMENT_START = "-DOCSTART-"
# Comments of CoNLL-2012 and GermEval 2014.
_DOCUMENT_COMMENTS = ("#begin document", "#\t")
_WEBANNO = "#FORMAT=WebAnno"
_BYTE_ORDER_MARK = "\ufeff"
_LAYOUTS = {
    "\t": "columns separated by tabs",
    " ": "columns separated by spaces",
    "": "a single column",
}
_TAG = re.compile(r"O|[BIESLUMW]-\S+")


class Rows(NamedTuple):
    """The lines of one sentence.

    lines (list[int]): Their numbers.
    fields (list[list[str]]): Their columns, the same number in each.
    document (str): The same for all sentences of one document.
    """

    lines: list[int]
    fields: list[list[str]]
    document: str


class Shape(NamedTuple):
    """What the rows of a file have in common.

    n_columns (int): The number of their columns.
    line (int): Number of the first of them, to compare with in messages.
    separator (str): What separates the columns: a tab or a space; empty if there is only one.
    """

    n_columns: int
    line: int
    separator: str


class _Row(NamedTuple):
    """A line split into columns.

    line (int): Its number.
    fields (list[str]): Its columns, without empty ones at the end. Empty: a blank line.
    n_columns (int): How many there are with those.
    separator (str): A tab or a space; empty if there is only one column.
    """

    line: int
    fields: list[str]
    n_columns: int
    separator: str


def find_shape(path: Path, comment: str | None = None) -> Shape:
    """Find what the rows of a file have in common.

    path (Path): The file.
    comment (str | None): Lines that begin with this are left out. None: there are none.
    RETURNS (Shape): Raises ValueError with file and line where the number of columns or their
        separator changes, and for lines that end in carriage returns only.
    """
    return _find_shape(_read_fields(path, comment), path)


def read_rows(
    path: Path, shape: Shape | None, comment: str | None = None, report: ReportT | None = None
) -> Iterator[Rows]:
    """Read the sentences of a file.

    path (Path): The file.
    shape (Shape | None): What its rows have in common. None: sentences may differ in their number
        of columns.
    comment (str | None): Lines that begin with this are left out. None: there are none.
    report (ReportT | None): Called for each line left out.
    RETURNS (Iterator[Rows]): One per sentence. Raises ValueError as find_shape does.
    """
    document = str(path)
    rows: list[_Row] = []
    for row in _read_fields(path, comment, report, shape):
        if not _is_border(row):
            rows.append(row)
            continue
        if rows:
            yield _fill(rows, shape or _find_shape(rows, path), document)
            rows = []
        if row.fields:
            document = f"{path}:{row.line}"
    if rows:
        yield _fill(rows, shape or _find_shape(rows, path), document)


def take_tokens(rows: Rows, column: int, path: Path) -> list[str]:
    """The tokens of a sentence. Raises ValueError with file and line for an empty one."""
    tokens = take_column(rows, column, path)
    for line, token in zip(rows.lines, tokens, strict=True):
        if not token:
            raise ValueError(
                f"{path}:{line}: the token is empty. Expected it in column {column}, counted from "
                "0; remove the line, or give --token-column."
            )
    return tokens


def take_column(rows: Rows, column: int, path: Path) -> list[str]:
    """The cells of a column. Raises ValueError with file and line if there is no such column."""
    n_columns = len(rows.fields[0])
    if n_columns < 2 or not -n_columns <= column < n_columns:
        raise ValueError(
            f"{path}:{rows.lines[0]}: there is no column {column} besides the token in "
            f"{shorten(' '.join(rows.fields[0]))}. Expected tabs or spaces between columns; give "
            "a --column from 0 to the last, or from -1 to the first."
        )
    return [fields[column] for fields in rows.fields]


def divide(line: str) -> list[str]:
    """The columns of a line, without empty ones at its end."""
    return _divide(0, line).fields


def _read_fields(
    path: Path, comment: str | None, report: ReportT | None = None, shape: Shape | None = None
) -> Iterator[_Row]:
    """The lines without comments. Where a document starts, -DOCSTART- is the only column."""
    for number, line in read_lines(path):
        if "\r" in line:
            raise ValueError(
                f"{path}:{number}: there is a carriage return inside the line. Expected lines to "
                "end in \\n or \\r\\n: convert the file, for instance: tr '\\r' '\\n'."
            )
        if line.startswith(_BYTE_ORDER_MARK):
            raise ValueError(
                f"{path}:{number}: there is a byte order mark, as between two files that were "
                "joined. Remove it."
            )
        row = _divide(number, line)
        if comment and line.startswith(comment):
            if line.startswith(_WEBANNO):
                raise ValueError(f"{path}:{number}: {shorten(line)}: give --format webanno-tsv.")
            if shape is not None and _is_token(row, comment, shape):
                raise ValueError(
                    f"{path}:{number}: {shorten(line)} begins like a comment, but has the columns "
                    "of a token. Give a longer --comment, or none."
                )
            if line.startswith(_DOCUMENT_COMMENTS):
                yield row._replace(fields=[_DOCUMENT_START])
            elif report is not None:
                report(Note("comment left out", f"{path}:{number}: {shorten(line)}"))
        elif _DOCUMENT_START in line and _DOCUMENT_START in line.split():
            yield row._replace(fields=[_DOCUMENT_START])
        else:
            yield row


def _divide(number: int, line: str) -> _Row:
    # Not by split() alone: tokens may contain other white space.
    separator, line = "\t" if "\t" in line else " ", line.rstrip(" ")
    is_even = separator == "\t" or "  " not in line
    fields = line.split(separator) if is_even else re.split(" +", line)
    n_columns = len(fields)
    while fields and not fields[-1].strip(" "):
        fields.pop()
    return _Row(number, fields, n_columns, separator if n_columns > 1 else "")


def _is_border(row: _Row) -> bool:
    return not row.fields or row.fields == [_DOCUMENT_START]


def _is_token(row: _Row, comment: str, shape: Shape) -> bool:
    """Whether a line like a comment is a row: with --comment "#", "#gold O", not "# gold B-12"."""
    if len(row.fields) != shape.n_columns or row.separator != shape.separator:
        return False
    is_alone = row.separator == " " and row.fields[0] == comment.strip()
    return row.fields[-1] == "O" or (not is_alone and _TAG.fullmatch(row.fields[-1]) is not None)


def _find_shape(rows: Iterable[_Row], path: Path) -> Shape:
    """What rows have in common. Raises ValueError for the first that differs."""
    shape, most = Shape(0, 0, ""), 0
    for row in rows:
        if _is_border(row):
            continue
        if not shape.line:
            shape, most = Shape(len(row.fields), row.line, row.separator), row.n_columns
        if row.separator and row.separator != shape.separator:
            raise ValueError(
                f"{path}:{row.line}: expected {_LAYOUTS[shape.separator]}, as in line "
                f"{shape.line}, but found {_LAYOUTS[row.separator]} in {shorten(_spell(row))}. "
                "Separate all columns by tabs, or give --comment if one of the lines is a comment."
            )
        fewest, most = max(shape.n_columns, len(row.fields)), min(most, row.n_columns)
        if fewest > most:
            advice = "--scheme brackets for CoNLL-2012" if "*" in row.fields else "remove it"
            raise ValueError(
                f"{path}:{row.line}: expected {shape.n_columns} columns as in line {shape.line}, "
                f"but found {row.n_columns} in {shorten(_spell(row))}. Correct the line, give "
                f"--comment if it is a comment, or {advice}."
            )
        if fewest > shape.n_columns:
            shape = shape._replace(n_columns=fewest)
    return shape


def _spell(row: _Row) -> str:
    return (row.separator or " ").join(row.fields)


def _fill(rows: Sequence[_Row], shape: Shape, document: str) -> Rows:
    return Rows(
        [row.line for row in rows],
        [row.fields + [""] * (shape.n_columns - len(row.fields)) for row in rows],
        document,
    )
