"""Who executes trials: processes of this machine, a thread waiting for each."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from typing import Any, Protocol

from ..study.engine import Processes, Progress, RunError
from .trials import Trial

# Trial, GPU, the processes that are running, and what takes the progress; gives figures.
RunT = Callable[[Trial, int, Processes, Callable[[Progress], None]], dict[str, Any]]
ResultT = dict[str, Any] | RunError


class Workers(Protocol):
    """Execute trials at the same time. `size` is how many."""

    size: int

    def start(self, trial: Trial, report: Callable[[Progress], None]) -> None:
        """Begin a trial; report may be called from another thread."""
        ...

    def wait(self, timeout: float) -> list[tuple[Trial, ResultT]]:
        """Those that have ended since the last call, after this many seconds at most."""
        ...

    def close(self) -> None:
        """End all that is running."""
        ...


class LocalWorkers:
    """Processes on this machine.

    run (RunT): Runs a trial and waits for its process.
    size (int): How many at the same time.
    gpu_ids (Sequence[int]): GPUs that they share in turns; -1: none.
    """

    def __init__(self, run: RunT, *, size: int, gpu_ids: Sequence[int] = (-1,)) -> None:
        self.size = size
        self._run = run
        self._processes = Processes()
        self._pool = ThreadPoolExecutor(size)
        self._running: dict[Future[dict[str, Any]], Trial] = {}
        self._gpus: SimpleQueue[int] = SimpleQueue()
        for place in range(size):
            self._gpus.put(gpu_ids[place % len(gpu_ids)])

    def start(self, trial: Trial, report: Callable[[Progress], None]) -> None:
        """Begin a trial."""
        self._running[self._pool.submit(self._run_on_gpu, trial, report)] = trial

    def wait(self, timeout: float) -> list[tuple[Trial, ResultT]]:
        """Those that have ended. Raises what is no fault of a trial, such as a full disk."""
        done, _ = wait(self._running, timeout, FIRST_COMPLETED)
        return [(self._running.pop(future), _take(future)) for future in done]

    def close(self) -> None:
        """End all that is running."""
        self._processes.end_all()
        self._pool.shutdown(cancel_futures=True)

    def _run_on_gpu(self, trial: Trial, report: Callable[[Progress], None]) -> dict[str, Any]:
        gpu_id = self._gpus.get()
        try:
            return self._run(trial, gpu_id, self._processes, report)
        finally:
            self._gpus.put(gpu_id)


def _take(future: Future[dict[str, Any]]) -> ResultT:
    try:
        return future.result()
    except RunError as error:
        return error
