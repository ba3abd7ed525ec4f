"""Pipelines around a decoder of the hub, and what their outputs are."""

import shutil

import pytest
import spacy
from huggingface_hub import constants
from transformers.utils import hub

from spacy_lgu.decoder import loading

from ..conftest import TEXTS, make_decoder, make_nlp
from ..decoder.helpers import fill_cache

NAME, COMMIT = "org/tiny", "1" * 40


def use_cache(cache, monkeypatch) -> None:
    """Take the cache of the hub from a folder, with the network off."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(hub, "TRANSFORMERS_CACHE", str(cache), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def hub_cache(tmp_path, monkeypatch, decoder_folder):
    """A cache of the hub that has a decoder."""
    cache = tmp_path / "hub"
    cache.mkdir()
    fill_cache(cache, NAME, {COMMIT: decoder_folder})
    use_cache(cache, monkeypatch)
    return cache


@pytest.fixture(scope="session")
def _saved_once(tmp_path_factory, decoder_folder):
    """A pipeline by reference, and one with its base in it."""
    folder = tmp_path_factory.mktemp("saved")
    with pytest.MonkeyPatch.context() as monkeypatch:
        fill_cache(folder / "hub", NAME, {COMMIT: decoder_folder})
        use_cache(folder / "hub", monkeypatch)
        save_nlp(NAME, folder / "referring")
    save_nlp(decoder_folder, folder / "bundled")
    return folder


@pytest.fixture
def referring(hub_cache, _saved_once, tmp_path):
    """A pipeline that names its base on the hub, to be changed."""
    return shutil.copytree(_saved_once / "referring", tmp_path / "referring")


@pytest.fixture
def bundled(_saved_once, tmp_path):
    """A pipeline with its base in it, which has a name nowhere, to be changed."""
    return shutil.copytree(_saved_once / "bundled", tmp_path / "bundled")


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
