"""A config that trains in a second, and trials in this process instead of ones that take seconds
to start."""

import json
from pathlib import Path

import pytest

from spacy_lgu.search import jobs, process
from spacy_lgu.study.engine import Progress, RunError

from ..cli.conftest import NER_CONFIG, corpus, failure, run

__all__ = ["corpus", "failure", "run"]


@pytest.fixture(scope="session")
def arguments(decoder_folder, corpus) -> list:
    """Config and overrides: four layers, four steps."""
    return [
        NER_CONFIG,
        "--paths.decoder", decoder_folder,
        "--paths.train", corpus,
        "--paths.dev", corpus,
        "--components.transformer.model.quantization", "none",
        "--components.transformer.model.lora.rank", 4,
        "--training.max_steps", 4,
        "--training.optimizer.learn_rate.total_steps", 4,
        "--training.eval_frequency", 2,
        "--training.optimizer.learn_rate.initial_rate", 0.02,
        "--training.optimizer.learn_rate.warmup_steps", 1,
    ]  # fmt: skip


@pytest.fixture
def in_process(monkeypatch) -> list[dict]:
    """Gives the jobs that were run."""
    done = []

    def call(arguments, log, report, processes):
        job = json.loads(Path(arguments[-1]).read_text())
        done.append(job)
        try:
            outcome = process.run_job(job)
        except (ValueError, OSError) as error:
            raise RunError(f"see {log}, which ends with: {error}") from error
        Path(job["folder"], process.OUTCOME).write_text(json.dumps(outcome))
        report(Progress(job["steps"], job["steps"]))

    monkeypatch.setattr(jobs, "call_python", call)
    return done
