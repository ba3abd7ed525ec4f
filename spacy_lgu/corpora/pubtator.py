"""PubTator: titles and abstracts of articles with their mentions, a blank line between articles.

    11|t|Effects of examplin
    11|a|Examplin helps with headache and neck pain.
    11<tab>11<tab>19<tab>examplin<tab>Chemical<tab>X01
    11<tab>CID<tab>X01<tab>Y02

Offsets count the title, one character between, and the abstract.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..inputs import shorten
from .quoting import guess_unit, quote_span
from .records import AnnotatedText, LabeledSpan, Note, ReportT, read_lines

_PART = re.compile(r"([^|\t]+)\|([ta])\|(.*)")
_OFFSET = re.compile(r"[0-9]{1,18}")


@dataclass(slots=True)
class _Article:
    """What was read of an article: where it begins, its name, title and abstract, and mentions."""

    where: str
    name: str
    text: str
    n_parts: int = 1
    spans: list[LabeledSpan] = field(default_factory=list)


def read_pubtator(path: Path, *, report: ReportT) -> Iterator[AnnotatedText]:
    """Read the articles of a file, their mentions whole: identifiers and parts are not read.

    path (Path): The file.
    report (ReportT): Called for each relation, which is left out.
    RETURNS (Iterator[AnnotatedText]): The articles, title and abstract joined by a space. Raises
        ValueError with file and line for what is not of this form.
    """
    article: _Article | None = None
    for number, line in read_lines(path):
        where = f"{path}:{number}"
        part = _PART.fullmatch(line)
        is_title = part is not None and part[2] == "t"
        if article is not None and (is_title or not line.strip()):
            yield from _finish(article, report)
            article = None
        if part is not None and is_title:
            article = _Article(where, part[1], part[3])
        elif article is not None and line.split("|" if part else "\t")[0] == article.name:
            if part is None:
                _read_line(line.split("\t"), article, where, report)
            elif article.n_parts == 1 and not article.spans:
                article.text, article.n_parts = f"{article.text} {part[3]}".rstrip(" "), 2
            else:
                raise ValueError(
                    f"{where}: expected one abstract, after the title and before the mentions."
                )
        elif line.strip():
            raise ValueError(
                f"{where}: expected ID|t|TITLE, ID|a|ABSTRACT or lines that begin with that ID and "
                f"a tab, and a blank line between articles, but found {shorten(line)}."
            )
    if article is not None:
        yield from _finish(article, report)


def _finish(article: _Article, report: ReportT) -> Iterator[AnnotatedText]:
    if article.text.strip():
        yield AnnotatedText(article.where, article.text, article.spans)
    else:
        report(Note("empty text left out", article.where))


def _read_line(fields: list[str], article: _Article, where: str, report: ReportT) -> None:
    """Add the mention of a line to its article."""
    if len(fields) > 1 and not fields[1][:1].isdecimal():
        report(Note("relation left out"))
        return
    if len(fields) < 5 or not fields[4] or not all(map(_OFFSET.fullmatch, fields[1:3])):
        raise ValueError(
            f"{where}: expected ID<tab>START<tab>END<tab>MENTION<tab>TYPE, but found "
            f"{shorten(' '.join(fields))}."
        )
    start, end, mention = int(fields[1]), int(fields[2]), fields[3]
    if not start < end or article.text[start:end] != mention:
        raise ValueError(
            f"{where}: expected {shorten(mention)} at {start} {end} of title, one space and "
            f"abstract, but found {quote_span(article.text, start, end, fields[4])}. Correct the "
            f"offsets.{guess_unit(article.text, start, end, mention)}"
        )
    article.spans.append(LabeledSpan(start, end, fields[4]))
