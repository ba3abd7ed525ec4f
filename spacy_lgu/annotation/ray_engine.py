"""Workers as actors of Ray, on one machine or many. The only file of this room that imports Ray.

Every node needs this package, and the pipeline, the inputs and the output under the same paths.
"""

import logging
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

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
        check_ray(cpus, gpus)
        import ray

        # It would ask a server of its makers otherwise.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(
            address=None if address == "auto" else address,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        self._ray = ray
        self._class = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=0)(_Actor)
        self._job = ray.put((job, Path.cwd()))
        self._options = (max(1, int(cpus)), 0 if gpus else -1)
        self.places = count_places(ray.cluster_resources(), cpus, gpus)
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


def check_ray(cpus: float, gpus: float) -> None:
    """Raise ImportError if Ray is not installed, ValueError for shares that it does not take."""
    if find_spec("ray") is None:
        raise ImportError("--ray needs Ray: pip install 'spacy-lgu[ray]'.")
    if cpus <= 0 or gpus < 0 or (gpus > 1 and gpus != int(gpus)):
        raise ValueError(
            "Expected more than 0 CPUs for each worker, and a share of a GPU or a whole number of "
            f"them, but got {cpus:g} and {gpus:g}."
        )


def count_places(resources: dict[str, float], cpus: float, gpus: float) -> int:
    """How many workers a cluster has room for.

    resources (dict[str, float]): Of the cluster: "CPU" and "GPU".
    cpus, gpus (float): Of each worker.
    RETURNS (int): Raises ValueError if there is no room for any.
    """
    n_cpus, n_gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
    places = n_cpus // cpus
    if gpus:
        # A share of one GPU fits on it a whole number of times.
        places = min(places, n_gpus // gpus if gpus >= 1 else n_gpus * (1 // gpus))
    if places < 1:
        raise ValueError(
            f"The cluster has no room for a worker of {cpus:g} CPUs and {gpus:g} GPUs: it has "
            f"{n_cpus:g} and {n_gpus:g}. Ask for less with --cpus-per-worker and --gpus-per-worker."
        )
    return int(places)


def _ignore(n_records: int) -> None:
    """How far a shard is stays on its node."""
