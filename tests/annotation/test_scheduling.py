"""Who does which shard: played with workers that do as they are told."""

import pytest

from spacy_lgu.annotation.scheduling import Event, run_shards
from spacy_lgu.annotation.shards import Shard

SHARDS = [Shard(0, number, 10) for number in range(5)]


class Script:
    """An engine whose workers do their shard at once, unless `fates` says otherwise.

    fates (dict[int, list]): For the number of a shard, what comes of each attempt: "died".
    """

    def __init__(self, fates=None, before_ready=()):
        self.fates = fates or {}
        self.before_ready = list(before_ready)
        self.events = []
        self.done = []
        self.n_started = 0

    def start(self):
        worker = self.n_started
        self.n_started += 1
        fate = self.before_ready.pop(0) if self.before_ready else Event(worker, "ready")
        self.events.append(fate)
        return worker

    def give(self, worker, shard):
        fates = self.fates.get(shard.number)
        self.events.append(Event(worker, "progress", 4))
        if fates:
            self.events.append(Event(worker, *fates.pop(0)))
            return
        self.done.append(shard.number)
        self.events.append(Event(worker, "done", shard.number % 2))

    def wait(self):
        return [self.events.pop(0)]

    def close(self):
        """Nothing runs."""


def play(engine, size=2):
    told = []
    put_aside = run_shards(SHARDS, engine, size=size, tell=lambda *values: told.append(values))
    return put_aside, [sum(values) for values in zip(*told, strict=True)]


def test_all_are_done_once():
    engine = Script()
    assert play(engine) == ([], [50, 2])
    assert engine.done == [0, 1, 2, 3, 4]
    assert engine.n_started == 2
    assert play(Script(), size=9)[0] == []


def test_the_shard_of_a_dead_worker_is_done_by_another():
    engine = Script({1: [("died",)], 4: [("died",), ("died",)]})
    assert play(engine) == ([], [50, 2])
    assert sorted(engine.done) == [0, 1, 2, 3, 4]
    assert engine.n_started == 5


def test_a_shard_over_which_workers_die_is_put_aside():
    engine = Script({2: [("died", 0, "no memory")] * 3})
    assert play(engine, size=1) == ([(SHARDS[2], "no memory")], [40, 2])
    assert engine.done == [0, 1, 3, 4]


def test_a_worker_that_fails_ends_the_run():
    engine = Script({2: [("failed", 0, "there is no field 'x'")]})
    with pytest.raises(RuntimeError, match="there is no field 'x'"):
        play(engine)


def test_a_worker_that_dies_before_it_is_ready_ends_the_run():
    engine = Script(before_ready=[Event(0, "died", reason="status -9")])
    with pytest.raises(RuntimeError, match=r"before its pipeline was loaded: status -9"):
        play(engine)
