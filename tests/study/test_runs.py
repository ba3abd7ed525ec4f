"""What a run is trained, validated and tested on."""

from pathlib import Path

import pytest

from spacy_lgu.study import running, runs
from spacy_lgu.study.plan import read_study

from ..benchmarks.conftest import ROOT


@pytest.fixture(scope="module")
def study():
    return read_study(ROOT / "benchmarks" / "study.yml").choose(systems="cnn")


def test_a_run_is_validated_on_dev_and_has_its_own_seed(study, monkeypatch):
    monkeypatch.setattr(runs, "count_texts", lambda path, limit: 10)
    run = next(run for run in runs.list_runs(study, 4) if run.seed == 3)
    found = runs.make_overrides(run, study, Path("c"), None, 0)
    assert found["paths.train"] == str(Path("c/train.spacy"))
    assert found["paths.dev"] == str(Path("c/dev.spacy"))
    assert found["system.seed"] == 3


def test_a_threshold_is_chosen_on_dev(study, monkeypatch, tmp_path):
    def train_and_score(config, overrides, scoring, folder, **options):
        return scoring

    monkeypatch.setattr(running, "train_and_score", train_and_score)
    run = next(run for run in runs.list_runs(study, 1) if run.task.head == "spancat_found")
    job = runs.Job(run, Path("c"), {}, None, 0, "x")
    scoring = running.execute(job, study, tmp_path, gpu_id=-1, keep=False, report=print)
    assert (scoring.data, scoring.threshold_from) == (Path("c/test.spacy"), Path("c/dev.spacy"))
