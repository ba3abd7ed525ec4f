"""A stream of batches, each prepared by a thread while the one before it is computed.

    thread     prepare 1   prepare 2   prepare 3
    process                compute 1   compute 2   compute 3
    stream     read 1 2                read 3

One batch is read ahead, and none is computed ahead: nothing is in memory but its Docs and their
subtokens. A batch that fails is done again in parts, as isolating.py says.
"""

import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from spacy.tokens import Doc

from .isolating import OnErrorT, isolate

PreparedT = TypeVar("PreparedT")


def pipe_ahead(
    batches: Iterator[list[Doc]],
    *,
    prepare: Callable[[list[Doc]], PreparedT],
    finish: Callable[[list[Doc], PreparedT], None],
    on_error: OnErrorT,
) -> Iterator[Doc]:
    """Apply two steps to batches of Docs.

    batches (Iterator[list[Doc]]): The batches. An error in it is raised once the Docs before it
        have been yielded.
    prepare (Callable): The first step, run in a thread that ends with this generator.
    finish (Callable): The second one, which gets what the first returned.
    on_error (Callable): Gets the Docs on which one of them fails, and the error. They are not
        yielded.
    YIELDS (Doc): The Docs in order.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="spacy-lgu-prepare") as thread:

        def begin(docs: list[Doc] | None) -> tuple[list[Doc], Future[PreparedT]] | None:
            if docs is None:
                return None
            # thinc keeps in the context what arrays it makes.
            return docs, thread.submit(contextvars.copy_context().run, prepare, docs)

        def run(docs: list[Doc]) -> None:
            finish(docs, prepare(docs))

        begun = begin(next(batches, None))
        while begun is not None:
            (docs, prepared), begun = begun, None
            fault: Exception | None = None
            end: Exception | None = None
            try:
                begun = begin(next(batches, None))
            except Exception as error:  # noqa: BLE001  what makes the stream may raise anything
                end = error
            try:
                finish(docs, prepared.result())
            except Exception as error:  # noqa: BLE001  as spaCy's pipes do
                fault = error
            else:
                yield from docs  # whatever its consumer throws is no fault of these Docs
            if fault is not None:
                yield from isolate(docs, fault, run, on_error)
            if end is not None:
                raise end
