"""Pipelines that an earlier commit saved load, and give the vectors that they gave there.

saved-0.1.0.tar.xz was written at e1617c3, with the tiny decoder of tests/conftest.py (2 layers):
two folders of nlp.to_disk and, for each, all texts with their entities, and the vectors there.
"""

import json
import tarfile
from pathlib import Path

import numpy
import pytest
import spacy

SAVED = Path(__file__).parent / "saved-0.1.0.tar.xz"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    with tarfile.open(SAVED) as archive:
        archive.extractall(folder, filter="data")
    return folder / "saved-0.1.0"


@pytest.mark.parametrize("name", ["lora_nf4_ner", "full_labeler"])
def test_loads_with_equal_vectors(saved, name):
    nlp = spacy.load(saved / name)
    texts = json.loads((saved / f"{name}.json").read_text("utf8"))
    docs = list(nlp.pipe(texts))
    vectors = [doc._.trf_data.model_output.last_hidden_state for doc in docs if len(doc)]
    with numpy.load(saved / f"{name}.npz") as before:
        expected = [before[key] for key in before.files]
    assert len(vectors) == len(expected) == 5
    for found, wanted in zip(vectors, expected, strict=True):
        assert found.shape == wanted.shape
        numpy.testing.assert_allclose(found, wanted, atol=1e-4)


def test_finds_the_entities_it_was_trained_on(saved):
    doc = spacy.load(saved / "full_labeler")("Ann Lee ate naan in New York")
    assert [(e.text, e.label_) for e in doc.ents] == [("Ann Lee", "PER"), ("New York", "LOC")]


def test_saves_again_as_a_pipeline_that_loads(saved, tmp_path):
    nlp = spacy.load(saved / "lora_nf4_ner")
    nlp.to_disk(tmp_path / "again")
    text = "Ann Lee ate naan in New York on 3 May 2021 and paid $12.50 for it."
    first, again = (
        loaded(text)._.trf_data.model_output.last_hidden_state
        for loaded in (nlp, spacy.load(tmp_path / "again"))
    )
    assert numpy.array_equal(first, again)
