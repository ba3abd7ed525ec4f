"""Trials as tasks of Ray, on a cluster of this machine."""

import os
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest
from thinc.api import Config

from spacy_lgu.search import ray_workers
from spacy_lgu.search.jobs import Search
from spacy_lgu.search.ray_workers import RayWorkers, _count_places, check_ray
from spacy_lgu.search.space import Candidate, Space
from spacy_lgu.search.trials import Task, Trial
from spacy_lgu.study.engine import RunError

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
SEARCH = Search(Config(), ("components",), Task(Space(1), (0,), 4))
TRIALS = [Trial("train", Candidate(pattern), 0, 4) for pattern in ("c", "b")]


def finish(workers):
    found = {}
    while len(found) < len(TRIALS):
        found.update(workers.wait(1.0))
    return found


@needs_ray
# Ray leaves its own files and processes to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_trials_on_a_cluster(tmp_path):
    """One worker dies, and its trial is made again; another trial fails, and says why."""

    def execute(search, trial, folder, *, gpu_id, threads, keep):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "train.log").write_text("reading\nno such luck\n")
        marker = Path(folder.parents[1], f"died-{trial.name}")
        if trial.candidate.pattern == "b":
            raise RunError("see train.log")
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return {"score": 0.5, "where": os.getcwd(), "gpu": gpu_id, "threads": threads}

    (tmp_path / "holder.json").touch()
    workers = RayWorkers(SEARCH, tmp_path, size=2, execute=execute)
    try:
        for trial in TRIALS:
            workers.start(trial, print)
        found = finish(workers)
    finally:
        workers.close()
    figures, failure = (found[trial] for trial in TRIALS)
    assert figures == {"score": 0.5, "where": os.getcwd(), "gpu": -1, "threads": 1}
    assert (tmp_path / "died-c-s0-4").exists()
    assert str(failure) == "see train.log\nreading\nno such luck"


def test_without_ray(monkeypatch):
    monkeypatch.setattr(ray_workers, "find_spec", {}.get)
    with pytest.raises(ImportError, match=r"--ray needs Ray: pip install 'spacy-lgu\[ray\]'"):
        check_ray(1, 0)


@needs_ray
@pytest.mark.parametrize(("cpus", "gpus"), [(0, 0), (1, -1), (1, 1.5)])
def test_what_ray_does_not_take(cpus, gpus):
    with pytest.raises(ValueError, match=f"Expected more than 0 CPUs .* got {cpus} and {gpus}"):
        check_ray(cpus, gpus)


def test_how_many_trials_have_room():
    cluster = {"CPU": 16.0, "GPU": 4.0}
    assert _count_places(cluster, 1, 0) == 16
    assert _count_places(cluster, 1, 0.5) == 8
    assert _count_places(cluster, 1, 0.4) == 8
    assert _count_places(cluster, 4, 2) == 2
    with pytest.raises(ValueError, match=r"no room for a trial of 1 CPUs and 8 GPUs: .* 16 and 4"):
        _count_places(cluster, 1, 8)
