"""The lines of CoNLL-U: sentences with their words of the text and of the grammar, and comments."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..inputs import shorten
from .records import Note, ReportT, read_lines

_COLUMNS = re.compile(r"# *global\.columns *= *(.*)")
_TEXT = re.compile(r"# *text *= ?(.*)")
_DOCUMENT, _PARAGRAPH = re.compile(r"# *newdoc\b"), re.compile(r"# *newpar\b")
_NUMBER = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9})|\.([0-9]{1,9}))?")


class Token(NamedTuple):
    """A word of the text, and where its words of the grammar begin and end."""

    line: int
    fields: list[str]
    start: int
    end: int


@dataclass(slots=True)
class Sentence:
    """What lies between blank lines.

    document (str): The same for all sentences of one document.
    misc (int | None): Column of MISC, if there is one.
    text (str | None): The text, if a comment has it.
    text_line (int): Line of that comment.
    lines (list[int]): Line of each word of the grammar.
    words (list[list[str]]): Columns of each.
    tokens (list[Token]): The words of the text.
    """

    document: str
    misc: int | None = None
    text: str | None = None
    text_line: int = 0
    lines: list[int] = field(default_factory=list)
    words: list[list[str]] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)


def read_sentences(path: Path, report: ReportT | None = None) -> Iterator[Sentence]:
    """Read the sentences of a file.

    path (Path): The file.
    report (ReportT | None): Called for each empty node, which is left out.
    RETURNS (Iterator[Sentence]): Raises ValueError with file and line for what is not valid.
    """
    document, n_columns, first = str(path), 0, 0
    misc: int | None = None
    has_documents = False
    sentence = Sentence(document)
    for number, line in read_lines(path):
        where = f"{path}:{number}"
        if not line.strip():
            if sentence.words:
                yield _check_ranges(sentence, path)
            sentence = Sentence(document)
        elif line.startswith("#"):
            if _DOCUMENT.match(line) or (_PARAGRAPH.match(line) and not has_documents):
                has_documents = has_documents or _DOCUMENT.match(line) is not None
                document = sentence.document = where
            elif found := _TEXT.match(line):
                sentence.text, sentence.text_line = found[1], number
            elif found := _COLUMNS.match(line):
                names = found[1].split()
                if names[:2] != ["ID", "FORM"]:
                    raise ValueError(
                        f"{where}: expected the columns ID and FORM first, but found "
                        f"{shorten(found[1])}."
                    )
                misc = names.index("MISC") if "MISC" in names else None
                n_columns, first = len(names), number
        else:
            fields = line.split("\t")
            if not n_columns:
                n_columns, first = len(fields), number
                misc = 9 if n_columns == 10 else None
            if len(fields) != n_columns or n_columns < 3:
                raise ValueError(
                    f"{where}: expected {max(n_columns, 3)} columns separated by tabs, as in line "
                    f"{first} or, in CoNLL-U, 10, but found {len(fields)} in {shorten(line)}."
                )
            sentence.misc = misc
            _add_row(sentence, number, fields, path, report)
    if sentence.words:
        yield _check_ranges(sentence, path)


def read_misc(fields: list[str], column: int | None) -> Iterator[tuple[str, str | None]]:
    """Names and values; the value is None where there is only a name."""
    if column is not None and fields[column] != "_":
        for entry in fields[column].split("|"):
            name, equals, value = entry.partition("=")
            yield name, value if equals else None


def _add_row(
    sentence: Sentence, line: int, fields: list[str], path: Path, report: ReportT | None
) -> None:
    found = _NUMBER.fullmatch(fields[0])
    if found is None or not fields[1]:
        raise ValueError(
            f"{path}:{line}: expected the number of a word (1), of several (1-2) or of an empty "
            f"node (1.1), a tab and the word, but found {shorten(' '.join(fields))}."
        )
    place, n_words = int(found[1]) - 1, len(sentence.words)
    covered = sentence.tokens[-1].end if sentence.tokens else 0
    if found[3]:
        is_next = place == n_words - 1
        if report is not None:
            report(Note("empty node left out", f"{path}:{line}: {shorten(fields[1])}"))
    elif found[2]:
        is_next = place == n_words >= covered and int(found[2]) > place + 1
        sentence.tokens.append(Token(line, fields, place, int(found[2])))
    else:
        is_next = place == n_words
        if place >= covered:
            sentence.tokens.append(Token(line, fields, place, place + 1))
        sentence.lines.append(line)
        sentence.words.append(fields)
    if not is_next:
        raise ValueError(
            f"{path}:{line}: expected the number {n_words + 1}, since words are numbered from 1 in "
            f"each sentence, but found {fields[0]}. Is a blank line missing?"
        )


def _check_ranges(sentence: Sentence, path: Path) -> Sentence:
    last = sentence.tokens[-1]
    if last.end > len(sentence.words):
        raise ValueError(
            f"{path}:{last.line}: expected the words {last.fields[0]}, but the sentence ends with "
            f"word {len(sentence.words)}."
        )
    return sentence
