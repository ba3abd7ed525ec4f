import pytest
from huggingface_hub import constants
from transformers.utils import hub

from ..conftest import make_decoder
from .helpers import fill_cache

FIRST, SECOND = "1" * 40, "2" * 40


@pytest.fixture(scope="session")
def other_decoder_folder(tmp_path_factory):
    """As decoder_folder, with other weights."""
    return make_decoder(tmp_path_factory.mktemp("other"), seed=7)


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """An empty cache of the hub, with the network off."""
    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(hub, "TRANSFORMERS_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return cache


@pytest.fixture
def hub_name(hub_cache, decoder_folder, other_decoder_folder):
    """A repository with two commits; the second is the default branch."""
    fill_cache(hub_cache, "org/tiny", {FIRST: other_decoder_folder, SECOND: decoder_folder})
    return "org/tiny"
