"""What a worker's process tells the one that began it, and when it ends by itself."""

from multiprocessing import Pipe

import pytest

from spacy_lgu.annotation import processes


@pytest.fixture
def pipe(monkeypatch):
    """Both ends of a worker's connection; SIGINT stays as it is."""
    monkeypatch.setattr(processes.signal, "signal", lambda *args: None)
    ours, theirs = Pipe()
    yield ours, theirs
    ours.close()
    theirs.close()


class Echo:
    """A worker that tells twice as many failures as its shard is long, after two reports."""

    def __init__(self, job, **options) -> None:
        assert (job, options) == ("job", {"gpu_id": -1, "threads": 1})

    def run(self, shard, tell):
        tell(3)
        if isinstance(shard, Exception):
            raise shard
        return 2 * len(shard)


def test_shards_until_the_pipe_is_closed(pipe, monkeypatch):
    ours, theirs = pipe
    monkeypatch.setattr(processes, "Worker", Echo)
    ours.send("four")
    told = []

    class Counted:
        recv = theirs.recv

        def send(self, values):
            told.append(values)
            if values[0] == "done":
                ours.close()

    processes._work(Counted(), "job", -1, 1)
    assert told == [("ready",), ("progress", 3), ("done", 8)]


def test_a_report_that_nobody_reads_any_more(pipe, monkeypatch):
    ours, theirs = pipe
    monkeypatch.setattr(processes, "Worker", Echo)
    ours.close()
    processes._work(theirs, "job", -1, 1)  # raises nothing


@pytest.mark.parametrize(
    "error", [ConnectionResetError("by the service"), EOFError("cut off"), KeyError("x")]
)
def test_an_error_of_the_pipeline_is_told_whatever_its_kind(pipe, monkeypatch, error):
    ours, theirs = pipe
    monkeypatch.setattr(processes, "Worker", Echo)
    ours.send(error)
    processes._work(theirs, "job", -1, 1)
    assert [ours.recv() for _ in range(2)] == [("ready",), ("progress", 3)]
    kind, n, reason = ours.recv()
    assert (kind, n) == ("failed", 0)
    assert str(error) in reason
