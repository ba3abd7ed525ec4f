"""Columns: one token per line, with its tags; a blank line between sentences.

    -DOCSTART- -X- O O

    EU NNP B-NP B-ORG
    rejects VBZ B-VP O

CoNLL-2000, CoNLL-2002, CoNLL-2003, WNUT-17, BC5CDR and many others.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..inputs import cut, shorten
from .records import Note, ReportT, TokenizedText, read_lines
from .schemes import check_scheme, decode_tags, detect_scheme, find_fault, find_needless

_DOCUMENT_START = "-DOCSTART-"


class Rows(NamedTuple):
    """The lines of one sentence.

    lines (list[int]): Their numbers.
    fields (list[list[str]]): Their columns, as many in each.
    document (str): The same for all sentences of one document.
    """

    lines: list[int]
    fields: list[list[str]]
    document: str


def read_conll(
    path: Path,
    *,
    report: ReportT,
    column: int = -1,
    token_column: int = 0,
    scheme: str | None = None,
    comment: str | None = None,
) -> Iterator[TokenizedText]:
    """Read the tokens and one tag column of a file. Without a scheme the file is read twice.

    path (Path): The file.
    report (ReportT): Called with the scheme if it was detected, and for each needless B-.
    column (int): Column of the tags, counted from 0, or from the end if negative.
    token_column (int): Column of the tokens, likewise.
    scheme (str | None): Scheme of the tags (see schemes.py). None: detect it over the whole file.
    comment (str | None): Lines that begin with this are left out. None: there are none.
    RETURNS (Iterator[TokenizedText]): The sentences. Raises ValueError with file and line for
        what is not valid.
    """
    if next(read_rows(path, comment), None) is None:
        return
    if scheme is None:
        sentences = (
            (rows.lines, _take_column(rows, column, path)) for rows in read_rows(path, comment)
        )
        scheme = detect_scheme(sentences, str(path))
        report(Note(f"tag scheme detected: {scheme}", str(path)))
    scheme = check_scheme(scheme)
    for rows in read_rows(path, comment, report):
        tags = _take_column(rows, column, path)
        fault = find_fault(tags, scheme)
        if fault is not None:
            raise ValueError(
                f"{path}:{rows.lines[fault.place]}: not {scheme}: {fault.message}. Correct the "
                "tag, or give another --scheme or --column."
            )
        if scheme == "iob1":
            for place in find_needless(tags):
                report(Note("needless B- of iob1 read as begin", f"{path}:{rows.lines[place]}"))
        yield TokenizedText(
            f"{path}:{rows.lines[0]}",
            take_tokens(rows, token_column, path),
            decode_tags(tags),
            rows.document,
        )


def read_rows(
    path: Path, comment: str | None = None, report: ReportT | None = None
) -> Iterator[Rows]:
    """Read a file of columns.

    A line with a tab is divided at tabs, another at runs of spaces. Lines of nothing but these are
    blank.

    path (Path): The file.
    comment (str | None): Lines that begin with this are left out.
    report (ReportT | None): Called for each of them.
    RETURNS (Iterator[Rows]): One per sentence. Raises ValueError with file and line where the
        number of columns changes, or lines end in carriage returns only.
    """
    document = str(path)
    rows = Rows([], [], document)
    n_columns, first = 0, 0
    for number, line in read_lines(path):
        if "\r" in line:
            raise ValueError(
                f"{path}:{number}: there is a carriage return inside the line. Expected lines to "
                "end in \\n or \\r\\n: convert the file, for instance: tr '\\r' '\\n'."
            )
        if comment and line.startswith(comment):
            if report is not None:
                report(Note("comment left out", f"{path}:{number}: {cut(line)}"))
            continue
        line = line.rstrip(" \t")
        fields = line.split("\t") if "\t" in line else re.split(" +", line)
        if line and fields[0] != _DOCUMENT_START:
            n_columns, first = n_columns or len(fields), first or number
            if len(fields) != n_columns:
                raise ValueError(
                    f"{path}:{number}: expected {n_columns} columns as in line {first}, but "
                    f"found {len(fields)} in {shorten(line)}. Correct the line, or give --comment "
                    "if it is a comment."
                )
            rows.lines.append(number)
            rows.fields.append(fields)
            continue
        if rows.lines:
            yield rows
        if line:
            document = f"{path}:{number}"
        rows = Rows([], [], document)
    if rows.lines:
        yield rows


def take_tokens(rows: Rows, column: int, path: Path) -> list[str]:
    """The tokens of a sentence. Raises ValueError with file and line for an empty one."""
    tokens = _take_column(rows, column, path)
    for line, token in zip(rows.lines, tokens, strict=True):
        if not token:
            raise ValueError(
                f"{path}:{line}: the token is empty. Expected it in column {column}, counted from "
                "0; remove the line, or give --token-column."
            )
    return tokens


def _take_column(rows: Rows, column: int, path: Path) -> list[str]:
    n_columns = len(rows.fields[0])
    if n_columns < 2 or not -n_columns <= column < n_columns:
        raise ValueError(
            f"{path}:{rows.lines[0]}: there is no column {column} beside the token in "
            f"{cut(repr(rows.fields[0]))}. Expected tabs or spaces between columns; give a "
            "--column from 0 to the last, or from -1 to the first."
        )
    return [fields[column] for fields in rows.fields]
