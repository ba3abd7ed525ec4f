"""What a file says it is: the beginning of a file, and how formats recognize their own.

A format's `looks_like` takes a Head and says whether a file that begins so is one of its own. It
should be strict: two formats that claim a file are an error, unless one refines the other.
"""

import re
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from .columns import divide
from .exports import DOCCANO_FIELDS
from .json_records import read_records
from .jsonl import PRODIGY_FIELDS
from .label_studio import ANNOTATIONS, MIN_FIELDS
from .records import read_lines
from .schemes import PREFIXES, split_tag

_MOST_LINES = 200
_MOST_CHARACTERS = 1 << 20
_MOST_RECORDS = 5
# Also tags spelled otherwise or without a label: the reader explains best what is wrong with them.
_LIKE_TAG = re.compile(rf"[Oo]|[{PREFIXES}]([-_].+)?")
_WORD = re.compile(r"[0-9]+([-.][0-9]+)?")
_COMMENT = re.compile(r"# *(text|sent_id|global\.columns) *=")
_TITLE = re.compile(r"[^|\t]+\|t\|")
_INLINE = re.compile(r"\[[^\[\]|]+\|[^\[\]|]+\]")
_SENTENCE = re.compile(r"<sentence[ >]")
_BRAT = re.compile(r"[TREAMN#*]\S*\t")


class Head(NamedTuple):
    """The beginning of a file.

    path (Path): The file.
    lines (list[str]): Of its first 200 lines, those that are not blank, without line ends; fewer
        if they are long.
    records (list[Any]): Its first 5 JSON records, none if it is not JSON.
    fault (str): Why it is not, though it begins like JSON.
    """

    path: Path
    lines: list[str]
    records: list[Any]
    fault: str = ""


LooksLikeT = Callable[[Head], bool]


def read_head(path: Path) -> Head:
    """Read the beginning of a file. Raises ValueError with file and line if it is not UTF-8.

    path (Path): The file.
    RETURNS (Head): Its beginning.
    """
    lines: list[str] = []
    n_characters = 0
    for _, line in islice(read_lines(path), _MOST_LINES):
        lines += [line] if line.strip() else []
        n_characters += len(line)
        if n_characters > _MOST_CHARACTERS:
            break
    if not lines or lines[0].lstrip()[0] not in "{[":
        return Head(path, lines, [])
    try:
        return Head(path, lines, [r.value for r in islice(read_records(path), _MOST_RECORDS)])
    except ValueError as error:  # such as inline annotation, which may begin with a bracket, too
        return Head(path, lines, [], str(error))


def looks_like_columns(head: Head) -> bool:
    """Whether at least half of the lines end in a column with a tag. The reader explains best what
    is wrong with the others.
    """
    rows = _divide(head)
    tagged = [row for row in rows if len(row) > 1 and _LIKE_TAG.fullmatch(row[-1])]
    return bool(rows) and 2 * len(tagged) >= len(rows)


def looks_like_layers(head: Head) -> bool:
    """Whether there are several columns of tags with prefixes, and nothing else but tokens."""
    rows = _divide(head)
    return len({len(row) for row in rows}) == 1 and all(
        len(row) > 2 and _are_tags(row[1:]) for row in rows
    )


def looks_like_events(head: Head) -> bool:
    """Whether there is one column of tags, with EVENT among them and nothing else but O."""
    tags = [tuple(row[1:]) for row in _divide(head)]
    return ("EVENT",) in tags and set(tags) <= {("O",), ("EVENT",)}


def looks_like_semeval(head: Head) -> bool:
    start = "".join(head.lines)
    return start.lstrip().startswith("<") and bool(_SENTENCE.search(start)) and "<text>" in start


def looks_like_e2e(head: Head) -> bool:
    return bool(head.lines) and all(line.count("####") == 1 for line in head.lines)


def looks_like_brat(head: Head) -> bool:
    """Whether a text and a file of annotation lie side by side."""
    text, annotation = head.path.with_suffix(".txt"), head.path.with_suffix(".ann")
    if head.path not in (text, annotation) or not (text.is_file() and annotation.is_file()):
        return False
    lines = head.lines if head.path == annotation else read_head(annotation).lines
    return all(map(_BRAT.match, lines))


def looks_like_conllu(head: Head) -> bool:
    """Whether every line except comments begins with the number of a word and has ten columns, or
    at least three where a comment is one of CoNLL-U.
    """
    rows = [line.split("\t") for line in head.lines if not line.startswith("#")]
    is_plus = any(map(_COMMENT.match, head.lines))
    return bool(rows) and all(
        (len(row) == 10 or (is_plus and len(row) > 2)) and _WORD.fullmatch(row[0]) for row in rows
    )


def looks_like_germeval(head: Head) -> bool:
    """Whether every line except comments has a number, a token and two tags."""
    rows = [line.split("\t") for line in head.lines if not line.startswith("#\t")]
    return bool(rows) and all(
        len(row) == 4 and row[0].isdecimal() and _are_tags(row[2:]) for row in rows
    )


def looks_like_webanno(head: Head) -> bool:
    return bool(head.lines) and head.lines[0].startswith("#FORMAT=WebAnno TSV 3")


def looks_like_pubtator(head: Head) -> bool:
    return bool(head.lines) and _TITLE.match(head.lines[0]) is not None


def looks_like_inline(head: Head) -> bool:
    return not head.records and any(map(_INLINE.search, head.lines))


def _divide(head: Head) -> list[list[str]]:
    """The columns of each line, without comments and borders of documents."""
    # The reader refuses lines that end in carriage returns alone, and says why.
    lines = [part for line in head.lines for part in line.split("\r")]
    rows = [divide(line) for line in lines if not line.startswith(("#", "-DOCSTART-"))]
    return [row for row in rows if row]


def _are_tags(cells: list[str]) -> bool:
    return all(split_tag(cell)[0] for cell in cells)


def _has(record: Any, field: str, kind: type) -> bool:
    return isinstance(record, dict) and isinstance(record.get(field), kind)


def _has_tokens(record: Any) -> bool:
    return _has(record, "tokens", list)


def _has_text_and_spans(record: Any) -> bool:
    if not _has(record, "text", str) or "tokens" in record:
        return False
    return "spans" in record or any(name in record for name in PRODIGY_FIELDS)


def _is_doccano(record: Any) -> bool:
    if not _has(record, "text", str) or "spans" in record or _is_task(record):
        return False
    fields = [record[name] for name in DOCCANO_FIELDS if name in record]
    return len(fields) == 1 and isinstance(fields[0], list) and all(map(_is_offsets, fields[0]))


def _is_offsets(span: Any) -> bool:
    return (isinstance(span, list) and len(span) == 3) or _has(span, "start_offset", int)


def _is_gliner(record: Any) -> bool:
    return _has(record, "tokenized_text", list) and _has(record, "ner", list)


def _is_pair(record: Any) -> bool:
    return (
        isinstance(record, list)
        and len(record) == 2
        and isinstance(record[0], str)
        and _has(record[1], "entities", list)
    )


def _is_task(record: Any) -> bool:
    if not isinstance(record, dict):
        return False
    if _has(record, "data", dict):
        return any(_has(record, name, list) for name in ANNOTATIONS)
    return any(name in record for name in MIN_FIELDS)


def _of_records(is_one: Callable[[Any], bool]) -> LooksLikeT:
    def looks_like(head: Head) -> bool:
        return bool(head.records) and all(map(is_one, head.records))

    return looks_like


looks_like_tokens = _of_records(_has_tokens)
looks_like_texts = _of_records(_has_text_and_spans)
looks_like_doccano = _of_records(_is_doccano)
looks_like_gliner = _of_records(_is_gliner)
looks_like_pairs = _of_records(_is_pair)
looks_like_label_studio = _of_records(_is_task)


def find_fields(records: Sequence[Any]) -> list[str]:
    """Names of the fields of records, for messages."""
    return sorted({name for record in records if isinstance(record, dict) for name in record})
