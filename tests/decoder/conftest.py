import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from transformers import AutoModel
from transformers.utils import hub

from spacy_lgu.decoder import decoder, fleet, products
from spacy_lgu.decoder.adapter import save_adapter

from ..conftest import make_decoder
from .helpers import build, fill_cache, save

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
    monkeypatch.setattr(hub, "TRANSFORMERS_CACHE", str(cache), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return cache


@pytest.fixture
def hub_name(hub_cache, decoder_folder, other_decoder_folder):
    """A repository with two commits; the second is the default branch."""
    fill_cache(hub_cache, "org/tiny", {FIRST: other_decoder_folder, SECOND: decoder_folder})
    return "org/tiny"


@pytest.fixture
def torchs_products(monkeypatch):
    """Bits can be compared with a decoder that is not ours, on CPUs that have a faster way, too."""
    monkeypatch.setattr(products, "is_mkl_slow", lambda: False)


@pytest.fixture
def no_filler(monkeypatch):
    """Batches have the rows of their sequences alone, on a CPU too."""
    for module in (decoder, fleet):
        monkeypatch.setattr(module, "count_filler", lambda *args: 0)


@pytest.fixture
def on_amd(monkeypatch, tmp_path):
    """A machine with a CPU of AMD's and with MKL, whatever this one is."""
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    monkeypatch.setattr(products, "_CPU_INFO", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text("processor : 0\nvendor_id : AuthenticAMD\n")
    products.is_mkl_slow.cache_clear()
    yield
    products.is_mkl_slow.cache_clear()


@pytest.fixture
def no_weights(monkeypatch):
    """Reading a weight fails the test."""

    def refuse(*args, **kwargs):
        raise AssertionError("Weights were loaded before the checks were through.")

    monkeypatch.setattr(AutoModel, "from_pretrained", refuse)


@pytest.fixture
def copied_folder(decoder_folder, tmp_path):
    """A copy of decoder_folder, to be changed."""
    return Path(shutil.copytree(decoder_folder, tmp_path / "copied"))


@pytest.fixture(scope="module")
def trained(decoder_folder):
    """A decoder with an adapter that changes its vectors. Not to be changed."""
    return build(decoder_folder)


@pytest.fixture
def adapter_folder(trained, tmp_path):
    """Its adapter, saved."""
    save_adapter(trained.decoder.adapter, tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.fixture
def saved(decoder_folder, tmp_path):
    """A decoder saved as a bundle, and the folder."""
    built = build(decoder_folder)
    save(built, tmp_path / "x", "bundle")
    return built, tmp_path / "x"


@pytest.fixture
def referring(decoder_folder, tmp_path):
    """A decoder saved without its base, the folder, and the folder of the base."""
    base = Path(shutil.copytree(decoder_folder, tmp_path / "base"))
    built = build(base)
    save(built, tmp_path / "referring", "reference")
    return built, tmp_path / "referring", base
