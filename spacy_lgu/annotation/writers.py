"""Writers by format, and that of JSON lines."""

from pathlib import Path
from typing import Any, Protocol

from spacy.tokens import Doc

from ..compressed import check_suffix, pack
from .annotations import Annotations
from .docbins import DocBinWriter
from .parquet import ParquetWriter, check_pyarrow
from .records import Record, dump_fields
from .settings import Settings


class Writer(Protocol):
    """Writes the records of a shard."""

    def write(self, record: Record, fields: dict[str, Any], found: Annotations, doc: Doc) -> None:
        """Add a record. Raises ValueError if the format cannot hold it; the others stay."""

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
        return ParquetWriter(path, **names, also=settings.also, schema=schema)
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
        new: dict[str, Any] = {self._ents_field: found.ents, self._spans_field: found.spans}
        new |= {name: {"ents": a.ents, "spans": a.spans} for name, a in found.also.items()}
        if record.raw is not None and not fields.keys() & new.keys():
            line = f"{record.raw[:-1].rstrip()}, {dump_fields(new)[1:]}"
        else:
            line = dump_fields({**{k: v for k, v in fields.items() if k not in new}, **new})
        self._stream.write(line.encode("utf8") + b"\n")

    def close(self) -> None:
        """Finish the file."""
        self._stream.close()
        self._file.close()
