"""Parquet, read row by row and written with columns for entities and span groups. Needs pyarrow."""

from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .annotations import Annotations
from .records import BadRecord, Record, check_text, dump_others
from .settings import Settings

# Rows read at once, and rows of a group that is written.
_ROWS = 256
_GROUP = 1024
# Fields other than the text, of records that come from another format.
OTHERS = "record"


def check_pyarrow() -> None:
    """Raise ImportError where pyarrow is not installed."""
    if find_spec("pyarrow") is None:
        raise ImportError("Parquet needs pyarrow: pip install 'spacy-lgu[parquet]'.")


def scan_parquet(path: Path, shard_size: int) -> tuple[int, list[list[int]]]:
    """The number of rows of a file, and for each shard the rows before it."""
    n_rows = _open(path).metadata.num_rows
    return n_rows, [[row] for row in range(0, n_rows, shard_size)]


def check_schema(path: Path, settings: Settings) -> None:
    """Check the columns of a file before any is read.

    path (Path): The file.
    settings (Settings): What is written. Raises ValueError if there is no column with the text, one
        that would be overwritten, or one of a kind that the format lacks.
    """
    schema, text_field = _open(path).schema_arrow, settings.text_field
    for name, n in Counter(schema.names).items():
        if n > 1:
            raise ValueError(
                f"{path} has {n} columns named {name!r}, of which others would be lost. Rename "
                "them, or leave all but one out."
            )
    if text_field not in schema.names:
        raise ValueError(
            f"{path} has no column {text_field!r}, but {', '.join(schema.names)}. Name that of the "
            "texts with --text-field."
        )
    if not _is_string(schema.field(text_field).type):
        raise ValueError(
            f"{path}: expected strings in the column {text_field!r}, but it is of "
            f"{schema.field(text_field).type}. Name another one with --text-field."
        )
    for name in settings.new_fields:
        if name in schema.names:
            raise ValueError(say_clash(str(path), name, "column"))
    replaced = settings.written_fields if settings.replace else ()
    for field in schema if settings.format != "parquet" else ():
        if field.name not in replaced and not _is_json(field.type):
            raise ValueError(
                f"{path}: the column {field.name!r} is of {field.type}, which JSON has not. Write "
                "--format parquet, or leave the column out."
            )


def say_clash(where: str, name: str, kind: str) -> str:
    """RETURNS (str): The message for a field that the output would overwrite."""
    return (
        f"{where} has a {kind} {name!r} already, which would be overwritten. Write to another one "
        "with --ents-field, --spans-field or another name in --also, or replace it with --replace."
    )


class ParquetReader:
    """Reads shards of a file, those that follow each other without reading anything twice.

    path (Path): The file.
    text_field (str): Column with the text.
    """

    def __init__(self, path: Path, text_field: str) -> None:
        self._file = _open(path)
        self.schema = self._file.schema_arrow
        self._text_field = text_field
        self._rows: Iterator[Any] = iter(())
        self._next = -1

    def read(self, start: list[int], n_records: int) -> Iterator[Record | BadRecord]:
        """The records of a shard, in order.

        start (list[int]): Of the shard, from scan_parquet.
        n_records (int): How many.
        """
        (row,) = start
        if self._next != row:
            self._rows = self._iter_rows(row)
        for number in range(row, row + n_records):
            found = next(self._rows)
            self._next = number + 1
            try:
                text = check_text(found.column(self._text_field)[0].as_py(), self._text_field)
                yield Record(number + 1, text, {}, row=found)
            except ValueError as error:  # of bytes that are not UTF-8, too
                yield BadRecord(number + 1, str(error))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _iter_rows(self, start: int) -> Iterator[Any]:
        before = 0
        groups: list[int] = []
        for group in range(self._file.metadata.num_row_groups):
            n_rows = self._file.metadata.row_group(group).num_rows
            if not groups and before + n_rows <= start:
                before += n_rows
            else:
                groups.append(group)
        skip = start - before
        for batch in self._file.iter_batches(batch_size=_ROWS, row_groups=groups):
            for i in range(min(skip, len(batch)), len(batch)):
                yield batch.slice(i, 1)
            skip = max(0, skip - len(batch))


class ParquetWriter:
    """Writes records with their annotations, a group of rows in memory at a time.

    path (Path): The file.
    text_field (str): Column with the text.
    ents_field, spans_field (str): Columns that are added.
    also (Sequence[str]): Further ones, for what other pipelines find.
    schema (pyarrow.Schema | None): Of the records, if they are rows of Parquet.

    Rows of Parquet keep their columns as they were. Of other records the text is a column, and the
    rest is JSON in the column "record", since their fields may differ from one to the next.
    """

    def __init__(
        self,
        path: Path,
        *,
        text_field: str,
        ents_field: str,
        spans_field: str,
        also: Sequence[str] = (),
        schema: Any = None,
    ) -> None:
        self._path = path
        self._schema = schema
        self._fields = (text_field, ents_field, spans_field)
        self._also = also
        self._writer: Any = None
        self._waiting: list[tuple[Record, dict[str, Any], Annotations]] = []

    def write(
        self, record: Record, fields: dict[str, Any], found: Annotations, doc: object
    ) -> None:
        """Add a record.

        record (Record): The record.
        fields (dict[str, Any]): Its fields for JSON; of a row of Parquet none.
        found (Annotations): What the pipeline found.
        doc (object): Not used.
        """
        if record.row is None:
            fields = {OTHERS: dump_others(fields, self._fields[0])}
        self._waiting.append((record, fields, found))
        if len(self._waiting) >= _GROUP:
            self._flush()

    def close(self) -> None:
        """Write what is left. A shard without a record becomes a file without rows."""
        if self._waiting or self._writer is None:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow
        import pyarrow.parquet

        text_field, ents_field, spans_field = self._fields
        if self._schema is not None:
            rows = [record.row for record, _, _ in self._waiting]
            table = pyarrow.Table.from_batches(rows, self._schema)
            new = {ents_field, spans_field, *self._also}
            kept = [name for name in table.column_names if name not in new]
            table = table.select(kept)
        else:
            texts = [record.text for record, _, _ in self._waiting]
            others = [fields[OTHERS] for _, fields, _ in self._waiting]
            columns = [(text_field, texts), (OTHERS, others)]
            table = pyarrow.table({k: pyarrow.array(v, pyarrow.string()) for k, v in columns})
        span = pyarrow.struct(
            [
                ("start", pyarrow.int64()),
                ("end", pyarrow.int64()),
                ("label", pyarrow.string()),
                ("kb_id", pyarrow.string()),
                ("id", pyarrow.string()),
                ("score", pyarrow.float64()),
            ]
        )
        ents = [found.ents for _, _, found in self._waiting]
        groups = [[*found.spans.items()] for _, _, found in self._waiting]
        grouped = pyarrow.map_(pyarrow.string(), pyarrow.list_(span))
        table = table.append_column(ents_field, pyarrow.array(ents, pyarrow.list_(span)))
        table = table.append_column(spans_field, pyarrow.array(groups, grouped))
        both = pyarrow.struct([("ents", pyarrow.list_(span)), ("spans", grouped)])
        for name in self._also:
            others = [found.also[name] for _, _, found in self._waiting]
            rows = [{"ents": one.ents, "spans": [*one.spans.items()]} for one in others]
            table = table.append_column(name, pyarrow.array(rows, both))
        if self._writer is None:
            self._writer = pyarrow.parquet.ParquetWriter(self._path, table.schema)
        self._writer.write_table(table)
        self._waiting = []


def _open(path: Path) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path}: expected Parquet, but {error}") from error


def _is_string(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        return _is_string(kind.value_type)
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _is_json(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        return all(_is_json(field.type) for field in kind)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _is_json(kind.value_type)
    if types.is_dictionary(kind):
        return _is_json(kind.value_type)
    simple = (types.is_null, types.is_boolean, types.is_integer, types.is_floating)
    return _is_string(kind) or any(is_kind(kind) for is_kind in simple)
