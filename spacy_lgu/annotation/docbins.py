"""spaCy's .spacy files. One is read as a whole, and a shard is written as one.

User data is not read: whatever it holds, of the next component or of another program, would travel
with the Docs. Nothing in a file can run code.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import srsly
from spacy.attrs import intify_attr
from spacy.strings import hash_string  # type: ignore[attr-defined]
from spacy.tokens import Doc, DocBin
from spacy.tokens._dict_proxies import SpanGroups

from ..training.readers import load_docbin
from .annotations import Annotations
from .records import BadRecord, Record, Tokens, drop_spans, dump_others

# Key of Doc.user_data for the fields of a record other than its text.
RECORD = "record"
_IOB = intify_attr("ENT_IOB")


def scan_docbin(path: Path, shard_size: int) -> tuple[int, list[list[int]], int]:
    """The number of Docs, for each shard those before it, and how many have user data."""
    docs = load_docbin(path)
    n_docs = len(docs)
    n_with_data = sum(data not in (None, srsly.msgpack_dumps({})) for data in docs.user_data)
    return n_docs, [[number] for number in range(0, n_docs, shard_size)], n_with_data


class DocBinReader:
    """Reads shards of a file, which is in memory meanwhile.

    path (Path): The file.
    text_field (str): Name of the field that the text gets.
    replace (bool): Whether entities and span groups of the Docs are left out. False: a Doc that has
        any is a bad record.
    """

    def __init__(self, path: Path, text_field: str, *, replace: bool) -> None:
        self._docs = load_docbin(path)
        self._text_field = text_field
        self._replace = replace
        self._strings = {hash_string(string): string for string in self._docs.strings}

    schema = None

    def read(self, start: list[int], n_records: int) -> Iterator[Record | BadRecord]:
        """The records of a shard, in order.

        start (list[int]): Of the shard, from scan_docbin.
        n_records (int): How many.
        """
        (first,) = start
        for number in range(first, first + n_records):
            try:
                yield self._read_doc(number)
            except (KeyError, ValueError) as error:
                yield BadRecord(number + 1, f"expected a Doc, but {error}")

    def close(self) -> None:
        """Nothing is open."""

    def _read_doc(self, number: int) -> Record | BadRecord:
        docs = self._docs
        values, spaces = docs.tokens[number], docs.spaces[number]
        known = {int(value) for value in numpy.unique(values)} & self._strings.keys()
        found = [self._strings[value] for value in known]
        has_spaces = not docs.flags[number].get("has_unknown_spaces")
        flat = spaces.reshape(-1) if has_spaces else None
        attrs: list[Any] = [*docs.attrs]  # numbers, whatever its annotation says
        tokens = Tokens(attrs, values, flat, found, docs.cats[number])
        if not self._replace and (name := self._find_spans(number)):
            reason = f"the Doc has {name} already: replace them with --replace"
            return BadRecord(number + 1, reason, is_clash=True)
        words = [self._strings[int(value)] for value in values[:, 0]]
        after = [True] * len(words) if flat is None else flat.tolist()
        text = "".join(w + " " * s for w, s in zip(words, after, strict=True))
        return Record(number + 1, text, {self._text_field: text}, tokens=drop_spans(tokens))

    def _find_spans(self, number: int) -> str | None:
        if _IOB in self._docs.attrs and self._docs.tokens[number].size:
            iob = self._docs.tokens[number][:, self._docs.attrs.index(_IOB)]
            if iob.any():
                return "entities"
        groups = self._docs.span_groups[number]
        has_groups = bool(groups) and groups != SpanGroups._EMPTY_BYTES
        return "span groups" if has_groups else None


class DocBinWriter:
    """Writes Docs with what the pipeline wrote on them. A shard is in memory until it is closed.

    path (Path): The file.
    text_field (str): Field with the text, which the Doc has.
    """

    def __init__(self, path: Path, *, text_field: str) -> None:
        self._path = path
        self._text_field = text_field
        self._docs = DocBin(store_user_data=True)

    def write(self, record: Record, fields: dict[str, Any], found: Annotations, doc: Doc) -> None:
        """Add a Doc.

        record (Record): Its record.
        fields (dict[str, Any]): The record's fields. Those other than the text become
            Doc.user_data["record"], as JSON; of a record that was a Doc there are none.
        found (Annotations): Not used.
        doc (Doc): The Doc. Its user data is replaced: components leave their arrays there.
        """
        # Not as it is: msgpack would make tuples of lists, and has no numbers of more than 64 bits.
        others = dump_others(fields, self._text_field) if record.tokens is None else "{}"
        doc.user_data = {RECORD: others} if others != "{}" else {}
        self._docs.add(doc)

    def close(self) -> None:
        """Write the file."""
        self._docs.to_disk(self._path)
