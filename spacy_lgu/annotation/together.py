"""A record through several pipelines: their decoders run in one pass where they share a base."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from spacy.tokens import Doc

from ..fleet import Fleet
from ..inputs import cut
from .annotations import Annotations, read_annotations, scored_keys
from .records import Record, make_doc


def is_fatal(error: BaseException) -> bool:
    """RETURNS (bool): Whether all records that follow would fail as well."""
    return isinstance(error, MemoryError) or "CUDA error" in str(error)


def spell(error: BaseException) -> str:
    """RETURNS (str): An error as a reason for a dead letter."""
    return cut(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


class Together:
    """The further pipelines of a run, and the first.

    fleet (Fleet): All of them.
    first (str): The name of the first one.
    """

    def __init__(self, fleet: Fleet, first: str) -> None:
        self._fleet = fleet
        self._first = first
        self._keys = {name: scored_keys(fleet[name]) for name in fleet.names}

    @contextmanager
    def memory_zones(self) -> Iterator[None]:
        """What is made of words within is freed at the end, in every pipeline."""
        with ExitStack() as stack:
            for name in self._fleet.names:
                stack.enter_context(self._fleet[name].memory_zone())
            yield

    def annotate(self, records: Sequence[Record]) -> Iterator[Annotations | str]:
        """Annotate a batch.

        records (Sequence[Record]): The records.
        YIELDS (Annotations | str): For each, what all pipelines found; or why one of them failed.
            Raises what is_fatal.
        """
        requests = [
            (self._make_input(name, record), name, (i, name))
            for i, record in enumerate(records)
            for name in self._fleet.names
        ]
        # By the text itself, which lives as long as the batch: errors come without a context.
        reasons: dict[tuple[int, str], str] = {}

        def note(text: Any, name: str, error: Exception) -> None:
            if is_fatal(error):
                raise error
            reasons[id(text), name] = spell(error)

        docs: dict[tuple[int, str], Doc] = {}
        options: dict[str, Any] = {"batch_size": len(requests), "on_error": note}
        for doc, place in self._fleet.pipe(requests, as_tuples=True, **options):
            docs[place] = doc
        failed = {
            place[0]: f"{name}: {reasons.get((id(text), name), 'the pipeline gave no Doc')}"
            for text, name, place in reversed(requests)
            if place not in docs
        }
        for i in range(len(records)):
            yield failed[i] if i in failed else self._read(docs, i)

    def _make_input(self, name: str, record: Record) -> str | Doc:
        # Each makes its own Doc of a text, as its tokenizer does.
        return record.text if record.tokens is None else make_doc(self._fleet[name], record)

    def _read(self, docs: dict[tuple[int, str], Doc], i: int) -> Annotations:
        found = {name: read_annotations(docs[i, name], keys) for name, keys in self._keys.items()}
        first = found.pop(self._first)
        return Annotations(first.ents, first.spans, found)
