"""A record through several pipelines: their decoders run in one pass where they share a base."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from spacy.tokens import Doc

from ..decoder.memory import is_device_lost
from ..fleet import Fleet
from ..fleet.requests import OutcomeT, Request
from ..inputs import cut
from .annotations import Annotations, read_annotations, scored_keys
from .records import Record, make_doc


def is_fatal(error: BaseException) -> bool:
    """RETURNS (bool): Whether all records that follow would fail as well."""
    return isinstance(error, MemoryError) or is_device_lost(str(error))


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
        names = self._fleet.names
        outcomes = self._fleet.run(
            [Request(text=self._make_input(n, record), name=n) for record in records for n in names]
        )
        for outcome in outcomes:
            if isinstance(outcome, Exception) and is_fatal(outcome):
                raise outcome
        for start in range(0, len(outcomes), len(names)):
            yield self._read(dict(zip(names, outcomes[start : start + len(names)], strict=True)))

    def _make_input(self, name: str, record: Record) -> str | Doc:
        # Each makes its own Doc of a text, as its tokenizer does.
        return record.text if record.tokens is None else make_doc(self._fleet[name], record)

    def _read(self, outcomes: Mapping[str, OutcomeT]) -> Annotations | str:
        found: dict[str, Annotations] = {}
        for name, outcome in outcomes.items():
            if not isinstance(outcome, Doc):
                reason = "the pipeline gave no Doc" if outcome is None else spell(outcome)
                return f"{name}: {reason}"
            found[name] = read_annotations(outcome, self._keys[name])
        first = found.pop(self._first)
        return Annotations(first.ents, first.spans, found)
