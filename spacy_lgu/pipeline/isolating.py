"""Batches of which a part makes a step fail: what does not fail comes out all the same.

    batch    1 2 3 4 5 6 7 8    fails
             1                  goes well: the fault is not that of all
             1 2 3 4 - 5 6 7 8  the second half fails
                       5 6 - 7 8  the first fails
                       5 - 6        6 is told, the others come out in order

Nothing is done twice unless something fails.
"""

import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc

from ..inputs import shorten

ItemT = TypeVar("ItemT")
OnErrorT = Callable[[list[Doc], Exception], None]

# Items that fail alone, spread over a batch, before the fault is taken for that of all.
_PROBES = 8


def pipe_batches(
    batches: Iterable[list[Doc]], annotate: Callable[[list[Doc]], None], on_error: OnErrorT
) -> Iterator[Doc]:
    """Annotate batches of Docs.

    batches (Iterable[list[Doc]]): The batches.
    annotate (Callable): The step. It may be called again for Docs on which it failed.
    on_error (Callable): Gets the Docs that make it fail, as a rule one alone, and the error. They
        are not yielded.
    YIELDS (Doc): The Docs in order.
    """
    for docs in batches:
        try:
            annotate(docs)
        except Exception as error:  # noqa: BLE001  as spaCy's pipes do
            fault = error
        else:
            yield from docs  # whatever its consumer throws is no fault of these Docs
            continue
        yield from isolate(docs, fault, annotate, on_error)


def isolate(
    items: list[ItemT],
    error: Exception,
    step: Callable[[list[ItemT]], object],
    on_error: Callable[[list[ItemT], Exception], None],
    *,
    give_up: bool = True,
) -> Iterator[ItemT]:
    """Do again what failed for a batch, in halves, and again in halves of those that fail.

    items (list): The batch.
    error (Exception): How it failed.
    step (Callable): What failed.
    on_error (Callable): Gets each item that fails alone, as a list, and the error.
    give_up (bool): Whether on_error gets the whole batch where a number of items spread over it
        fail alone and in the same way: its fault is taken for that of all, such as weights that
        are missing. False where items have nothing to do with each other, so that none may get the
        error of another.
    YIELDS (Any): The items that go well, in order.
    """
    _let_go(error)
    if give_up and _strikes_all(items, error, step):
        on_error(items, error)
    else:
        yield from _halve(items, error, step, on_error)


def tell_handler(pipe: TrainablePipe) -> OnErrorT:
    """RETURNS (Callable): Tells the error handler of a pipe about Docs. The error names a single
    one by how it begins: the handler of spaCy raises it, without the Doc."""
    handler = pipe.get_error_handler()

    def tell(docs: list[Doc], error: Exception) -> None:
        if len(docs) == 1:
            error.add_note(f"In {pipe.name!r}, for the Doc that begins {shorten(docs[0].text)}.")
        handler(pipe.name, pipe, docs, error)

    return tell


def _strikes_all(
    items: list[ItemT], error: Exception, step: Callable[[list[ItemT]], object]
) -> bool:
    if len(items) <= _PROBES:
        return False
    for i in range(_PROBES):
        item = items[i * (len(items) - 1) // (_PROBES - 1)]
        alone = _try(step, [item])
        if alone is None or type(alone) is not type(error):
            return False
    return True


def _halve(
    items: list[ItemT],
    error: Exception,
    step: Callable[[list[ItemT]], object],
    on_error: Callable[[list[ItemT], Exception], None],
) -> Iterator[ItemT]:
    if len(items) == 1:
        on_error(items, error)
        return
    _let_go(error)
    middle = len(items) // 2
    for half in (items[:middle], items[middle:]):
        fault = _try(step, half)
        if fault is None:
            yield from half
        else:
            yield from _halve(half, fault, step, on_error)


def _let_go(error: BaseException | None) -> None:
    """What the frames of an error hold, such as a batch's vectors, is not to stay while its parts
    are done."""
    seen: set[int] = set()  # `raise error from error` makes a circle
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _try(step: Callable[[list[ItemT]], object], items: list[ItemT]) -> Exception | None:
    try:
        step(items)
    except Exception as error:  # noqa: BLE001  any pipe's
        return error
    return None
