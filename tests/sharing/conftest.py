"""Pipelines around a decoder of the hub, and what their outputs are."""

import pytest
import spacy
from huggingface_hub import constants
from transformers.utils import hub

from spacy_lgu.decoder import loading

from ..conftest import TEXTS, make_decoder, make_nlp
from ..decoder.helpers import fill_cache

NAME, COMMIT = "org/tiny", "1" * 40


@pytest.fixture
def hub_cache(tmp_path, monkeypatch, decoder_folder):
    """A cache of the hub that has a decoder, with the network off."""
    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(hub, "TRANSFORMERS_CACHE", str(cache), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    fill_cache(cache, NAME, {COMMIT: decoder_folder})
    return cache


@pytest.fixture(scope="session")
def other_decoder(tmp_path_factory):
    """As decoder_folder, with other weights."""
    return make_decoder(tmp_path_factory.mktemp("other"), seed=7)


def save_nlp(name, folder, **options):
    """A pipeline, saved. RETURNS: Its folder."""
    make_nlp(name, **options).to_disk(folder)
    return folder


def load(folder):
    """A pipeline, whose weights are read and not found in memory."""
    loading._shared_bases.clear()
    return spacy.load(folder)


def outputs(folder) -> list:
    """Vectors and entities of a pipeline, exactly."""
    docs = list(load(folder).pipe(TEXTS))
    return [(doc._.trf_data.model_output.last_hidden_state.tolist(), doc.to_json()) for doc in docs]


def contents(folder) -> dict[str, bytes]:
    """All files below a folder."""
    return {
        f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()
    }
