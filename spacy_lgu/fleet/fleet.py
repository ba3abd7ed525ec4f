"""Pipelines by name on one base decoder."""

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import minibatch

from ..decoder.fleet import FleetDecoder
from ..decoder.membership import ApartError, BaseError
from ..pipeline.opening import open_pipeline
from .bases import RecordedBase, check_same, depth, misfit, read_base
from .requests import OnErrorT, OutcomeT, Request, find_seat, run_batch
from .seats import Seat, find_transformer

logger = logging.getLogger("spacy_lgu")


class State(NamedTuple):
    """What a fleet has at one moment.

    seats (Mapping[str, Seat]): Its pipelines by name.
    decoder (FleetDecoder | None): Runs their decoders. None: all run apart.
    base (RecordedBase | None): The base, as the first pipeline's folder describes it.
    """

    seats: Mapping[str, Seat] = MappingProxyType({})
    decoder: FleetDecoder | None = None
    base: RecordedBase | None = None


class Fleet:
    """Pipelines whose decoders run in one forward pass, each with its own pattern, depth and
    adapter, on one base in memory.

    Threads may use it at once, and pipelines may come and go meanwhile. Its pipelines are those
    that spacy.load gives: what is trained in them afterwards changes their answers here, too.
    """

    def __init__(self) -> None:
        self._state = State()  # replaced as a whole, so that threads need no lock to read it
        self._lock = threading.RLock()

    @classmethod
    def load(cls, pipelines: Mapping[str, str | Path], *, strict: bool = True) -> "Fleet":
        """Load saved pipelines.

        pipelines (Mapping[str, str | Path]): Folders, or names of installed packages, by the name
            that each gets in the fleet.
        strict (bool): Whether another base than that of the first is refused. False: its pipeline
            runs apart.
        RETURNS (Fleet): The fleet. Raises ValueError for a base that is not that of the others,
            before any weight is read, and whatever spacy.load raises.
        """
        bases = {name: read_base(str(path)) for name, path in pipelines.items()}
        known = [(name, base) for name, base in bases.items() if base is not None]
        for name, base in known[1:] if strict else ():
            check_same(name, base, known[0][1])
        fleet = cls()
        # Deep ones first: others find the layers that they need in memory.
        for name in sorted(bases, key=lambda name: -depth(bases[name])):
            fleet.add(name, pipelines[name], strict=strict)
        state = fleet._state
        fleet._state = state._replace(seats={name: state.seats[name] for name in pipelines})
        return fleet

    def add(self, name: str, pipeline: str | Path | Language, *, strict: bool = True) -> Seat:
        """Add a pipeline.

        name (str): Its name in the fleet.
        pipeline (str | Path | Language): A folder or the name of an installed package, or a
            pipeline that is loaded.
        strict (bool): Whether another base than that of the fleet is refused. False: it runs apart.
        RETURNS (Seat): Says whether it runs with the others. Raises ValueError for a name that is
            taken, and MisfitError, which is one, for another base than that of the fleet.
        """
        with self._lock:
            state = self._state
            if name in state.seats:
                raise ValueError(
                    f"The fleet has a pipeline named {name!r} already. Remove it first, or take "
                    "another name."
                )
            base = None
            if not isinstance(pipeline, Language):
                base = read_base(str(pipeline))
                if base is not None and state.base is not None and strict:
                    check_same(name, base, state.base)
                pipeline = open_pipeline(str(pipeline))
            seat, decoder = _take_seat(name, pipeline, state.decoder, strict=strict)
            if seat.member is None:
                logger.warning("%s", seat.describe())
                base = None
            self._state = State({**state.seats, name: seat}, decoder, state.base or base)
            return seat

    def remove(self, name: str) -> Language:
        """Remove a pipeline. Requests that have begun are finished.

        name (str): Its name.
        RETURNS (Language): The pipeline. Raises ValueError for a name that there is not.
        """
        with self._lock:
            state = self._state
            seat = find_seat(state.seats, name)
            seats = {other: kept for other, kept in state.seats.items() if other != name}
            members = [kept for kept in seats.values() if kept.member is not None]
            if not members:  # the next pipeline may bring another base
                self._state = State(seats)
                return seat.nlp
            self._state = state._replace(seats=seats, decoder=_shrink(state.decoder, members))
            return seat.nlp

    @property
    def names(self) -> list[str]:
        """RETURNS (list[str]): The names of its pipelines."""
        return list(self._state.seats)

    def __len__(self) -> int:
        return len(self._state.seats)

    def __contains__(self, name: object) -> bool:
        return name in self._state.seats

    def __getitem__(self, name: str) -> Language:
        """RETURNS (Language): A pipeline. Raises ValueError for a name that there is not."""
        return find_seat(self._state.seats, name).nlp

    def describe(self) -> list[str]:
        """RETURNS (list[str]): A line for each pipeline: with the others, or apart and why."""
        return [seat.describe() for seat in self._state.seats.values()]

    def __call__(self, text: str | Doc, name: str) -> Doc:
        """Annotate one text.

        text (str | Doc): The text, or a Doc of the pipeline's vocab.
        name (str): The pipeline.
        RETURNS (Doc): As the pipeline itself returns it.
        """
        return self[name](text)

    def pipe(
        self,
        texts: Iterable[Any],
        *,
        as_tuples: bool = False,
        batch_size: int = 128,
        on_error: OnErrorT | None = None,
    ) -> Iterator[Any]:
        """Annotate texts, each by the pipeline that it names.

        texts (Iterable[tuple]): Pairs of a text, or a Doc of the pipeline's vocab, and the name of
            a pipeline; with as_tuples a third part, the context.
        as_tuples (bool): Whether to yield each Doc with the context of its text.
        batch_size (int): Texts to buffer.
        on_error (Callable | None): Gets the text, the name, and the error, for each text that
            fails; it is left out. None: the error is raised, after the Docs of the texts before
            it. Other texts are annotated either way; those of the same pipeline and batch once
            more, by the pipeline itself. Error handlers of a pipeline come first, as in nlp.pipe.
        YIELDS (Doc | tuple[Doc, Any]): The Docs in the order of the texts.
        """
        for batch in minibatch(texts, batch_size):
            requests = [Request.read(item, with_context=as_tuples) for item in batch]
            outcomes = self.run(requests)
            for request, outcome in zip(requests, outcomes, strict=True):
                if isinstance(outcome, Exception):
                    if on_error is None:
                        raise outcome
                    on_error(request.text, request.name, outcome)
                elif outcome is not None:  # which an error handler has left out
                    yield (outcome, request.context) if as_tuples else outcome

    def run(self, requests: Sequence[Request]) -> list[OutcomeT]:
        """Annotate texts as one batch, whatever their number.

        requests (Sequence[Request]): The texts with their pipelines.
        RETURNS (list): For each text its Doc, the error that it failed with, or None if an error
            handler of its pipeline left it out.
        """
        state = self._state
        return run_batch(state.decoder, state.seats, requests, max(1, len(requests)))


def _shrink(decoder: FleetDecoder | None, members: list[Seat]) -> FleetDecoder | None:
    """A decoder that is no deeper than its members: layers that none of them has are freed once the
    requests that began before are finished."""
    found = [
        (seat.member.n_layers, seat.transformer.shim.ready.shared)
        for seat in members
        if seat.member is not None and seat.transformer is not None
    ]
    n_layers, shared = max(found, key=lambda depth_and_base: depth_and_base[0])
    if decoder is None or shared is None or decoder.n_layers == n_layers:
        return decoder
    return FleetDecoder(shared)


def _take_seat(
    name: str, nlp: Language, decoder: FleetDecoder | None, *, strict: bool
) -> tuple[Seat, FleetDecoder | None]:
    """A pipeline in a fleet, and the fleet's decoder, which the first member brings."""
    found = find_transformer(nlp)
    if isinstance(found, str):
        return Seat(name=name, nlp=nlp, reason=found), decoder
    built = found.shim.ready
    try:
        if built.shared is None:
            raise ApartError("all its weights were trained (tuning = 'full')")
        begun = decoder or FleetDecoder(built.shared)
        member = begun.find_member(built)
    except BaseError as error:
        if strict:
            raise misfit(name, f"{error}.") from error
        return Seat(name=name, nlp=nlp, reason=str(error)), decoder
    except ApartError as error:
        return Seat(name=name, nlp=nlp, reason=str(error)), decoder
    return Seat(name=name, nlp=nlp, transformer=found, member=member), begun
