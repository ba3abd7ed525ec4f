"""Several threads or processes at once give what one gives."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import spacy
from numpy.testing import assert_allclose

from ..conftest import ENTITY_TEXTS, TEXTS, make_nlp, train_nlp

MIXED = [*TEXTS, "", " \n ", "naan", *(text for text, _ in ENTITY_TEXTS)] * 3

# Two torch threads in the parent process, which a fork does not take along.
IN_PROCESSES = """
import sys

import numpy
import spacy
import torch

torch.set_num_threads(2)
nlp = spacy.load(sys.argv[1])
texts = sys.argv[2].split("|")
alone = list(nlp.pipe(texts))
together = list(nlp.pipe(texts, n_process=2, batch_size=4))
assert [doc.text for doc in together] == texts
for doc, expected in zip(together, alone, strict=True):
    assert [(e.text, e.label_) for e in doc.ents] == [(e.text, e.label_) for e in expected.ents]
    X, Y = (d._.trf_data.model_output.get("last_hidden_state") for d in (doc, expected))
    assert (X is None) == (Y is None)
    assert X is None or numpy.allclose(X, Y, atol=1e-5)
assert sum(len(doc.ents) for doc in together) > 3
sys.stdout.write("equal")
"""


@pytest.fixture(scope="module", params=["none", "nf4"])
def saved(request, decoder_folder, tmp_path_factory):
    nlp = make_nlp(decoder_folder, quantization=request.param, lora_dropout=0.2)
    train_nlp(nlp, steps=30)
    folder = tmp_path_factory.mktemp("saved")
    nlp.to_disk(folder)
    return folder


def answers(docs):
    return [[(e.text, e.label_) for e in doc.ents] for doc in docs]


def vectors(doc):
    return doc._.trf_data.model_output.get("last_hidden_state")


def test_eight_threads_at_once_call_a_freshly_loaded_pipeline(saved):
    reference = spacy.load(saved)
    expected = [reference(text) for text in MIXED]
    assert sum(len(doc.ents) for doc in expected) > 3
    fresh = spacy.load(saved)
    with ThreadPoolExecutor(8) as pool:
        docs = list(pool.map(fresh, MIXED))
    assert answers(docs) == answers(expected)
    for doc, other in zip(docs, expected, strict=True):
        if len(doc):
            assert_allclose(vectors(doc), vectors(other), atol=1e-5)


def test_threads_may_pipe(saved):
    nlp = spacy.load(saved)
    expected = answers(map(nlp, MIXED))

    def pipe(_):
        return answers(nlp.pipe(MIXED, batch_size=3))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(pipe, range(4))) == [expected] * 4


@pytest.mark.parametrize("saved", ["nf4"], indirect=True)
def test_two_processes_give_what_one_gives(saved):
    command = [sys.executable, "-c", IN_PROCESSES, str(saved), "|".join(MIXED)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, **pipes) as process:
        try:
            output, errors = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with the workers that hang
            raise
    assert process.returncode == 0, errors
    assert output.endswith("equal")
