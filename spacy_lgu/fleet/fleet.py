"""Pipelines by name on one base decoder."""

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import minibatch

from ..decoder.fleet import FleetDecoder
from ..decoder.membership import ApartError, BaseError
from ..pipeline.opening import open_pipeline
from .bases import RecordedBase, check_same, depth, misfit, read_base
from .requests import OnErrorT, Request, find_seat, run_batch
from .seats import Seat, find_transformer

logger = logging.getLogger("spacy_lgu")


class Fleet:
    """Pipelines whose decoders run in one forward pass, each with its own pattern, depth and
    adapter, on one base in memory.

    Threads may use it at once, and pipelines may come and go meanwhile. Its pipelines are those
    that spacy.load gives: what is trained in them afterwards changes their answers here, too.
    """

    def __init__(self) -> None:
        self._seats: dict[str, Seat] = {}  # replaced as a whole, so that threads need no lock
        self._decoder: FleetDecoder | None = None
        self._base: RecordedBase | None = None
        self._lock = threading.RLock()

    @classmethod
    def load(cls, pipelines: Mapping[str, str | Path]) -> "Fleet":
        """Load saved pipelines.

        pipelines (Mapping[str, str | Path]): Folders, or names of installed packages, by the name
            that each gets in the fleet.
        RETURNS (Fleet): The fleet. Raises ValueError for a base that is not that of the others,
            before any weight is read, and whatever spacy.load raises.
        """
        bases = {name: read_base(str(path)) for name, path in pipelines.items()}
        known = [(name, base) for name, base in bases.items() if base is not None]
        for name, base in known[1:]:
            check_same(name, base, known[0][1])
        fleet = cls()
        # Deep ones first: others find the layers that they need in memory.
        for name in sorted(bases, key=lambda name: -depth(bases[name])):
            fleet.add(name, pipelines[name])
        fleet._seats = {name: fleet._seats[name] for name in pipelines}
        return fleet

    def add(self, name: str, pipeline: str | Path | Language) -> Seat:
        """Add a pipeline.

        name (str): Its name in the fleet.
        pipeline (str | Path | Language): A folder or the name of an installed package, or a
            pipeline that is loaded.
        RETURNS (Seat): Says whether it runs with the others. Raises ValueError for a name that is
            taken and for another base than that of the fleet.
        """
        with self._lock:
            if name in self._seats:
                raise ValueError(
                    f"The fleet has a pipeline named {name!r} already. Remove it first, or take "
                    "another name."
                )
            base = None
            if not isinstance(pipeline, Language):
                base = read_base(str(pipeline))
                if base is not None and self._base is not None:
                    check_same(name, base, self._base)
                pipeline = open_pipeline(str(pipeline))
            seat = self._find_seat(name, pipeline)
            if self._base is None and seat.member is not None:
                self._base = base
            if seat.reason:
                logger.warning("%s", seat.describe())
            self._seats = {**self._seats, name: seat}
            return seat

    def remove(self, name: str) -> Language:
        """Remove a pipeline. Requests that have begun are finished.

        name (str): Its name.
        RETURNS (Language): The pipeline. Raises ValueError for a name that there is not.
        """
        with self._lock:
            seat = self._find(name)
            self._seats = {other: seat for other, seat in self._seats.items() if other != name}
            if not any(seat.member for seat in self._seats.values()):
                self._decoder = self._base = None  # the next pipeline may bring another base
            return seat.nlp

    @property
    def names(self) -> list[str]:
        """RETURNS (list[str]): The names of its pipelines."""
        return list(self._seats)

    def __len__(self) -> int:
        return len(self._seats)

    def __contains__(self, name: object) -> bool:
        return name in self._seats

    def __getitem__(self, name: str) -> Language:
        """RETURNS (Language): A pipeline. Raises ValueError for a name that there is not."""
        return self._find(name).nlp

    def describe(self) -> list[str]:
        """RETURNS (list[str]): A line for each pipeline: with the others, or apart and why."""
        return [seat.describe() for seat in self._seats.values()]

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
            outcomes = run_batch(self._decoder, self._seats, requests, batch_size)
            for request, outcome in zip(requests, outcomes, strict=True):
                if isinstance(outcome, Exception):
                    if on_error is None:
                        raise outcome
                    on_error(request.text, request.name, outcome)
                elif outcome is not None:  # which an error handler has left out
                    yield (outcome, request.context) if as_tuples else outcome

    def _find(self, name: str) -> Seat:
        return find_seat(self._seats, name)

    def _find_seat(self, name: str, nlp: Language) -> Seat:
        found = find_transformer(nlp)
        if isinstance(found, str):
            return Seat(name=name, nlp=nlp, reason=found)
        built = found.shim.ready
        try:
            if self._decoder is None and built.shared is not None:
                decoder = FleetDecoder(built.shared)
                member = decoder.find_member(built)
                self._decoder = decoder
            elif self._decoder is None:
                raise ApartError("all its weights were trained (tuning = 'full')")
            else:
                member = self._decoder.find_member(built)
        except BaseError as error:
            raise misfit(name, f"{error}.") from error
        except ApartError as error:
            return Seat(name=name, nlp=nlp, reason=str(error))
        return Seat(name=name, nlp=nlp, transformer=found, member=member)
