"""The records of a shard through a pipeline, in batches of bounded size."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc

from .annotations import Annotations, read_annotations, scored_keys
from .parquet import say_clash
from .records import BadRecord, Record, fields_of, make_doc
from .settings import Settings, clashes
from .together import Together, is_fatal, spell
from .writers import Writer

# Characters that count as a token at least: subtokens of words that are not words, such as
# addresses and base64, are many.
_CHARACTERS = 5
# Documents that fail one after the other before the fault is taken for the pipeline's.
_FAILURES = 100


@dataclass(frozen=True)
class _Prepared:
    """A record, its fields for the output, and its Doc before the pipeline."""

    record: Record
    fields: dict[str, Any]
    doc: Doc


class Annotator:
    """Annotates records, shard by shard.

    nlp (Language): The pipeline.
    settings (Settings): What is written.
    batch_tokens (int): Most tokens of a batch. A text with more is a batch by itself.
    together (Together | None): The pipeline and further ones. None: there are none.
    """

    def __init__(
        self,
        nlp: Language,
        settings: Settings,
        *,
        batch_tokens: int,
        together: Together | None = None,
    ) -> None:
        self._nlp = nlp
        self._together = together
        self._zones = nlp.memory_zone if together is None else together.memory_zones
        self._settings = settings
        self._batch_tokens = batch_tokens
        self._keys = scored_keys(nlp)
        self._n_in_a_row = 0  # documents that the pipeline failed on

    def annotate(
        self,
        records: Iterator[Record | BadRecord],
        writer: Writer,
        tell: Callable[[int], None],
    ) -> list[BadRecord]:
        """Annotate records and write them, in order.

        records (Iterator[Record | BadRecord]): The records.
        writer (Writer): Where they are written.
        tell (Callable): Called with the number of records of each batch, when it is written.
        RETURNS (list[BadRecord]): Those that are not written. Raises ValueError if the pipeline
            fails on a hundred documents in a row, MemoryError, and what CUDA does not recover from.
        """
        failures: list[BadRecord] = []
        carried: list[Record | BadRecord] = []
        while True:
            n_failures = len(failures)
            # What is made in the zone, such as new words in the vocabulary, is freed at its end.
            with self._zones():
                n_read, carried = self._do_batch(records, carried, writer, failures)
            # Batches keep the order, but not those that failed at different moments of one.
            failures[n_failures:] = sorted(failures[n_failures:], key=_line)
            tell(n_read)
            if not carried:
                return failures

    def _do_batch(
        self,
        records: Iterator[Record | BadRecord],
        carried: list[Record | BadRecord],
        writer: Writer,
        failures: list[BadRecord],
    ) -> tuple[int, list[Record | BadRecord]]:
        """A function of its own, so that no Doc outlives its zone."""
        batch, n_read, carried = self._read_batch(records, carried, failures)
        run = self._annotate_batch if self._together is None else self._annotate_together
        for prepared, doc, found in run(batch, failures):
            self._write(prepared, doc, found, writer, failures)
        return n_read, carried

    def _read_batch(
        self,
        records: Iterator[Record | BadRecord],
        carried: list[Record | BadRecord],
        failures: list[BadRecord],
    ) -> tuple[list[_Prepared], int, list[Record | BadRecord]]:
        """RETURNS (tuple): Records with their Docs, how many were read, and the first of the next
        batch, if there is one: its Doc must be made in another zone."""
        batch: list[_Prepared] = []
        n_read = n_tokens = 0
        while True:
            record = carried.pop() if carried else next(records, None)
            if record is None:
                return batch, n_read, []
            prepared = self._prepare(record) if isinstance(record, Record) else record
            if isinstance(prepared, BadRecord):
                failures.append(prepared)
            else:
                doc = prepared.doc
                cost = 1 + max(len(doc), len(doc.text) // _CHARACTERS)
                if batch and n_tokens + cost > self._batch_tokens:
                    return batch, n_read, [record]
                batch.append(prepared)
                n_tokens += cost
            n_read += 1

    def _prepare(self, record: Record) -> _Prepared | BadRecord:
        if names := clashes([*record.fields], self._settings) if record.raw is not None else []:
            return BadRecord(record.line, say_clash("the record", names[0], "field"))
        try:
            doc = make_doc(self._nlp, record)
            return _Prepared(record, self._find_fields(record, doc), doc)
        # A text longer than nlp.max_length, a field that is not UTF-8, or any error of a tokenizer
        # or a component's attributes, which may be code of others.
        except Exception as error:
            if is_fatal(error):
                raise
            return BadRecord(record.line, spell(error))

    def _annotate_batch(
        self, batch: list[_Prepared], failures: list[BadRecord]
    ) -> Iterator[tuple[_Prepared, Doc, Annotations]]:
        docs, reason = self._run([prepared.doc for prepared in batch])
        is_whole = not reason
        for i, prepared in enumerate(batch):
            found = docs[i : i + 1]
            if not is_whole and len(batch) > 1:
                # Alone, and made anew: some components have annotated the first one.
                found, reason = self._run([make_doc(self._nlp, prepared.record)])
            for doc in found:
                self._n_in_a_row = 0
                yield prepared, doc, read_annotations(doc, self._keys)
            if not found:
                self._fail(prepared.record, reason, failures)

    def _annotate_together(
        self, batch: list[_Prepared], failures: list[BadRecord]
    ) -> Iterator[tuple[_Prepared, Doc, Annotations]]:
        if self._together is None:
            return
        outcomes = self._together.annotate([prepared.record for prepared in batch])
        for prepared, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, str):
                self._fail(prepared.record, outcome, failures)
            else:
                self._n_in_a_row = 0
                yield prepared, prepared.doc, outcome

    def _fail(self, record: Record, reason: str, failures: list[BadRecord]) -> None:
        failures.append(BadRecord(record.line, reason))
        self._n_in_a_row += 1
        if self._n_in_a_row >= _FAILURES:
            raise ValueError(
                f"The pipeline failed on {_FAILURES} documents in a row, on the last with: "
                f"{reason}. Their shard is not written; the same command tries it again."
            )

    def _find_fields(self, record: Record, doc: Doc) -> dict[str, Any]:
        if record.row is not None and self._settings.format == "parquet":
            return {}  # the row itself is written
        return fields_of(record, doc, self._settings.text_field)

    def _run(self, docs: list[Doc]) -> tuple[list[Doc], str]:
        """RETURNS (tuple): The Docs after the pipeline, or none and the reason."""
        try:
            found = list(self._nlp.pipe(docs, batch_size=max(1, len(docs))))
        # Components are code of others: whatever they raise, other documents are not to be lost.
        except Exception as error:
            if is_fatal(error):
                raise
            return [], spell(error)
        if len(found) != len(docs):  # a component whose errors are ignored
            return [], f"the pipeline gave {len(found)} Docs for {len(docs)}"
        return found, ""

    def _write(
        self,
        prepared: _Prepared,
        doc: Doc,
        found: Annotations,
        writer: Writer,
        failures: list[BadRecord],
    ) -> None:
        try:
            writer.write(prepared.record, prepared.fields, found, doc)
        except ValueError as error:  # NaN, which JSON lacks
            reason = f"its fields cannot be written as {self._settings.format}: {spell(error)}"
            failures.append(BadRecord(prepared.record.line, reason))


def _line(bad: BadRecord) -> int:
    return bad.line
