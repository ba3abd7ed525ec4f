"""SIGTERM during training: the pipeline is saved, and the exit status says what happened."""

import os
import signal
import subprocess
import sys
import threading

import pytest
import spacy
from spacy.tokens import DocBin
from spacy.training import loop

from spacy_lgu.training import stopping
from spacy_lgu.training.stopping import save_on_sigterm_v1

from ..cli.conftest import run
from ..conftest import entity_examples, make_nlp


@pytest.fixture
def default():
    """As in a process of its own: nobody listens."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def listening(default):
    save_on_sigterm_v1()(None, {})


@pytest.fixture
def training(monkeypatch):
    """As if the test were spaCy's loop."""
    find_code = stopping._find_code

    def find_loop(frame):
        yield from find_code(frame)
        yield loop.train.__code__

    monkeypatch.setattr(stopping, "_find_code", find_loop)


@pytest.mark.usefixtures("listening", "training")
def test_a_signal_ends_the_process_with_its_status(capsys):
    with pytest.raises(SystemExit) as raised:
        os.kill(os.getpid(), signal.SIGTERM)
    assert raised.value.code == 143
    assert "saved as model-last, if there is an --output, and the exit status is 143" in (
        capsys.readouterr().err
    )
    os.kill(os.getpid(), signal.SIGTERM)  # while it is saved


@pytest.mark.usefixtures("default")
def test_nothing_is_changed_until_training_begins():
    save_on_sigterm_v1()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.usefixtures("default")
def test_the_handler_of_another_is_left_alone():
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    save_on_sigterm_v1()(None, {})
    assert signal.getsignal(signal.SIGTERM) == signal.default_int_handler


@pytest.mark.usefixtures("default")
def test_a_thread_trains_without_it():
    thread = threading.Thread(target=save_on_sigterm_v1(), args=(None, {}))
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.usefixtures("listening")
def test_after_training_a_signal_does_what_it_did(monkeypatch):
    sent = []
    kill = os.kill
    monkeypatch.setattr(os, "kill", lambda *args: sent.append(args))
    kill(os.getpid(), signal.SIGTERM)
    assert sent == [(os.getpid(), signal.SIGTERM)]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("n_trainings", [1, 2])
def test_a_process_that_goes_on_can_be_ended(monkeypatch, n_trainings):
    """A notebook does not end with the SystemExit of a cell."""
    for _ in range(n_trainings):
        save_on_sigterm_v1()(None, {})
        with monkeypatch.context() as patch:
            patch.setattr(stopping, "_find_code", lambda frame: [loop.train.__code__])
            with pytest.raises(SystemExit):
                os.kill(os.getpid(), signal.SIGTERM)
    sent = []
    kill = os.kill
    monkeypatch.setattr(os, "kill", lambda *args: sent.append(args))
    kill(os.getpid(), signal.SIGTERM)
    assert sent == [(os.getpid(), signal.SIGTERM)]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.usefixtures("listening", "training")
def test_a_save_is_finished_first(monkeypatch, tmp_path):
    """Of nlp.to_disk, and of a checkpoint, which is copied to model-best as well."""
    monkeypatch.setattr(stopping, "_WAIT", 0.01)
    nlp, finished = spacy.blank("en"), []
    wait = threading.Event().wait

    class Slow:
        name = "slow"

        def __call__(self, doc):
            return doc

        def to_disk(self, path, exclude=()):
            os.kill(os.getpid(), signal.SIGTERM)
            wait(0.05)
            finished.append(path.name)

    spacy.Language.factory("test_slow_save", func=lambda nlp, name: Slow())
    nlp.add_pipe("test_slow_save")
    nlp.to_disk(tmp_path)
    with pytest.raises(SystemExit):
        wait(5)  # until the signal comes again
    assert finished == ["test_slow_save"]


def test_what_counts_as_a_checkpoint():
    """spaCy's own function of this name, which this finds by its file."""
    (code,) = [
        const
        for const in loop.train.__code__.co_consts
        if getattr(const, "co_name", "") == "save_checkpoint"
    ]
    assert code.co_filename == loop.__file__


def test_spacy_train_leaves_a_whole_pipeline(decoder_folder, tmp_path):
    nlp = make_nlp(decoder_folder)
    docs = [example.reference for example in entity_examples(nlp)]
    DocBin(docs=docs).to_disk(tmp_path / "train.spacy")
    overrides = {
        "paths": {"train": "train.spacy", "dev": "train.spacy"},
        "training": {
            "before_update": {"@callbacks": "spacy-lgu.save_on_sigterm.v1"},
            "eval_frequency": 1,
            "max_steps": 0,
            "patience": 0,
            "logger": {"@loggers": "spacy.ConsoleLogger.v1", "progress_bar": False},
        },
    }
    nlp.config.merge(overrides).to_disk(tmp_path / "config.cfg")
    command = [sys.executable, "-u", "-m", "spacy", "train", "config.cfg", "--output", "out"]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
    with subprocess.Popen(command, **options) as process:
        for line in process.stdout:
            if line.split()[:2] == ["2", "2"]:  # scores of a step, at any moment of the next
                process.send_signal(signal.SIGTERM)
                break
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert "SIGTERM: training stops here." in errors
    assert "Traceback" not in errors
    loaded = spacy.load(tmp_path / "out" / "model-last")
    assert loaded("Ann ate naan")._.trf_data is not None
    assert "all files are what was saved" in run("lgu", "verify", tmp_path / "out" / "model-last")
