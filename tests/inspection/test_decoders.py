"""What the hub says of a decoder's files."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from huggingface_hub import HfApi

from spacy_lgu.decoder.local import read_decoder
from spacy_lgu.decoder.source import Source
from spacy_lgu.inspection.decoders import stored_bytes


@pytest.fixture
def of_hub(decoder_folder, tmp_path):
    """A decoder of the hub, without weights here."""
    found = read_decoder(str(decoder_folder))
    return replace(found, source=Source("org/x", tmp_path, "1" * 40))


def test_sizes_of_files(of_hub, monkeypatch):
    files = [
        SimpleNamespace(rfilename="model-00001-of-00002.safetensors", size=70),
        SimpleNamespace(rfilename="model-00002-of-00002.safetensors", size=30),
        SimpleNamespace(rfilename="pytorch_model.bin", size=1000),
    ]

    def model_info(self, name, *, revision, files_metadata):
        assert (name, revision, files_metadata) == ("org/x", "1" * 40, True)
        return SimpleNamespace(siblings=files)

    monkeypatch.setattr(HfApi, "model_info", model_info)
    assert stored_bytes(of_hub, offline=False) == {"here": 0, "on_hub": 100}


def test_no_network(of_hub, monkeypatch):
    def model_info(self, name, **options):
        raise ConnectionError

    monkeypatch.setattr(HfApi, "model_info", model_info)
    assert stored_bytes(of_hub, offline=False) == {"here": 0, "on_hub": None}
    assert stored_bytes(of_hub, offline=True) == {"here": 0, "on_hub": None}
