"""Shards: which there are, under which names they are written, and how they are read."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from ..decoder.hashes import hash_file
from .docbins import DocBinReader, scan_docbin
from .finding import InputFile
from .lines import LineReader, scan_lines
from .parquet import ParquetReader, scan_parquet
from .records import BadRecord, Record
from .settings import Settings

# Digits of a shard's number: names sort as shards follow each other, up to a million.
_DIGITS = 6


@dataclass(frozen=True)
class Scanned:
    """A file and where its shards begin.

    file (InputFile): The file.
    n_bytes, mtime_ns (int): Its size, and when it was changed, in nanoseconds.
    sha256 (str): Of its content.
    n_records (int): Its records, bad ones included.
    starts (list[list[int]]): For each shard, what its reader needs to begin there.
    n_with_data (int): Docs with user data, which is not read.
    """

    file: InputFile
    n_bytes: int
    mtime_ns: int
    sha256: str
    n_records: int
    starts: list[list[int]]
    n_with_data: int = 0

    def check_unchanged(self) -> None:
        """Raise ValueError if the file was changed since it was scanned."""
        state = self.file.path.stat()
        if (state.st_size, state.st_mtime_ns) != (self.n_bytes, self.mtime_ns):
            raise ValueError(
                f"{self.file.path} has changed since its records were counted. Leave the inputs as "
                "they are during a run; for changed ones, name another folder."
            )

    def identity(self) -> dict[str, Any]:
        """RETURNS (dict[str, Any]): All but where the file is, as values for JSON."""
        values = asdict(self)
        del values["file"]
        return {"name": self.file.name, "kind": self.file.kind, **values}


@dataclass(frozen=True)
class Shard:
    """Adjacent records of one file.

    file (int): Number of the file.
    number (int): Of the shard in it, from 0.
    n_records (int): Its records.
    """

    file: int
    number: int
    n_records: int


class Reader(Protocol):
    """Reads shards of a file."""

    schema: Any  # pyarrow.Schema of rows of Parquet, else None

    def read(self, start: list[int], n_records: int) -> Iterator[Record | BadRecord]:
        """The records of a shard, in order."""

    def close(self) -> None:
        """Close the file."""


def scan(file: InputFile, settings: Settings) -> Scanned:
    """Read a file once.

    file (InputFile): The file.
    settings (Settings): Says how large a shard is.
    RETURNS (Scanned): Where its shards begin. Raises ValueError naming a file that is damaged.
    """
    state = file.path.stat()
    known = (file, state.st_size, state.st_mtime_ns)
    if file.kind == "parquet":
        n_records, starts = scan_parquet(file.path, settings.shard_size)
        return Scanned(*known, hash_file(file.path), n_records, starts)
    if file.kind == "spacy":
        n_records, starts, n_with_data = scan_docbin(file.path, settings.shard_size)
        return Scanned(*known, hash_file(file.path), n_records, starts, n_with_data)
    n_records, starts, sha256 = scan_lines(file.path, file.kind, settings.shard_size)
    return Scanned(*known, sha256, n_records, starts)


def open_reader(file: InputFile, settings: Settings) -> Reader:
    """RETURNS (Reader): A reader for a file, by its kind."""
    if file.kind == "parquet":
        return ParquetReader(file.path, settings.text_field)
    if file.kind == "spacy":
        return DocBinReader(file.path, settings.text_field, replace=settings.replace)
    return LineReader(file.path, file.kind, settings.text_field)


def list_shards(files: list[Scanned], settings: Settings) -> list[Shard]:
    """RETURNS (list[Shard]): All shards, in the order of files and records."""
    size = settings.shard_size
    return [
        Shard(i, number, min(size, scanned.n_records - number * size))
        for i, scanned in enumerate(files)
        for number in range(len(scanned.starts))
    ]


def name_shard(scanned: Scanned, shard: Shard, settings: Settings) -> str:
    """RETURNS (str): Where a shard is written, below the output: NAME-NUMBER.FORMAT."""
    return f"{scanned.file.name}-{shard.number:0{_DIGITS}}.{settings.format}"
