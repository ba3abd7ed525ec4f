"""A batch of texts for several pipelines.

    pipeline    before the decoder        decoder        after it
    ner         make Docs, sentencizer                   ner
    events      make Docs                 one pass       spancat, doc_cleaner
    tags        make Docs                                sequence_labeler

Where a step of a pipeline fails, its texts of this batch are annotated once more by the pipeline
itself, if need be in ever smaller parts, so that only those fail that must.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from spacy.tokens import Doc

from ..decoder.fleet import FleetDecoder
from ..decoder.mixing import Member
from ..layers.transformer import Prepared
from ..pipeline.isolating import isolate
from .seats import PipesT, Seat

logger = logging.getLogger("spacy_lgu")

# None: an error handler of the pipeline has left the text out.
OutcomeT = Doc | Exception | None
OnErrorT = Callable[[Any, str, Exception], None]


@dataclass(frozen=True, kw_only=True)
class Request:
    """A text for a pipeline.

    text (str | Doc): The text.
    name (str): The pipeline's name.
    context (Any): What is yielded with its Doc.
    """

    text: Any
    name: str
    context: Any = None

    @classmethod
    def read(cls, item: Any, *, with_context: bool) -> "Request":
        """RETURNS (Request): From a tuple. Raises ValueError for anything else."""
        n = 3 if with_context else 2
        if not isinstance(item, tuple | list) or len(item) != n:
            what = "(text, name, context)" if with_context else "(text, name)"
            raise ValueError(f"Expected texts as tuples {what}, but got {item!r:.80}.")
        return cls(text=item[0], name=item[1], context=item[2] if with_context else None)


@dataclass(kw_only=True)
class Group:
    """The texts of a batch that one pipeline annotates.

    seat (Seat): The pipeline.
    places (list[int]): Where they are in the batch.
    after (list): The pipes after the decoder.
    docs (list[Doc]): Their Docs.
    prepared (Prepared | None): What its decoder reads of them. None: they have no tokens.
    """

    seat: Seat
    places: list[int]
    after: PipesT
    docs: list[Doc]
    prepared: Prepared | None


def find_seat(seats: Mapping[str, Seat], name: str) -> Seat:
    """RETURNS (Seat): A pipeline by its name. Raises ValueError that lists those there are."""
    seat = seats.get(name)
    if seat is None:
        raise ValueError(
            f"The fleet has no pipeline named {name!r}. Its pipelines: "
            f"{', '.join(seats) or 'none'}."
        )
    return seat


def run_batch(
    decoder: FleetDecoder | None,
    seats: Mapping[str, Seat],
    requests: Sequence[Request],
    batch_size: int,
) -> list[OutcomeT]:
    """Annotate texts.

    decoder (FleetDecoder | None): That of the fleet. None: all run apart.
    seats (Mapping[str, Seat]): The pipelines by name.
    requests (Sequence[Request]): The texts.
    batch_size (int): For the pipes.
    RETURNS (list): For each text its Doc, the error, or None if an error handler of the pipeline
        left it out.
    """
    outcomes: list[OutcomeT] = [None] * len(requests)
    # Docs as they were: pipes that have run write on them, and would add to that in a second try.
    spare = {
        place: request.text.copy()
        for place, request in enumerate(requests)
        if isinstance(request.text, Doc)
    }
    by_name: dict[str, list[int]] = defaultdict(list)
    for place, request in enumerate(requests):
        by_name[request.name].append(place)
    groups: list[Group] = []
    apart: list[tuple[Seat, list[int]]] = []
    for name, places in by_name.items():
        try:
            seat = find_seat(seats, name)
        except ValueError as error:
            for place in places:
                outcomes[place] = error
            continue
        group = None if decoder is None else _begin(seat, requests, places, batch_size)
        if group is None:
            apart.append((seat, places))
        else:
            groups.append(group)
    if groups and decoder is not None:
        hidden = _compute(decoder, groups)
        for i, group in enumerate(groups):
            if hidden is None or not _finish(group, hidden[i], outcomes, batch_size):
                apart.append((group.seat, group.places))
    for seat, places in apart:
        _run_apart(seat, requests, places, outcomes, batch_size, spare)
    return outcomes


def _begin(
    seat: Seat, requests: Sequence[Request], places: list[int], batch_size: int
) -> Group | None:
    """The pipes before the decoder. RETURNS (Group | None): None: the pipeline runs apart, or a
    pipe failed."""
    pipes = seat.split()
    if pipes is None or seat.transformer is None:
        return None
    before, after = pipes
    try:
        made = [seat.nlp._ensure_doc(requests[place].text) for place in places]
        docs = seat.apply(before, made, batch_size)
        left = _find_places(docs, made, places)
        if left is None:
            return None
        prepared = seat.transformer.prepare(docs)
    except Exception as error:  # noqa: BLE001  any pipe's; the pipeline will tell by which text
        _tell(seat, "a pipe before the decoder", error)
        return None
    return Group(seat=seat, places=left, after=after, docs=docs, prepared=prepared)


def _find_places(docs: list[Doc], made: list[Doc], places: list[int]) -> list[int] | None:
    """RETURNS (list[int] | None): The place of each Doc that came out of pipes; error handlers have
    left out the others. None: some are missing and some are new, so that it is not known."""
    if len(docs) == len(made):
        return places
    known = {id(doc): place for doc, place in zip(made, places, strict=True)}
    found = [known[id(doc)] for doc in docs if id(doc) in known]
    return found if len(found) == len(docs) else None


def _compute(decoder: FleetDecoder, groups: list[Group]) -> list[torch.Tensor] | None:
    """One pass for all groups. RETURNS (list[Tensor] | None): The vectors of each, of shape (rows,
    width). None: it failed."""
    encoded = [None if group.prepared is None else group.prepared.encoded for group in groups]
    n_rows = [0 if one is None else len(one.ids) for one in encoded]
    found = [one for one in encoded if one is not None and len(one.ids)]
    if not found:
        return [torch.empty(0, decoder.width)] * len(groups)
    members: list[Member] = []
    for group, one in zip(groups, encoded, strict=True):
        if one is not None and group.seat.member is not None:
            members += [group.seat.member] * len(one.lengths)
    # The least that any of them is allowed.
    max_items = min(g.seat.transformer.shim.find_items() for g in groups if g.seat.transformer)
    ids = numpy.concatenate([one.ids for one in found])
    lengths = numpy.concatenate([one.lengths for one in found])
    try:
        return list(decoder.predict(ids, lengths, members, max_items).split(n_rows))
    except Exception as error:  # noqa: BLE001  each pipeline will tell
        logger.warning(
            "One pass for %d pipelines failed (%s: %s): each runs by itself.",
            len(groups),
            type(error).__name__,
            error,
        )
        return None


def _finish(group: Group, hidden: torch.Tensor, outcomes: list[OutcomeT], batch_size: int) -> bool:
    """The pipes after the decoder. RETURNS (bool): False: the pipeline has to do it again."""
    seat = group.seat
    if seat.transformer is None:
        return False
    try:
        seat.transformer.finish(group.docs, group.prepared, hidden)
        docs = seat.apply(group.after, group.docs, batch_size)
    except Exception as error:  # noqa: BLE001  any pipe's; the pipeline will tell by which text
        _tell(seat, "a pipe after the decoder", error)
        return False
    places = _find_places(docs, group.docs, group.places)
    if places is None:
        return False
    for place, doc in zip(places, docs, strict=True):
        outcomes[place] = doc
    return True


def _run_apart(
    seat: Seat,
    requests: Sequence[Request],
    places: list[int],
    outcomes: list[OutcomeT],
    batch_size: int,
    spare: Mapping[int, Doc],
) -> None:
    """What the pipeline makes of its texts by itself: of all, and if that fails, of parts. Those
    that an error handler leaves out stay None. Docs are those of `spare`, made anew each time."""

    def run(places: list[int]) -> None:
        texts = [
            (spare[place].copy() if place in spare else requests[place].text, place)
            for place in places
        ]
        found = list(seat.nlp.pipe(texts, as_tuples=True, batch_size=batch_size))
        if len(found) == len(places):  # some pipes give new Docs, which have no context
            found = [(doc, place) for (doc, _), place in zip(found, places, strict=True)]
        if any(place is None for _, place in found):
            raise ValueError(f"{len(places) - len(found)} of {len(places)} Docs are missing")
        for doc, place in found:
            outcomes[place] = doc

    def fail(places: list[int], error: Exception) -> None:
        for place in places:
            outcomes[place] = error

    try:
        run(places)
    except Exception as error:  # noqa: BLE001  any pipe's; which text it was is found below
        _tell(seat, "the pipeline", error)
        fault = error
    else:
        return
    # Texts may be of different people: no one's many bad ones speak for another's.
    for _ in isolate(places, fault, run, fail, give_up=False):
        pass


def _tell(seat: Seat, what: str, error: Exception) -> None:
    """Say what failed: if it goes well the second time, nothing else would."""
    logger.warning(
        "The pipeline %r: %s failed (%s: %s). Its texts of this batch are annotated again.",
        seat.name,
        what,
        type(error).__name__,
        error,
    )
