"""Who executes trials: a cluster that Ray runs on.

Every node needs this package, and the config's files under the same paths. A trial whose worker
dies is made again, on another if need be. Where the search's folder is not seen from a node, a
trial's log stays there, and only what came of it travels.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..cluster import check_ray, connect, count_places
from ..study.engine import Progress, RunError
from .folder import is_held
from .jobs import Search, execute_trial
from .trials import Trial
from .workers import ResultT

# Workers of a trial that may die before it counts as failed.
_RETRIES = 3
# Lines of a log that are told of a trial that failed.
_LOG_LINES = 15
ExecuteT = Callable[..., dict[str, Any]]


class RayWorkers:
    """Tasks of Ray.

    search (Search): What is searched.
    folder (Path): Its folder.
    address (str): Of the cluster; "auto": the one of this machine, which is begun if there is none.
    size (int | None): Trials at the same time. None: as many as the cluster has room for.
    cpus, gpus (float): Of each trial; with less than one GPU, several share one.
    keep (bool): Keep the checkpoints.
    execute (ExecuteT): Runs a trial, as execute_trial does.
    """

    def __init__(
        self,
        search: Search,
        folder: Path,
        *,
        address: str = "auto",
        size: int | None = None,
        cpus: float = 1,
        gpus: float = 0,
        keep: bool = False,
        execute: ExecuteT = execute_trial,
    ) -> None:
        check_ray(cpus, gpus, each="trial")
        ray = connect(address)
        self._ray = ray
        if size is None:
            size = count_places(ray.cluster_resources(), cpus, gpus, each="trial")
        self.size = size
        self._running: dict[Any, Trial] = {}
        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=_RETRIES)(_run)
        shared = ray.put((search, folder.resolve(), Path.cwd(), max(1, int(cpus)), gpus > 0, keep))
        self._submit = lambda trial: task.remote(execute, trial, shared)

    def start(self, trial: Trial, report: Callable[[Progress], None]) -> None:
        """Begin a trial. Its progress is not told: it may be on another machine."""
        self._running[self._submit(trial)] = trial

    def wait(self, timeout: float) -> list[tuple[Trial, ResultT]]:
        """Those that have ended."""
        done, _ = self._ray.wait(list(self._running), timeout=timeout)
        return [(self._running.pop(reference), self._take(reference)) for reference in done]

    def close(self) -> None:
        """End all that is running, and a cluster that was begun for it."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._ray.shutdown()

    def _take(self, reference: Any) -> ResultT:
        try:
            figures, reason = self._ray.get(reference)
        except self._ray.exceptions.WorkerCrashedError:
            return RunError(f"its worker died {_RETRIES + 1} times")
        return figures if reason is None else RunError(reason)


def _run(
    execute: ExecuteT, trial: Trial, shared: tuple[Search, Path, Path, int, bool, bool]
) -> tuple[dict[str, Any] | None, str | None]:
    """In a worker: figures, or the reason why there are none."""
    search, folder, place, threads, has_gpu, keep = shared
    if place.is_dir():
        os.chdir(place)  # paths of the config may begin there
    options = {"gpu_id": 0 if has_gpu else -1, "threads": threads, "keep": keep}
    with tempfile.TemporaryDirectory() as hidden:
        where = folder / "trials" if is_held(folder) else Path(hidden)
        where.mkdir(exist_ok=True)
        log = where / trial.name / "train.log"
        try:
            return execute(search, trial, where / trial.name, **options), None
        except RunError as error:
            lines = log.read_text(encoding="utf8").splitlines() if log.exists() else []
            return None, "\n".join([str(error), *lines[-_LOG_LINES:]])
