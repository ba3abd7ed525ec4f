"""Trials as tasks of Ray, on a cluster of this machine."""

import os
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest
from thinc.api import Config

from spacy_lgu.search.jobs import Search
from spacy_lgu.search.ray_workers import RayWorkers
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
