"""The thread that annotates: one batch after the other, for all requests and all pipelines.

All that touches a pipeline is done here, tokenizing included, so that the thread of the server is
free to answer. Words that vocabularies learn from a batch are forgotten after it.
"""

import contextvars
import logging
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from spacy.tokens import Doc

from ..decoder.memory import is_device_lost, is_out_of_memory
from ..fleet.requests import Request
from ..inputs import cut
from .metrics import Metrics
from .pipelines import Pipelines, Served
from .queueing import FairQueue, Item, Job
from .rendering import render
from .settings import Limits

logger = logging.getLogger("spacy_lgu")

ENDED = "the service cannot annotate any more"


@dataclass(frozen=True)
class Failure:
    """Why a text has no annotations.

    kind (str): "failed": its pipeline does; "memory": it needs more than there is; "ended": the
        service cannot annotate any more; "replaced": the pipeline is not there any more.
    message (str): For the client that sent the text: it may quote it.
    """

    kind: str
    message: str


def make_thread(run: Callable[[], None], name: str) -> threading.Thread:
    """A thread that loads or runs pipelines.

    run (Callable): What it does.
    name (str): Its name.
    RETURNS (Thread): Not started. It has the context of the caller, in which thinc keeps whether
        there is a GPU, and does not outlive the main thread.
    """
    target = partial(contextvars.copy_context().run, run)
    return threading.Thread(target=target, name=name, daemon=True)


class LostDeviceError(Exception):
    """CUDA does not recover from the error before."""


class Worker:
    """Takes batches from a line until it is closed.

    queue (FairQueue): The line. The target of a job is a Served, its results are JSON or Failures.
    pipelines (Pipelines): Those whose retired members are freed between batches.
    limits (Limits): Of batches.
    metrics (Metrics): Told of each batch.
    on_end (Callable): Called by the thread when it ends, for whatever reason.
    """

    def __init__(
        self,
        queue: FairQueue,
        pipelines: Pipelines,
        limits: Limits,
        metrics: Metrics,
        on_end: Callable[[], None],
    ) -> None:
        self._queue = queue
        self._pipelines = pipelines
        self._limits = limits
        self._metrics = metrics
        self._on_end = on_end
        self.characters_per_second = 0.0  # lately
        self._since: float | None = None
        self._thread = make_thread(self._run, "annotating")

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end of the thread, after the line was closed."""
        self._thread.join(timeout)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def busy_for(self) -> float:
        """RETURNS (float): Seconds since the batch began that it is at. 0: it waits."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def _run(self) -> None:
        try:
            while self._queue.wait():
                self._since = time.monotonic()
                self._do_batch()
                self._since = None
                self._pipelines.drop_retired(self._queue.has)
        except BaseException as error:  # noqa: BLE001  the service is not live any more, and says so
            frame = traceback.extract_tb(error.__traceback__)[-1]
            kind = type(error).__name__
            # Without its message, which may quote a text.
            logger.critical("Annotating ended: %s at %s:%s", kind, frame.filename, frame.lineno)
        finally:
            self._queue.close(ENDED)
            self._on_end()

    def _do_batch(self) -> None:
        begin = time.perf_counter()
        with ExitStack() as zones:
            given = self._annotate(zones)
        # Not before the zones are left: whoever waits may look at what they hold.
        n_texts = n_subtokens = n_characters = 0
        is_lost = False
        for item, result in given:
            self._metrics.add_text(item.job.target.name, item.cost, result)
            n_texts += 1
            n_subtokens += item.cost
            n_characters += len(item.text)
            is_failure = isinstance(result, Failure)
            is_lost = is_lost or (is_failure and is_device_lost(result.message))
            item.job.give(item.place, result)
        if n_texts:
            seconds = time.perf_counter() - begin
            self._metrics.add_batch(n_texts, n_subtokens, seconds)
            speed = n_characters / seconds
            before = self.characters_per_second or speed
            self.characters_per_second = 0.8 * before + 0.2 * speed
        if is_lost:
            raise LostDeviceError

    def _annotate(self, zones: ExitStack) -> list[tuple[Item, Any]]:
        """RETURNS (list[tuple]): Each text of the next batch with its result. No Doc outlives its
        zone, which is why this is a function of its own."""
        entered: set[Served] = set()
        given: list[tuple[Item, Any]] = []

        def count(job: Job, place: int) -> int | None:
            served: Served = job.target
            if served not in entered:
                zones.enter_context(served.nlp.memory_zone())
                entered.add(served)
            try:
                return served.count(job.texts[place])
            except Exception as error:  # noqa: BLE001  a tokenizer's; the text has its result
                given.append((Item(job, place, 0), _fail(error)))
                return None

        limits = self._limits
        batch = self._queue.take(
            count,
            max_cost=limits.max_batch_subtokens,
            max_items=limits.max_batch_texts,
            max_wait=limits.max_wait,
        )
        by_fleet = defaultdict(list)
        for item in batch:
            if item.job.is_dropped:  # nobody waits
                given.append((item, ""))
            else:
                by_fleet[item.job.target.fleet].append(item)
        for fleet, items in by_fleet.items():
            # A request may come between the moments that its pipeline is replaced and freed.
            given += [(item, Failure("replaced", "The pipeline was replaced just now."))
                      for item in items if item.job.target.seat not in fleet]  # fmt: skip
            items = [item for item in items if item.job.target.seat in fleet]
            requests = [Request(text=item.text, name=item.job.target.seat) for item in items]
            outcomes = fleet.run(requests)
            given += [(item, _spell(item, outcome))
                      for item, outcome in zip(items, outcomes, strict=True)]  # fmt: skip
        return given


def _spell(item: Item, outcome: Any) -> str | Failure:
    """A result, without the Doc or the traceback, which would hold one."""
    if isinstance(outcome, Doc):
        try:
            return render(outcome, item.job.target.keys, item.job.options)
        except Exception as error:  # noqa: BLE001  of annotations that components wrote
            return _fail(error)
    if outcome is None:
        return Failure("failed", "An error handler of the pipeline left the text out.")
    return _fail(outcome)


def _fail(error: Exception) -> Failure:
    kind = "memory" if is_out_of_memory(error) else "failed"
    return Failure(kind, cut(f"{type(error).__name__}: {error}"))
