"""A service without HTTP: pipelines, the line of requests, the thread that annotates."""

import math
import threading
from collections.abc import Callable, Mapping, Sequence

from .metrics import Metrics
from .naming import Source
from .pipelines import Pipelines, Served
from .queueing import FairQueue, Job, QueueClosedError
from .rendering import Wanted
from .settings import Limits
from .working import ENDED, Failure, Worker

# Most seconds that a client is told to wait.
_LONGEST = 60


class NoPipelineError(ValueError):
    """A request names a pipeline that there is not, or none where there are several."""


class Service:
    """Pipelines that annotate texts of many requests at once.

    limits (Limits): What bounds it.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.metrics = Metrics()
        self.pipelines = Pipelines()
        self._queue = FairQueue(limits.max_queue)
        self._worker = Worker(
            self._queue, self.pipelines, limits, self.metrics, on_end=self._give_up
        )
        self._open: set[Job] = set()
        self._is_loaded = False
        self._is_draining = False
        self._changed = threading.Condition()  # of what is open
        watch = self.metrics.watch
        watch("queue_requests", "Requests that wait", lambda: self._queue.sizes()[0])
        watch("queue_texts", "Texts that wait", lambda: self._queue.sizes()[1])
        watch("pipelines", "Pipelines", lambda: len(self.pipelines.served))
        watch("ready", "1: ready for requests", lambda: not self.obstacle)

    def start(self) -> None:
        """Start the thread that annotates."""
        self._worker.start()

    def update(self, wanted: Mapping[str, Source]) -> dict[str, str]:
        """Serve these pipelines from now on. Requests that are there are answered by those that
        they were for.

        wanted (Mapping[str, Source]): The pipelines by name.
        RETURNS (dict[str, str]): By name, why a pipeline could not be loaded.
        """
        failures = self.pipelines.update(wanted)
        self._is_loaded = True
        self._queue.wake()  # to free what is retired
        return failures

    def find(self, name: str | None) -> Served:
        """A pipeline.

        name (str | None): Its name; None: the only one.
        RETURNS (Served): The pipeline. Raises NoPipelineError that lists those there are.
        """
        served = self.pipelines.served
        names = ", ".join(served) or "none"
        if name is None:
            if len(served) != 1:
                raise NoPipelineError(
                    f"Expected the name of a pipeline in 'pipeline'. Those served: {names}."
                )
            return next(iter(served.values()))
        if name not in served:
            raise NoPipelineError(f"There is no pipeline {name!r:.120}. Those served: {names}.")
        return served[name]

    @property
    def is_alive(self) -> bool:
        """RETURNS (bool): Whether the thread that annotates is there."""
        return self._worker.is_alive

    @property
    def obstacle(self) -> str:
        """RETURNS (str): Why no request is taken; empty: it is."""
        if self._is_draining:
            return "the service is shutting down"
        if not self._worker.is_alive:
            return ENDED
        if not self._is_loaded:
            return "the pipelines are being loaded"
        if self._worker.busy_for > 2 * self.limits.timeout:
            return f"a batch has taken more than {2 * self.limits.timeout:g} seconds"
        return ""

    def submit(
        self,
        served: Served,
        texts: Sequence[str],
        wanted: Wanted,
        on_done: Callable[[Job], None],
    ) -> Job:
        """Get in line.

        served (Served): The pipeline.
        texts (Sequence[str]): The texts.
        wanted (Wanted): What the client wants of each.
        on_done (Callable): Called once with the job, by another thread, when each of its results is
            JSON or a Failure.
        RETURNS (Job): The request. Raises QueueFullError, and QueueClosedError if none is taken.
        """

        def finish(job: Job) -> None:
            with self._changed:
                self._open.discard(job)
                self._changed.notify_all()
            on_done(job)

        if obstacle := self.obstacle:
            raise QueueClosedError(obstacle)
        job = Job(served, texts, finish, wanted)
        with self._changed:
            self._open.add(job)
        try:
            self._queue.put(job)
        except Exception:
            self.drop(job)
            raise
        return job

    def drop(self, job: Job) -> None:
        """Nobody waits for a request any more.

        job (Job): The request.
        """
        self._queue.drop(job)
        with self._changed:
            self._open.discard(job)
            self._changed.notify_all()

    def retry_after(self) -> int:
        """RETURNS (int): Seconds after which what waits now may be done, at least 1."""
        speed = self._worker.characters_per_second
        seconds = self._queue.sizes()[2] / speed if speed else 1
        return max(1, min(_LONGEST, math.ceil(seconds)))

    def drain(self) -> None:
        """Take no request any more."""
        self._is_draining = True

    @property
    def n_open(self) -> int:
        """RETURNS (int): Requests that wait or are in a batch."""
        return len(self._open)

    def wait_until_idle(self, timeout: float) -> bool:
        """Wait for the requests that are there.

        timeout (float): Most seconds.
        RETURNS (bool): Whether all are answered.
        """
        with self._changed:
            return self._changed.wait_for(lambda: not self._open, timeout)

    def stop(self, timeout: float = 5.0) -> None:
        """Stop after the batch that is being done. What waits fails.

        timeout (float): Most seconds to wait.
        """
        self._queue.close("the service is shutting down")
        if self._worker.is_alive:
            self._worker.join(timeout)

    def _give_up(self) -> None:
        """Whoever still waits must not wait for ever. Called by the worker when it ends."""
        with self._changed:
            left = list(self._open)
        for job in left:
            job.give_up(Failure("ended", ENDED.capitalize() + "."))
