import json
import lzma
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from spacy_lgu.decoder.attention import ATTENTION, register_attention
from spacy_lgu.decoder.decoder import LGUDecoder
from tests.conftest import TEXTS


@pytest.fixture(scope="session")
def text_file(tmp_path_factory) -> Path:
    """40 documents that differ in their first word."""
    path = tmp_path_factory.mktemp("text") / "text.jsonl.xz"
    with lzma.open(path, "wt", encoding="utf8") as stream:
        for i in range(40):
            stream.write(json.dumps({"id": i, "text": f"{i}. " + " ".join(TEXTS)}) + "\n")
    return path


@pytest.fixture(scope="session")
def tokenizer(decoder_folder):
    return AutoTokenizer.from_pretrained(decoder_folder)


@pytest.fixture
def load(decoder_folder):
    """A function: pattern flags -> the tiny random decoder in float32, all weights trained."""

    def load_decoder(unmasked=(False,) * 4) -> LGUDecoder:
        register_attention()
        base = AutoModel.from_pretrained(
            decoder_folder, attn_implementation=ATTENTION, torch_dtype=torch.float32
        )
        return LGUDecoder(base, unmasked=unmasked, dtype="float32")

    return load_decoder
