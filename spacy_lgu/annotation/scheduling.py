"""Who does which shard, whoever dies meanwhile."""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from .shards import Shard

# Workers that may die over a shard before it is put aside.
_DEATHS = 3


@dataclass(frozen=True)
class Event:
    """What a worker reports.

    worker (int): Its number.
    kind (str): "ready" when its pipeline is loaded; "progress" for records of its shard; "done"
        when that is written; "failed" where it cannot go on, and others could not either; "died".
    value (int): Records of a progress; of what is done, those that failed.
    reason (str): Why it failed or died.
    """

    worker: int
    kind: str
    value: int = 0
    reason: str = ""


class Engine(Protocol):
    """Runs workers somewhere."""

    def start(self) -> int:
        """Begin a worker. RETURNS (int): Its number."""

    def give(self, worker: int, shard: Shard) -> None:
        """Give a shard to a worker that waits."""

    def wait(self) -> list[Event]:
        """What the workers report next, at least one event."""

    def close(self) -> None:
        """End all workers."""


def run_shards(
    shards: Sequence[Shard],
    engine: Engine,
    *,
    size: int,
    tell: Callable[[int, int], None],
) -> list[tuple[Shard, str]]:
    """Have shards done, each by one worker. That of a worker which dies is done again by another.

    shards (Sequence[Shard]): The shards.
    engine (Engine): Runs the workers; it is not closed.
    size (int): How many, at least 1.
    tell (Callable): Called with records that were worked on, negative ones for those of a worker
        that died, and records that failed.
    RETURNS (list[tuple[Shard, str]]): Shards over which several workers died, and how the last did.
        Raises RuntimeError if a worker fails, or dies before it is ready.
    """
    waiting = deque(shards)
    at: dict[int, Shard | None] = {}
    told: Counter[int] = Counter()
    deaths: Counter[Shard] = Counter()
    put_aside: list[tuple[Shard, str]] = []
    is_ready: set[int] = set()
    idle: list[int] = []

    def assign() -> None:
        while waiting and idle:
            worker = idle.pop(0)
            shard = waiting.popleft()
            at[worker], told[worker] = shard, 0
            engine.give(worker, shard)

    for _ in range(min(size, len(shards))):
        at[engine.start()] = None
    while waiting or any(shard is not None for shard in at.values()):
        for event in engine.wait():
            shard = at[event.worker]
            if event.kind == "ready":
                is_ready.add(event.worker)
                idle.append(event.worker)
            elif event.kind == "progress":
                told[event.worker] += event.value
                tell(event.value, 0)
            elif event.kind == "done" and shard is not None:
                tell(shard.n_records - told[event.worker], event.value)
                at[event.worker] = None
                idle.append(event.worker)
            elif event.kind == "died" and event.worker in is_ready:
                del at[event.worker]
                if event.worker in idle:
                    idle.remove(event.worker)
                if shard is not None:
                    tell(-told[event.worker], 0)
                    deaths[shard] += 1
                    if deaths[shard] < _DEATHS:
                        waiting.appendleft(shard)
                    else:
                        put_aside.append((shard, event.reason))
                if waiting:
                    at[engine.start()] = None
            elif event.kind == "died":
                raise RuntimeError(f"A worker died before its pipeline was loaded: {event.reason}")
            else:
                raise RuntimeError(event.reason)
        assign()
    return put_aside
