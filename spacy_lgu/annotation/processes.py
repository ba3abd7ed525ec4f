"""Workers in processes of this machine."""

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Any

from .scheduling import Event
from .shards import Shard
from .working import Job, Worker

# Seconds in which a worker may end by itself.
_GRACE = 5.0
# Errors that address the user, and need no traceback.
_OF_USERS = (ValueError, OSError, ImportError)


class Processes:
    """An engine of processes, which end with the one that began them, whatever ends that.

    job (Job): What all do.
    threads (int): Threads of torch in each.
    gpu_id (int): GPU of the first worker, that of the next one the next; -1: none has one.
    """

    def __init__(self, job: Job, *, threads: int, gpu_id: int = -1) -> None:
        # Not by fork: torch's threads and CUDA do not survive it.
        self._context = multiprocessing.get_context("spawn")
        self._job = job
        self._threads = threads
        self._gpu_id = gpu_id
        self._workers: dict[int, tuple[BaseProcess, Connection, int]] = {}
        self._n_started = 0

    def start(self) -> int:
        """Begin a process."""
        taken = {gpu for _, _, gpu in self._workers.values()}
        gpu = self._gpu_id
        while gpu >= 0 and gpu in taken:
            gpu += 1
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_work, args=(theirs, self._job, gpu, self._threads), daemon=True
        )
        process.start()
        theirs.close()
        number = self._n_started
        self._n_started += 1
        self._workers[number] = (process, ours, gpu)
        return number

    def give(self, worker: int, shard: Shard) -> None:
        """Give a shard to a process. If it has just died, the next wait says so."""
        try:
            self._workers[worker][1].send(shard)
        except OSError:
            return

    def wait(self) -> list[Event]:
        """What the processes report next."""
        numbers = {id(ours): number for number, (_, ours, _) in self._workers.items()}
        events = []
        for ready in wait([ours for _, ours, _ in self._workers.values()]):
            number = numbers[id(ready)]
            process, ours, _ = self._workers[number]
            try:
                events.append(Event(number, *ours.recv()))
            except (EOFError, OSError):
                process.join()
                ours.close()
                del self._workers[number]
                reason = f"process {process.pid} ended with status {process.exitcode}"
                events.append(Event(number, "died", reason=reason))
        return events

    def close(self) -> None:
        """End all processes."""
        for _, ours, _ in self._workers.values():
            ours.close()  # one that waits for a shard ends by itself
        until = time.monotonic() + _GRACE
        for process, _, _ in self._workers.values():
            process.join(max(0.0, until - time.monotonic()))
            if process.is_alive():
                process.kill()  # what it writes is hidden, and counts for nothing
                process.join()
        self._workers = {}


def spell_failure(error: BaseException) -> str:
    """RETURNS (str): A message for the user, or the traceback of a mistake in the code."""
    if isinstance(error, _OF_USERS):
        return "\n".join([str(error), *getattr(error, "__notes__", [])])
    return "".join(traceback.format_exception(error)).strip()


def _work(connection: Connection, job: Job, gpu_id: int, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that began this one ends it
    Thread(target=_end_with_parent, daemon=True).start()

    def report(*values: Any) -> None:
        with _while_open():
            connection.send(values)

    def tell(n_records: int) -> None:
        report("progress", n_records)

    try:
        worker = Worker(job, gpu_id=gpu_id, threads=threads)
        report("ready")
        while True:
            with _while_open():
                shard = connection.recv()
            report("done", worker.run(shard, tell))
    except _ClosedError:
        return
    # Whatever it is, the process that began this one tells it.
    except Exception as error:  # noqa: BLE001
        report("failed", 0, spell_failure(error))


class _ClosedError(Exception):
    """The process that began this one ends. Errors of the same kinds in a pipeline are no sign of
    it."""


@contextmanager
def _while_open() -> Iterator[None]:
    try:
        yield
    except (EOFError, ConnectionError) as error:
        raise _ClosedError from error


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
