"""Requests in line, and whose texts are next. Pure: it knows neither HTTP nor torch.

A batch takes a text of each request in turn, so that a request of one text is not kept waiting by
one of a thousand that came before it:

    in line    A: a0 a1 a2 a3    B: b0    C: c0 c1
    batches of 4 texts           a0 b0 c0 a1 | c1 a2 a3

A text that does not fit into what is left of a batch ends it and begins the next one: texts are
taken in turn whatever their size, so that none waits for ever.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class QueueFullError(Exception):
    """As many requests wait as may."""


class QueueClosedError(Exception):
    """Nobody will take what waits. Its message says why."""


class Job:
    """A request.

    target (Any): What its texts are for.
    texts (Sequence[str]): Its texts, at least one.
    on_done (Callable): Called once, with the job, when each text has its result: by the thread that
        gave the last one.
    options (Any): What is wanted, for who gives the results.
    """

    def __init__(
        self,
        target: Any,
        texts: Sequence[str],
        on_done: Callable[["Job"], None],
        options: Any = None,
    ) -> None:
        self.target = target
        self.texts = texts
        self.options = options
        self.results: list[Any] = [None] * len(texts)
        self.n_characters = sum(map(len, texts))
        self.is_dropped = False
        self._on_done = on_done
        self._n_left = len(texts)
        self._next = 0

    @property
    def n_waiting(self) -> int:
        """RETURNS (int): Texts that no batch has taken."""
        return len(self.texts) - self._next

    def give(self, place: int, result: Any) -> None:
        """Give the result of a text, each once and all from one thread.

        place (int): Which text.
        result (Any): Its result.
        """
        self.results[place] = result
        self._n_left -= 1
        if not self._n_left:
            self._on_done(self)

    def give_up(self, result: Any) -> None:
        """Give each text that has none the same result.

        result (Any): The result.
        """
        for place, known in enumerate(self.results):
            if known is None:
                self.give(place, result)


class Item(NamedTuple):
    """A text of a batch.

    job (Job): The request.
    place (int): Which of its texts.
    cost (int): In subtokens.
    """

    job: Job
    place: int
    cost: int

    @property
    def text(self) -> str:
        return self.job.texts[self.place]


class FairQueue:
    """The line. Any thread may put and drop, one thread takes.

    max_jobs (int): Most requests that wait.
    """

    def __init__(self, max_jobs: int) -> None:
        self._max_jobs = max_jobs
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()  # never held while something is computed
        self._reason = ""
        self._is_woken = False

    def put(self, job: Job) -> None:
        """Get in line.

        job (Job): A new request. Raises QueueFullError and QueueClosedError.
        """
        with self._changed:
            if self._reason:
                raise QueueClosedError(self._reason)
            if len(self._jobs) >= self._max_jobs:
                raise QueueFullError(f"{len(self._jobs)} requests are waiting")
            self._jobs.append(job)
            self._changed.notify()

    def drop(self, job: Job) -> None:
        """Nobody wants the results of a request any more: what no batch has taken is never taken.

        job (Job): The request, wherever it is.
        """
        with self._changed:
            job.is_dropped = True
            if job in self._jobs:
                self._jobs.remove(job)

    def close(self, reason: str) -> None:
        """Refuse what comes, and forget what waits.

        reason (str): Why, for QueueClosedError. The first one counts.
        """
        with self._changed:
            self._reason = self._reason or reason
            self._jobs.clear()
            self._changed.notify_all()

    def wake(self) -> None:
        """Let `wait` return, though there may be nothing to take."""
        with self._changed:
            self._is_woken = True
            self._changed.notify_all()

    def wait(self) -> bool:
        """Wait until there is something to take, or until wake is called.

        RETURNS (bool): False: the line is closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._reason or self._is_woken)
            self._is_woken = False
            return not self._reason

    def sizes(self) -> tuple[int, int, int]:
        """RETURNS (tuple[int, int, int]): Requests that wait, their texts that no batch has taken,
        and the characters of these requests."""
        with self._changed:
            jobs = list(self._jobs)
        return (
            len(jobs),
            sum(job.n_waiting for job in jobs),
            sum(job.n_characters for job in jobs),
        )

    def has(self, target: Any) -> bool:
        """RETURNS (bool): Whether a request for this target waits."""
        with self._changed:
            return any(job.target is target for job in self._jobs)

    def take(
        self,
        count: Callable[[Job, int], int | None],
        *,
        max_cost: int,
        max_items: int,
        max_wait: float = 0.0,
    ) -> list[Item]:
        """The next batch: what is there, up to the limits.

        count (Callable): Gets a job and the place of a text and gives its cost; None: it has given
            the text its result, and no batch needs it.
        max_cost (int): Most cost of a batch. A text with more is a batch by itself.
        max_items (int): Most texts of a batch.
        max_wait (float): Seconds to wait for more, from the first text on.
        RETURNS (list[Item]): The texts, those of each request in their order.
        """
        batch: list[Item] = []
        left = max_cost
        until = time.monotonic() + max_wait
        while len(batch) < max_items and left > 0:
            found = self._pop(until if batch and max_wait else 0.0)
            if found is None:
                break
            job, place = found
            cost = count(job, place)
            if cost is None:
                self._push(job)
            elif batch and cost > left:
                job._next = place
                self._push(job, first=True)
                break
            else:
                batch.append(Item(job, place, cost))
                left -= cost
                self._push(job)
        return batch

    def _pop(self, until: float) -> tuple[Job, int] | None:
        """RETURNS (tuple | None): The next text. Its job is out of the line meanwhile."""
        with self._changed:
            while not self._jobs:
                seconds = until - time.monotonic()
                if self._reason or seconds <= 0 or not self._changed.wait(seconds):
                    return None
            job = self._jobs.popleft()
            job._next += 1
            return job, job._next - 1

    def _push(self, job: Job, *, first: bool = False) -> None:
        """Put a job back, if texts of it are left."""
        with self._changed:
            if not job.n_waiting or job.is_dropped or self._reason:
                return
            if first:
                self._jobs.appendleft(job)
            else:
                self._jobs.append(job)
