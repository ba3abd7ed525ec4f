"""Pipelines on a decoder whose layers are partly recurrent."""

import numpy
import pytest
import spacy

from ..conftest import TEXTS, make_nlp
from ..decoder.hybrids import BY_TYPE, save_hybrid


@pytest.fixture(scope="module")
def nlp(tmp_path_factory):
    # In transformers 4.53 and in 5.
    folder = save_hybrid(tmp_path_factory.mktemp("hybrid"), BY_TYPE["minimax"])
    return make_nlp(folder, unmasking="bb", lora_modules="all-linear")


def last_hidden_states(docs):
    return [doc._.trf_data.model_output.last_hidden_state for doc in docs]


def test_texts_in_batches_windows_and_saves_get_the_same_vectors(nlp, tmp_path):
    texts = [*TEXTS, " ".join(TEXTS * 4), "One."]  # one is longer than the context of 64
    alone = last_hidden_states([nlp(text) for text in texts])
    nlp.to_disk(tmp_path / "nlp")
    loaded = spacy.load(tmp_path / "nlp")
    for found in (
        last_hidden_states(nlp.pipe(texts)),
        last_hidden_states(loaded.pipe(texts, batch_size=2)),
    ):
        for values, expected in zip(found, alone, strict=True):
            numpy.testing.assert_allclose(values, expected, atol=1e-4, rtol=1e-4)
