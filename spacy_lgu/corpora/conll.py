"""Columns: one token per line, with its tags; a blank line between sentences.

    -DOCSTART- -X- O O

    EU NNP B-NP B-ORG
    rejects VBZ B-VP O

CoNLL-2000, CoNLL-2002, CoNLL-2003, WNUT-17, BC5CDR and many others; with the scheme brackets also
CoNLL-2012. Several columns of tags, such as those of GermEval 2014, make spans that may overlap.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ..inputs import shorten
from .notation import TagsT, find_notation
from .records import LabeledSpan, Note, ReportT, TokenizedText, read_lines

_MOST_SENTENCES = 1000
_DOCUMENT_START = "-DOCSTART-"
# Comments of CoNLL-2012 and GermEval 2014.
_DOCUMENT_COMMENTS = ("#begin document", "#\t")
_WEBANNO = "#FORMAT=WebAnno"
_BYTE_ORDER_MARK = "\ufeff"
# Rows of CoNLL-U that are no tokens: 2-3, over two words, and 4.1, not in the text.
_NO_TOKEN = re.compile(r"[0-9]+[-.][0-9]+")
_TAG = re.compile(r"O|[BIESLUMW]-\S+")
_LIKE_TAG = re.compile(r"O|[BIESLUMW][-_]\S+")
# A character and its place in a word, as in Weibo's corpus: their text is not that of the tokens.
_PLACED = re.compile(r"\D[0-9]")
# Before each word of WikiANN.
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z]+)*:(?=.)")
# Such as """" for ": spreadsheets put quotation marks around a cell, and double those in it.
_DOUBLED = re.compile(r'"(?:[^"]|"")*""(?:[^"]|"")*"')


class Rows(NamedTuple):
    """The lines of one sentence.

    lines (list[int]): Their numbers.
    fields (list[list[str]]): Their columns, as many in each.
    document (str): The same for all sentences of one document.
    """

    lines: list[int]
    fields: list[list[str]]
    document: str


class _Row(NamedTuple):
    """A line divided into columns.

    line (int): Its number.
    fields (list[str]): Its columns, but for empty ones at its end. Empty: a blank line.
    n_columns (int): How many it has with those.
    separator (str): A tab or a space; empty if there is but one column.
    """

    line: int
    fields: list[str]
    n_columns: int
    separator: str


class _Shape(NamedTuple):
    """What the rows of a file have in common: their columns, and the line that shows it."""

    n_columns: int
    line: int
    separator: str


def read_conll(
    path: Path,
    *,
    report: ReportT,
    column: int | Sequence[int] = -1,
    token_column: int | None = None,
    scheme: str | None = None,
    outside: str | None = None,
    label: str | None = None,
    comment: str | None = None,
) -> Iterator[TokenizedText]:
    """Read the tokens and the tags of a file, which is read before for what they have in common.

    path (Path): The file.
    report (ReportT): Called with the scheme if it was detected, and for whatever is not read as
        it is written.
    column (int | Sequence[int]): Column of the tags, counted from 0, or from the end if negative.
        The spans of several columns may overlap.
    token_column (int | None): Column of the tokens, likewise. None: the first, unless it has the
        numbers of tokens, which is an error.
    scheme (str | None): Scheme of the tags (see schemes.py). None: detect it over each column.
        With brackets, sentences may differ in their number of columns.
    outside (str | None): The tag of tokens outside. None: O.
    label (str | None): Label of tags that are a prefix alone. None: there are none.
    comment (str | None): Lines that begin with this are left out. None: there are none.
    RETURNS (Iterator[TokenizedText]): The sentences. Raises ValueError with file and line for
        what is not valid.
    """
    columns = [column] if isinstance(column, int) else column
    is_ragged = scheme is not None and scheme.lower() == "brackets"
    shape = None if is_ragged else _find_shape(_read_fields(path, comment), path)
    tags = _take_tags(_gather(path, comment, shape), columns, path)
    if not tags:
        return
    notations = [
        find_notation(
            of_column, str(path), report=report, scheme=scheme, outside=outside, label=label
        )
        for of_column in tags
    ]
    _report_others(_gather(path, comment, shape), columns, path, report)
    for rows in _gather(path, comment, shape, report):
        _check_numbers(rows, token_column, path)
        tokens = take_tokens(rows, token_column or 0, path)
        _check_spelling(tokens, rows, token_column, path, report)
        spans: list[LabeledSpan] = []
        for number, notation in zip(columns, notations, strict=True):
            spans += notation.decode(rows.lines, _take_column(rows, number, path), report)
        yield TokenizedText(
            f"{path}:{rows.lines[0]}",
            tokens,
            sorted(spans, key=from_outside_in),
            rows.document,
        )


def read_rows(path: Path) -> Iterator[Rows]:
    """Read a file of columns.

    Columns are divided by tabs, or in a file without tabs by runs of spaces. Lines of nothing but
    these are blank. Tabs at the end of a line are empty columns if other lines have something
    there.

    path (Path): The file.
    RETURNS (Iterator[Rows]): One per sentence. Raises ValueError with file and line where the
        number of columns changes, or lines end in carriage returns only.
    """
    return _gather(path, None, _find_shape(_read_fields(path, None), path))


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


def from_outside_in(span: LabeledSpan) -> tuple[int, int, str]:
    """Sorts spans from left to right, a span before those inside it."""
    return span.start, -span.end, span.label


def _gather(
    path: Path, comment: str | None, shape: _Shape | None, report: ReportT | None = None
) -> Iterator[Rows]:
    """The sentences of a file. Without a shape they may differ in their number of columns."""
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


def _read_fields(
    path: Path, comment: str | None, report: ReportT | None = None, shape: _Shape | None = None
) -> Iterator[_Row]:
    """The lines but for comments. Where a document starts, -DOCSTART- is the only column."""
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


def divide(line: str) -> list[str]:
    """The columns of a line, but for empty ones at its end."""
    return _divide(0, line).fields


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


def _is_token(row: _Row, comment: str, shape: _Shape) -> bool:
    """Whether the line of a comment is a row: "#gold O" to --comment "#", but not "# gold B-12"."""
    if len(row.fields) != shape.n_columns or row.separator != shape.separator:
        return False
    is_alone = row.separator == " " and row.fields[0] == comment.strip()
    return row.fields[-1] == "O" or (not is_alone and _TAG.fullmatch(row.fields[-1]) is not None)


def _find_shape(rows: Iterable[_Row], path: Path) -> _Shape:
    """What rows have in common. Raises ValueError for the first that differs."""
    shape, most = _Shape(0, 0, ""), 0
    for row in rows:
        if _is_border(row):
            continue
        if not shape.line:
            shape, most = _Shape(len(row.fields), row.line, row.separator), row.n_columns
        if row.separator and row.separator != shape.separator:
            raise ValueError(
                f"{path}:{row.line}: expected columns divided as in line {shape.line}, but found "
                f"another of tab and space in {shorten(_spell(row))}. Divide all by tabs, or give "
                "--comment if one of them is a comment."
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


def _fill(rows: Sequence[_Row], shape: _Shape, document: str) -> Rows:
    return Rows(
        [row.line for row in rows],
        [row.fields + [""] * (shape.n_columns - len(row.fields)) for row in rows],
        document,
    )


def _check_numbers(rows: Rows, token_column: int | None, path: Path) -> None:
    """Raises ValueError if tokens are numbered, and the numbers or what has none are read."""
    numbers = [fields[0] for fields in rows.fields]
    plain = [number for number in numbers if not _NO_TOKEN.fullmatch(number)]
    if plain[:1] not in (["0"], ["1"]):
        return
    if plain != [str(i + int(plain[0])) for i in range(len(plain))]:
        return
    if token_column is None and len(plain) > 1:
        raise ValueError(
            f"{path}:{rows.lines[0]}: the first column numbers the tokens of this sentence. Give "
            "--token-column 1 (or 0 if the numbers are the tokens), or --format conllu."
        )
    if len(plain) < len(numbers) and token_column not in (None, 0):
        line, number = next(
            (line, number)
            for line, number in zip(rows.lines, numbers, strict=True)
            if _NO_TOKEN.fullmatch(number)
        )
        raise ValueError(
            f"{path}:{line}: expected a token, but {number} is a range of tokens or an empty node "
            "of CoNLL-U. Give --format conllu, which reads these."
        )


def _check_spelling(
    tokens: list[str], rows: Rows, token_column: int | None, path: Path, report: ReportT
) -> None:
    """Tell what tokens have that may not be of the text."""
    if token_column is None and len(tokens) > 1:
        found, advice = "", ""
        if all(map(_PLACED.fullmatch, tokens)) and not "".join(tokens).isascii():
            found, advice = "a character and a digit, its place in a word", r"s/^(.)[0-9]/\1/"
        elif (language := _LANGUAGE.match(tokens[0])) and all(
            token.startswith(language[0]) for token in tokens
        ):
            found, advice = "a language and a word", f"s/^{language[0]}//"
        if found:
            raise ValueError(
                f"{path}:{rows.lines[0]}: all tokens of this sentence, such as "
                f"{shorten(tokens[0])}, look like {found}. Remove what is not of the text, for "
                f"instance: sed -E '{advice}' {path.name} > converted.txt, or give --token-column "
                "0 if all of it is."
            )
    for line, token in zip(rows.lines, tokens, strict=True):
        if _DOUBLED.fullmatch(token):
            detail = f"{path}:{line}: {shorten(token)}"
            report(Note("token kept with what may be quotation marks of a spreadsheet", detail))


def _take_tags(sentences: Iterable[Rows], columns: Sequence[int], path: Path) -> list[TagsT]:
    """The tags of each column; nothing if there is no sentence."""
    known: dict[str, str] = {}  # so that equal tags are one string
    rows = [
        (
            sentence.lines,
            [
                [known.setdefault(tag, tag) for tag in _take_column(sentence, column, path)]
                for column in columns
            ],
        )
        for sentence in sentences
    ]
    if not rows:
        return []
    return [[(lines, tags[i]) for lines, tags in rows] for i in range(len(columns))]


def _report_others(
    sentences: Iterable[Rows], columns: Sequence[int], path: Path, report: ReportT
) -> None:
    """Tell of columns that hold tags, too, but are not read, by the first thousand sentences."""
    rows = [fields for found in islice(sentences, _MOST_SENTENCES) for fields in found.fields]
    read = {column % len(rows[0]) for column in columns}
    for column, tags in enumerate(map(set, zip(*rows, strict=False))):
        if column not in read and tags != {"O"} and all(map(_LIKE_TAG.fullmatch, tags)):
            report(Note(f"column of tags not read: {column}, counted from 0", str(path)))


def _take_column(rows: Rows, column: int, path: Path) -> list[str]:
    n_columns = len(rows.fields[0])
    if n_columns < 2 or not -n_columns <= column < n_columns:
        raise ValueError(
            f"{path}:{rows.lines[0]}: there is no column {column} beside the token in "
            f"{shorten(' '.join(rows.fields[0]))}. Expected tabs or spaces between columns; give "
            "a --column from 0 to the last, or from -1 to the first."
        )
    return [fields[column] for fields in rows.fields]
