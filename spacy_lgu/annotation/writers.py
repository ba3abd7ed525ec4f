"""Formats of the output, and the writer of JSON lines."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from spacy.tokens import Doc

from ..compressed import check_suffix, pack
from .annotations import Annotations
from .docbins import DocBinWriter
from .parquet import ParquetWriter, check_pyarrow
from .records import Record

FORMATS = ("jsonl", "jsonl.gz", "jsonl.xz", "jsonl.zst", "parquet", "spacy")


@dataclass(frozen=True)
class Settings:
    """What decides what is written: a run that goes on has the same.

    format (str): One of FORMATS.
    text_field (str): Field with the text.
    ents_field, spans_field (str): Fields for entities and span groups. Raises ValueError unless all
        three differ.
    replace (bool): Whether fields of these names may be replaced.
    shard_size (int): Records of a shard, at least 1.
    """

    format: str = "jsonl"
    text_field: str = "text"
    ents_field: str = "ents"
    spans_field: str = "spans"
    replace: bool = False
    shard_size: int = 1000

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"Expected --format to be one of {', '.join(FORMATS)}, but got "
                             f"{self.format!r}.")  # fmt: skip
        names = (self.text_field, self.ents_field, self.spans_field)
        taken = {*names, "record"} if self.format == "parquet" else {*names}
        if len(taken) < len(names) + (self.format == "parquet"):
            raise ValueError(
                "Expected different names for text, entities and span groups"
                f"{', and none to be record' if self.format == 'parquet' else ''}, but got "
                f"{', '.join(names)}."
            )
        if self.shard_size < 1:
            raise ValueError(f"Expected at least 1 record in a shard, but got {self.shard_size}.")

    @property
    def new_fields(self) -> tuple[str, ...]:
        """RETURNS (tuple[str, ...]): Fields that no record may have. A Doc has none."""
        fields = () if self.format == "spacy" else (self.ents_field, self.spans_field)
        return () if self.replace else fields


class Writer(Protocol):
    """Writes the records of a shard."""

    def write(self, record: Record, fields: dict[str, Any], found: Annotations, doc: Doc) -> None:
        """Add a record. Raises ValueError or OverflowError if the format cannot hold it; the others
        stay as they are."""

    def close(self) -> None:
        """Finish the file."""


def check_format(settings: Settings) -> None:
    """Raise ImportError if what the format needs is not installed."""
    if settings.format == "parquet":
        check_pyarrow()
    check_suffix(Path(settings.format).suffix)


def open_writer(path: Path, settings: Settings, schema: Any = None) -> Writer:
    """A writer for a new file.

    path (Path): The file.
    settings (Settings): Its format and fields.
    schema (pyarrow.Schema | None): Of the records, if they are rows of Parquet.
    """
    names = {"text_field": settings.text_field}
    if settings.format == "spacy":
        return DocBinWriter(path, **names)
    names |= {"ents_field": settings.ents_field, "spans_field": settings.spans_field}
    if settings.format == "parquet":
        return ParquetWriter(path, **names, schema=schema)
    return JsonlWriter(path, Path(settings.format).suffix, settings)


class JsonlWriter:
    """Writes JSON lines.

    path (Path): The file.
    suffix (str): .gz, .xz or .zst; any other: not compressed.
    settings (Settings): Names of the fields.
    """

    def __init__(self, path: Path, suffix: str, settings: Settings) -> None:
        self._file = path.open("wb")
        self._stream = pack(self._file, suffix)
        self._ents_field = settings.ents_field
        self._spans_field = settings.spans_field

    def write(
        self, record: Record, fields: dict[str, Any], found: Annotations, doc: object
    ) -> None:
        """Add a record.

        record (Record): The record. If it was JSON, it is kept to the letter.
        fields (dict[str, Any]): Its fields.
        found (Annotations): What the pipeline found.
        doc (object): Not used.
        """
        new = {self._ents_field: found.ents, self._spans_field: found.spans}
        if record.raw is not None and not fields.keys() & new.keys():
            line = f"{record.raw[:-1].rstrip()}, {_dump(new)[1:]}"
        else:
            line = _dump({**{k: v for k, v in fields.items() if k not in new}, **new})
        self._stream.write(line.encode("utf8") + b"\n")

    def close(self) -> None:
        """Finish the file."""
        self._stream.close()
        self._file.close()


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def clashes(fields: Sequence[str], settings: Settings) -> list[str]:
    """RETURNS (list[str]): Fields of a record that the output would overwrite."""
    return [name for name in settings.new_fields if name in fields]
