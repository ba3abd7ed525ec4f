import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from spacy_lgu.decoder.attention import ATTENTION, register_attention
from spacy_lgu.decoder.decoder import LGUDecoder


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
