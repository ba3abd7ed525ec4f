"""Workers as actors of Ray, on one machine or many.

Every node needs this package, and the pipeline, the inputs and the output under the same paths.
"""

import os
from pathlib import Path
from typing import Any

from ..cluster import check_ray, connect, count_places
from .processes import spell_failure
from .scheduling import Event
from .shards import Shard
from .working import Job, Worker


class RayActors:
    """An engine of actors.

    job (Job): What all do.
    address (str): Of the cluster; "auto": the one of this machine, which is begun if there is none.
    cpus, gpus (float): Of each actor; with less than one GPU, several share one.
    """

    def __init__(self, job: Job, *, address: str, cpus: float, gpus: float) -> None:
        check_ray(cpus, gpus, each="worker")
        ray = connect(address)
        self._ray = ray
        self._class = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=0)(_Actor)
        self._job = ray.put((job, Path.cwd()))
        self._options = (max(1, int(cpus)), 0 if gpus else -1)
        self.places = count_places(ray.cluster_resources(), cpus, gpus, each="worker")
        self._actors: dict[int, Any] = {}
        self._running: dict[Any, int] = {}
        self._n_started = 0

    def start(self) -> int:
        """Begin an actor, as soon as the cluster has room for it."""
        number = self._n_started
        self._n_started += 1
        self._actors[number] = self._class.remote(self._job, *self._options)
        self._running[self._actors[number].load.remote()] = number
        return number

    def give(self, worker: int, shard: Shard) -> None:
        """Give a shard to an actor."""
        self._running[self._actors[worker].run.remote(shard)] = worker

    def wait(self) -> list[Event]:
        """What the actors report next. How far they are in a shard, they do not."""
        done, _ = self._ray.wait(list(self._running), num_returns=1)
        return [self._take(self._running.pop(reference), reference) for reference in done]

    def close(self) -> None:
        """End all actors, and a cluster that was begun for them."""
        for actor in self._actors.values():
            self._ray.kill(actor)
        self._ray.shutdown()

    def _take(self, number: int, reference: Any) -> Event:
        try:
            return Event(number, *self._ray.get(reference))
        except self._ray.exceptions.RayActorError as error:
            del self._actors[number]
            return Event(number, "died", reason=str(error).splitlines()[0])


class _Actor:
    def __init__(self, shared: tuple[Job, Path], threads: int, gpu_id: int) -> None:
        self._job, place = shared
        if place.is_dir():
            os.chdir(place)  # paths of the pipeline may begin there
        self._options = {"threads": threads, "gpu_id": gpu_id}
        self._worker: Worker | None = None

    def load(self) -> tuple[Any, ...]:
        return self._report(self._load)

    def run(self, shard: Shard) -> tuple[Any, ...]:
        return self._report(lambda: self._run(shard))

    def _load(self) -> tuple[Any, ...]:
        self._worker = Worker(self._job, **self._options)
        return ("ready",)

    def _run(self, shard: Shard) -> tuple[Any, ...]:
        if self._worker is None:
            raise RuntimeError("a shard was given to a worker that is not ready")
        return ("done", self._worker.run(shard, _ignore))

    def _report(self, function: Any) -> tuple[Any, ...]:
        try:
            return function()
        # Whatever it is, the driver tells it.
        except Exception as error:  # noqa: BLE001
            return ("failed", 0, spell_failure(error))


def _ignore(n_records: int) -> None:
    """How far a shard is stays on its node."""
