"""What readers give: a record to be annotated, or why there is none."""

import json
from dataclasses import dataclass
from typing import Any

import numpy
from spacy.attrs import intify_attr
from spacy.language import Language
from spacy.tokens import Doc

from ..inputs import shorten

# What a Doc of a .spacy file has from an earlier annotation of spans.
ENTITY_ATTRS = frozenset(
    intify_attr(name) for name in ("ENT_IOB", "ENT_TYPE", "ENT_KB_ID", "ENT_ID")
)


@dataclass(frozen=True)
class BadRecord:
    """A record that cannot be annotated.

    line (int): Line, row or number of the Doc in its file, from 1.
    reason (str): Why, for the dead-letter file.
    is_clash (bool): Whether it has an annotation already, which may be replaced.
    """

    line: int
    reason: str
    is_clash: bool = False


@dataclass(frozen=True)
class Tokens:
    """The tokens of a Doc in a .spacy file, and what else is known of each.

    attrs (list[int]): spaCy's attributes, the columns of `values`.
    values (ndarray): Shape: (tokens, attributes), uint64.
    spaces (ndarray | None): Whether a space follows each token; None: not known.
    strings (list[str]): Those that the values are hashes of.
    cats (dict[str, float]): Categories of the Doc.
    """

    attrs: list[int]
    values: numpy.ndarray
    spaces: numpy.ndarray | None
    strings: list[str]
    cats: dict[str, float]


@dataclass(frozen=True)
class Record:
    """A record with a text.

    line (int): Line, row or number of the Doc in its file, from 1.
    text (str): The text.
    fields (dict[str, Any]): All its fields in order, the text included. Of a Doc: the text alone.
    raw (str | None): The JSON that it was read from, which has numbers as they were spelled.
    row (Any): The row of Parquet that it was read from, a pyarrow.RecordBatch.
    tokens (Tokens | None): Of a Doc.
    """

    line: int
    text: str
    fields: dict[str, Any]
    raw: str | None = None
    row: Any = None
    tokens: Tokens | None = None


def check_text(text: object, field: str) -> str:
    """A text as spaCy takes it.

    text (object): What the field holds.
    field (str): Its name, for messages.
    RETURNS (str): The text. Raises ValueError if it is not a string or has half an emoji.
    """
    if not isinstance(text, str):
        raise ValueError(f"expected a string in {field!r}, but found {shorten(text)}")
    try:
        text.encode("utf8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"expected text without lone surrogates in {field!r}, but character {error.start} is "
            f"{text[error.start]!r}"
        ) from error
    return text


def make_doc(nlp: Language, record: Record) -> Doc:
    """The Doc of a record, before the pipeline.

    nlp (Language): The pipeline.
    record (Record): The record.
    RETURNS (Doc): Its text in the pipeline's tokens, or the tokens that it has.
    """
    tokens = record.tokens
    if tokens is None:
        return nlp.make_doc(record.text)
    for string in tokens.strings:
        nlp.vocab.strings.add(string)
    words = tokens.values[:, 0]
    doc = Doc(nlp.vocab, words=words, spaces=tokens.spaces)  # type: ignore[arg-type]
    doc = doc.from_array(tokens.attrs, tokens.values)  # type: ignore[arg-type]
    doc.cats = dict(tokens.cats)
    return doc


def dump_fields(fields: dict[str, Any]) -> str:
    """RETURNS (str): Fields as JSON that any file can hold. Raises ValueError for NaN."""
    dumped = json.dumps(fields, ensure_ascii=False, allow_nan=False)
    try:
        dumped.encode("utf8")
    except UnicodeEncodeError:  # half an emoji, which JSON can escape
        return json.dumps(fields, allow_nan=False)
    return dumped


def dump_others(fields: dict[str, Any], text_field: str) -> str:
    """RETURNS (str): All fields but the text, as JSON, where only the text has a place."""
    return dump_fields({name: value for name, value in fields.items() if name != text_field})


def drop_spans(tokens: Tokens) -> Tokens:
    """RETURNS (Tokens): Without the entities."""
    kept = [i for i, attr in enumerate(tokens.attrs) if attr not in ENTITY_ATTRS]
    attrs = [tokens.attrs[i] for i in kept]
    return Tokens(attrs, tokens.values[:, kept], tokens.spaces, tokens.strings, tokens.cats)


def fields_of(record: Record, doc: Doc, text_field: str) -> dict[str, Any]:
    """All fields of a record as values for JSON.

    record (Record): The record.
    doc (Doc): Its Doc, before the pipeline.
    text_field (str): Name of the field with the text.
    RETURNS (dict[str, Any]): Of a Doc what Doc.to_json gives, without spans.
    """
    if record.row is not None:
        return record.row.to_pylist()[0]
    if record.tokens is None:
        return record.fields
    others = doc.to_json()
    text = others.pop("text")
    return {text_field: text, **{k: v for k, v in others.items() if k not in ("ents", "spans")}}
