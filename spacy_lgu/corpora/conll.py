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

from ..inputs import shorten
from .columns import Rows, find_shape, read_rows, take_column, take_tokens
from .notation import TagsT, find_notation
from .records import LabeledSpan, Note, ReportT, TokenizedText, from_outside_in

_MOST_SENTENCES = 1000
# Rows of CoNLL-U that are not tokens: 2-3 spans two words, 4.1 is not in the text.
_NO_TOKEN = re.compile(r"[0-9]+[-.][0-9]+")
_LIKE_TAG = re.compile(r"O|[BIESLUMW][-_]\S+")
# A character and its place in a word, as in Weibo's corpus: such tokens are not the text.
_PLACED = re.compile(r"\D[0-9]")
# Before each word of WikiANN.
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z]+)*:(?=.)")


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
    """Read the tokens and the tags of a file, which is first read to see how they are written.

    path (Path): The file.
    report (ReportT): Called with the scheme if it was detected, and for whatever is not read as
        it is written.
    column (int | Sequence[int]): Column of the tags, counted from 0, or from the end if negative.
        The spans of several columns may overlap.
    token_column (int | None): Column of the tokens, counted likewise. None: the first; an error if
        it numbers the tokens.
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
    shape = None if is_ragged else find_shape(path, comment)
    tags = _take_tags(read_rows(path, shape, comment), columns, path)
    if not tags:
        return
    notations = [
        find_notation(
            of_column, str(path), report=report, scheme=scheme, outside=outside, label=label
        )
        for of_column in tags
    ]
    _report_others(read_rows(path, shape, comment), columns, path, report)
    for rows in read_rows(path, shape, comment, report):
        _check_numbers(rows, token_column, path)
        tokens = take_tokens(rows, token_column or 0, path)
        _check_spelling(tokens, rows, token_column, path, report)
        spans: list[LabeledSpan] = []
        for number, notation in zip(columns, notations, strict=True):
            spans += notation.decode(rows.lines, take_column(rows, number, path), report)
        yield TokenizedText(
            f"{path}:{rows.lines[0]}",
            tokens,
            sorted(spans, key=from_outside_in),
            rows.document,
        )


def _check_numbers(rows: Rows, token_column: int | None, path: Path) -> None:
    """Raise ValueError if tokens are numbered, and numbers or rows without one would be read."""
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
    """Refuse or report what tokens hold that may not be part of the text."""
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
                f"{shorten(tokens[0])}, look like {found}. Remove what is not part of the text, "
                f"for instance: sed -E '{advice}' {path.name} > converted.txt, or give "
                "--token-column 0 if all of it is."
            )
    for line, token in zip(rows.lines, tokens, strict=True):
        if _is_quoted(token):
            detail = f"{path}:{line}: {shorten(token)}"
            report(Note("token kept with what may be quotation marks of a spreadsheet", detail))


def _is_quoted(token: str) -> bool:
    # Such as """" for ": spreadsheets put quotation marks around a cell, and double those in it.
    inner = token[1:-1]
    is_around = len(token) > 1 and token[0] == token[-1] == '"'
    return is_around and '""' in inner and '"' not in inner.replace('""', "")


def _take_tags(sentences: Iterable[Rows], columns: Sequence[int], path: Path) -> list[TagsT]:
    """The tags of each column; nothing if there is no sentence."""
    known: dict[str, str] = {}  # so that equal tags are one string
    rows = [
        (
            sentence.lines,
            [
                [known.setdefault(tag, tag) for tag in take_column(sentence, column, path)]
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
    """Report columns of tags that are not read, judging by the first thousand sentences."""
    rows = [fields for found in islice(sentences, _MOST_SENTENCES) for fields in found.fields]
    read = {column % len(rows[0]) for column in columns}
    for column, tags in enumerate(map(set, zip(*rows, strict=False))):
        if column not in read and tags != {"O"} and all(map(_LIKE_TAG.fullmatch, tags)):
            report(Note(f"column of tags not read: {column}, counted from 0", str(path)))
