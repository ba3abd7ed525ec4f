"""Annotation inside the text: [text|LABEL], which may nest.

    [Ann|PERSON] slept.
    The [worst [service|NEGATIVE] ever|OPINION].

One sentence per line, a blank line between documents.
"""

from collections.abc import Iterator
from pathlib import Path

from ..inputs import check_size, shorten
from .records import AnnotatedText, LabeledSpan, ReportT, read_lines


def read_inline(path: Path, *, report: ReportT, spaces: str = "all") -> Iterator[AnnotatedText]:
    """Read the documents of a file, their sentences joined.

    path (Path): The file.
    report (ReportT): Not called: nothing is left out.
    spaces (str): all, for a space between sentences, or none.
    RETURNS (Iterator[AnnotatedText]): The documents. Raises ValueError with file and line for
        brackets that do not match.
    """
    where, text = "", ""
    space = " " if spaces == "all" else ""
    spans: list[LabeledSpan] = []
    for number, line in read_lines(path):
        if not line.strip():
            if text:
                yield AnnotatedText(where, text, spans)
            where, text, spans = "", "", []
            continue
        sentence = parse_inline(line, f"{path}:{number}")
        where = where or sentence.where
        text += space if text else ""
        offset = len(text)
        text += sentence.text
        check_size(len(text), where, "a document, up to the next blank line,")
        spans += [
            LabeledSpan(start + offset, end + offset, label) for start, end, label in sentence.spans
        ]
    if text:
        yield AnnotatedText(where, text, spans)


def parse_inline(line: str, where: str) -> AnnotatedText:
    """Take the annotation out of a line.

    line (str): Such as "[Ann|PERSON] slept."
    where (str): File and line, for the message.
    RETURNS (AnnotatedText): Its text and spans. Raises ValueError for brackets that do not match
        and for empty spans and labels.
    """
    text: list[str] = []
    open_starts: list[int] = []
    spans = []
    i = 0
    while i < len(line):
        if line[i] == "[":
            open_starts.append(len(text))
        elif line[i] in "|]":
            end = line.find("]", i)
            if end <= i or not open_starts:
                raise _unbalanced(line, where)
            span = LabeledSpan(open_starts.pop(), len(text), line[i + 1 : end])
            if "[" in span.label or "|" in span.label:
                raise _unbalanced(line, where)
            if span.start == span.end or not span.label:
                raise ValueError(
                    f"{where}: expected text and label in [text|LABEL], but one of them is empty "
                    f"in {shorten(line)}."
                )
            spans.append(span)
            i = end
        else:
            text.append(line[i])
        i += 1
    if open_starts:
        raise _unbalanced(line, where)
    return AnnotatedText(where, "".join(text), spans)


def _unbalanced(line: str, where: str) -> ValueError:
    return ValueError(
        f"{where}: unbalanced annotation in {shorten(line)}: expected [text|LABEL], and none of "
        "[, | and ] elsewhere."
    )
