import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from spacy_lgu.decoder.attention import ATTENTION, register_attention
from spacy_lgu.decoder.decoder import LGUDecoder
from spacy_lgu.pretraining.learner import Learner
from spacy_lgu.pretraining.objectives import Objective
from spacy_lgu.pretraining.text import TextStream, WindowStream


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


@pytest.fixture
def make_learner(load, tokenizer, text_file):
    """A function: objective, peak of the rate, identity -> a learner of the tiny decoder."""

    def make(kind="causal", peak=0.01, **identity) -> Learner:
        decoder = load((kind != "causal",) * 4)
        objective = Objective(
            kind, mask_id=1, special_ids=(0, 1), vocab_size=len(tokenizer), mask_rate=0.3
        )
        windows = WindowStream(
            TextStream([text_file]), tokenizer, window=16, buffer_size=20, seed=0
        )
        parameters = [p for _, p in decoder.trainable()]
        optimizer = torch.optim.AdamW([{"params": parameters, "peak": peak}])
        head = decoder.base.get_input_embeddings().weight
        return Learner(decoder, head, objective, windows, [optimizer], {"kind": kind, **identity})

    return make


def weights(learner):
    return [p.detach().clone() for _, p in learner.decoder.trainable()]
