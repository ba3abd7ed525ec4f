"""The pipelines of a service: in a fleet those that share a base."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from spacy.language import Language

from ..annotation.annotations import scored_keys
from ..fleet.bases import MisfitError, depth, read_base
from ..fleet.fleet import Fleet
from ..fleet.seats import Seat, find_tokenizer
from ..pipeline.opening import open_pipeline
from .naming import Source

logger = logging.getLogger("spacy_lgu")


@dataclass(frozen=True, kw_only=True, eq=False)
class Served:
    """A pipeline that is served.

    name (str): What requests call it.
    source (Source): Where it came from.
    fleet (Fleet): With whom it shares passes.
    seat (str): Its name there, which no other one has had.
    nlp (Language): The pipeline.
    description (str): Whether it runs with others, or apart and why.
    """

    name: str
    source: Source
    fleet: Fleet
    seat: str
    nlp: Language
    description: str

    @cached_property
    def keys(self) -> list[str]:
        """RETURNS (list[str]): Span groups with the probabilities of its entities."""
        return scored_keys(self.nlp)

    @cached_property
    def _tokenizer(self) -> Any:
        return find_tokenizer(self.nlp)

    def describe(self) -> dict[str, Any]:
        """RETURNS (dict): What clients may know of it."""
        nlp = self.nlp
        return {
            "name": self.name,
            "lang": nlp.lang,
            "version": str(nlp.meta.get("version", "")),
            "pipes": list(nlp.pipe_names),
            "labels": {pipe: list(labels) for pipe, labels in nlp.pipe_labels.items() if labels},
            "runs": self.description,
        }

    def count(self, text: str) -> int:
        """What a text costs.

        text (str): The text.
        RETURNS (int): Its subtokens, read as a whole: what splits and overlapping windows add is
            not counted. Without a decoder its tokens. At least 1.
        """
        if self._tokenizer is None:
            return max(1, len(self.nlp.tokenizer(text)))
        encoding = self._tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
        return max(1, len(encoding.ids))


class Pipelines:
    """Pipelines by name, which come and go while they are used.

    One thread at a time changes them. What is removed is found no more, and stays in its fleet
    until the thread that annotates drops it: its requests may still wait.
    """

    def __init__(self) -> None:
        self._served: Mapping[str, Served] = {}  # replaced as a whole: readers need no lock
        self._fleets: list[Fleet] = []
        self._retired: list[Served] = []
        self._lock = threading.Lock()  # of the list of those that are retired
        self._n_seats = 0

    @property
    def served(self) -> Mapping[str, Served]:
        """RETURNS (Mapping[str, Served]): The pipelines by name."""
        return self._served

    def update(self, wanted: Mapping[str, Source]) -> dict[str, str]:
        """Load what is new or was saved anew, and retire what is wanted no more. What cannot be
        loaded does not hinder others; the earlier pipeline of its name stays.

        wanted (Mapping[str, Source]): The pipelines by name.
        RETURNS (dict[str, str]): By name, why a pipeline could not be loaded.
        """
        failures: dict[str, str] = {}
        new = {name: source for name, source in wanted.items()
               if name not in self._served or self._served[name].source != source}  # fmt: skip
        for name in self._served.keys() - wanted.keys():
            self._replace(name, None)
            logger.info("The pipeline %r is served no more.", name)
        depths: dict[str, float] = {}
        for name, source in new.items():
            try:
                depths[name] = depth(read_base(source.path))
            except Exception as error:  # noqa: BLE001  whatever its files hold
                failures[name] = f"{type(error).__name__}: {error}"
        # Deep ones first: others find the layers that they need in memory.
        for name in sorted(depths, key=lambda name: -depths[name]):
            try:
                served = self._load(name, new[name])
            except Exception as error:  # noqa: BLE001  any component's; the others are to be served
                failures[name] = f"{type(error).__name__}: {error}"
                continue
            self._replace(name, served)
            logger.info("Serving %r from %r. %s", name, served.source.path, served.description)
        order = [name for name in wanted if name in self._served]
        self._served = {name: self._served[name] for name in order}
        return {name: failures[name] for name in wanted if name in failures}

    def drop_retired(self, is_used: Callable[[Served], bool]) -> None:
        """Free what is retired and not in use. Called by the thread that annotates.

        is_used (Callable): Whether a request for a pipeline waits.
        """
        with self._lock:
            retired = list(self._retired)
        for served in retired:
            if is_used(served):
                continue
            served.fleet.remove(served.seat)
            with self._lock:
                self._retired.remove(served)

    def _load(self, name: str, source: Source) -> Served:
        self._n_seats += 1
        seat_name = f"{name} ({self._n_seats})"
        fleet, seat = self._take_seat(seat_name, open_pipeline(source.path))
        return Served(
            name=name,
            source=source,
            fleet=fleet,
            seat=seat_name,
            nlp=seat.nlp,
            description=seat.describe().removeprefix(f"{seat_name}: "),
        )

    def _take_seat(self, name: str, nlp: Language) -> tuple[Fleet, Seat]:
        """A seat in the first fleet that a pipeline fits into, and that fleet."""
        for fleet in self._fleets:
            try:
                return fleet, fleet.add(name, nlp)
            except MisfitError:
                continue
        fleet = Fleet()
        seat = fleet.add(name, nlp)
        self._fleets.append(fleet)
        return fleet, seat

    def _replace(self, name: str, served: Served | None) -> None:
        """Serve a pipeline under a name from now on, or none."""
        earlier = self._served.get(name)
        others = {other: kept for other, kept in self._served.items() if other != name}
        self._served = others if served is None else {**others, name: served}
        if earlier is not None:
            with self._lock:
                self._retired.append(earlier)
