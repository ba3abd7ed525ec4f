"""Processes of an experiment: logs, progress, and what becomes of them when this one ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import spacy
from spacy.cli._util import parse_config_overrides
from spacy.tokens import Doc, DocBin
from spacy.util import load_config

from spacy_lgu.study import process
from spacy_lgu.study.engine import (
    MARK,
    Progress,
    RunError,
    Scoring,
    _read_progress,
    call_python,
    run_script,
    spell_options,
    spell_overrides,
    train_and_score,
)
from spacy_lgu.study.plan import CONFIG

OVERRIDES = {
    "nlp.pipeline": ["cnn", "ner"],
    "head.listener": "${listeners.cnn}",
    "training.max_steps": 4,
    "training.eval_frequency": 2,
    "training.optimizer.learn_rate.warmup_steps": 0,
    "training.optimizer.learn_rate.total_steps": 4,
}


@pytest.fixture
def corpus(tmp_path):
    vocab = spacy.blank("en").vocab
    docs = [Doc(vocab, ["Ann", "left", "Oslo"], ents=["B-PER", "O", "B-LOC"]) for _ in range(8)]
    DocBin(docs=docs).to_disk(tmp_path / "corpus.spacy")
    return tmp_path / "corpus.spacy"


def test_a_pipeline_is_trained_and_scored(tmp_path, corpus):
    overrides = {**OVERRIDES, "paths.train": str(corpus), "paths.dev": str(corpus)}
    told = []
    folder = tmp_path / "run"
    figures = train_and_score(
        CONFIG, overrides, Scoring(corpus, limit=3), folder, keep=True, report=told.append
    )
    assert len(figures["documents"]) == 3
    assert figures["train_minutes"] > 0
    assert figures["checkpoint_bytes"] > 10_000
    assert (told[-1].step, told[-1].n_steps) == (4, 4)
    assert told[-1].score is not None
    log = (folder / "train.log").read_text()
    assert "LOSS CNN" in log
    assert MARK not in log
    # The pipeline is as `spacy train` leaves it.
    logger = load_config(folder / "model-last" / "config.cfg")["training"]["logger"]
    assert logger["@loggers"] == "spacy.ConsoleLogger.v3"


def test_a_config_without_a_logger(tmp_path, corpus, capsys):
    nlp = spacy.blank("en")
    nlp.add_pipe("ner")
    config = nlp.config.copy()
    del config["training"]["logger"]
    config.to_disk(tmp_path / "config.cfg")
    options = {"paths.train": str(corpus), "paths.dev": str(corpus), "training.max_steps": 1}
    process.train(tmp_path / "config.cfg", tmp_path / "out", gpu_id=-1, overrides=options)
    lines = capsys.readouterr().out.splitlines()
    found = [_read_progress(line) for line in lines if line.startswith(MARK)]
    assert (found[-1].step, found[-1].n_steps) == (1, 1)


def test_a_script_gets_a_file_for_its_figures(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import json, sys\n"
        "print('training:  50%|#    | 3/6 [00:01<00:01]', end='\\r')\n"
        "print('other: 1/2 [')\n"
        "json.dump({'f1': 1.5, 'given': [sys.argv[1], *sys.argv[3:]]}, open(sys.argv[2], 'w'))\n"
    )
    told = []
    figures = run_script(script, ["a"], {"rank": 4}, tmp_path / "run", report=told.append)
    assert figures == {"f1": 1.5, "given": ["a", "--rank=4"]}
    assert told == [Progress(3, 6)]
    assert (tmp_path / "run" / "train.log").read_text() == "other: 1/2 [\n"


def test_a_process_that_fails_names_its_log(tmp_path):
    log = tmp_path / "x.log"
    with pytest.raises(RunError, match=r"see .*x\.log, which ends with: no such luck"):
        call_python(["-c", "import sys; sys.exit('no such luck')"], log, None)
    with pytest.raises(RunError, match=r"x\.log, which ends with: nothing"):
        call_python(["-c", "import sys; sys.exit(3)"], log, None)
    call_python(["-c", "print('all is well')"], log, None)
    assert log.read_text() == "all is well\n"


def test_options_on_a_command_line():
    options = {"a.b": "x y", "c": 0.5, "d": ["e"], "f": True}
    assert spell_options(options) == ["--a.b=x y", "--c=0.5", '--d=["e"]', "--f=true"]


@pytest.mark.parametrize(
    "value", ["1.10", "2024", "12e4567", "null", "true", '"x"', "a b", "[", ""]
)
def test_spacy_reads_overrides_as_they_are(value):
    assert parse_config_overrides(spell_overrides({"a.b": value})) == {"a.b": value}


def test_an_interruption_ends_the_process(tmp_path):
    line = MARK + '{"step": 1, "n_steps": 2}'
    code = f"import time; print({line!r}, flush=True); time.sleep(60)"
    started = time.monotonic()

    def interrupt(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call_python(["-c", code], tmp_path / "x.log", interrupt)
    assert time.monotonic() - started < 30


def test_a_training_ends_with_the_process_that_started_it(tmp_path):
    """Killed, a process cannot end the one that it started."""
    code = (
        "from threading import Thread; import os, time\n"
        "from spacy_lgu.study.process import end_with_input\n"
        "Thread(target=end_with_input, daemon=True).start()\n"
        "print(os.getpid(), flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [
            sys.executable, "-c",
            "import sys\nfrom pathlib import Path\nfrom spacy_lgu.study.engine import call_python\n"
            f"call_python(['-c', {code!r}], Path(sys.argv[1]), None)",
            str(tmp_path / "x.log"),
        ]
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (tmp_path / "x.log").exists() or not (tmp_path / "x.log").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child = int((tmp_path / "x.log").read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while _is_running(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    # Where nobody waits for it, as in some containers, it is over, but not gone.
    return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_a_training_that_is_ended_saves_nothing(monkeypatch):
    """Whatever its config would do at this signal: the run is made anew."""
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    process.end_at_once(signal.SIGTERM, None)
    assert ended == [1]
