import json
import lzma
import math
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.conftest import TEXTS, make_tokenizer

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import pretrain_decoder as script


@pytest.fixture
def text_file(tmp_path) -> Path:
    path = tmp_path / "text.jsonl.xz"
    with lzma.open(path, "wt", encoding="utf8") as stream:
        for i in range(40):
            stream.write(json.dumps({"id": i, "text": f"{i}. " + " ".join(TEXTS)}) + "\n")
    return path


def test_cross_entropy_equals_torch():
    torch.manual_seed(0)
    hidden = torch.randn(1100, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 8, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(11, (1100,))
    loss = script.LinearCrossEntropy.apply(hidden, weight, targets)
    expected = torch.nn.functional.cross_entropy(hidden @ weight.T, targets)
    assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
    gradients = torch.autograd.grad(loss, (hidden, weight))
    for found, wanted in zip(
        gradients, torch.autograd.grad(expected, (hidden, weight)), strict=True
    ):
        assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_learning_rate_warms_up_stays_and_decays():
    rates = [script.learning_rate_factor(0, 4, 0.0, 0.25)]
    rates += [script.learning_rate_factor(9, 4, share, 0.25) for share in (0.5, 0.75, 0.875, 1.0)]
    assert rates == [0.25, 1.0, 1.0, 0.5, 0.0]


def test_windows_cover_each_document_once(text_file):
    tokenizer = make_tokenizer()
    stream = script.WindowStream([text_file], tokenizer, window=16, buffer_size=1, seed=0)
    stream._fill()
    texts = list(islice(script.read_texts([text_file]), 32))
    found = [i for window in stream.buffer for i in window[1:].tolist()]
    encoded = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert found == [i for ids in encoded for i in ids]
    assert {int(window[0]) for window in stream.buffer} == {tokenizer.bos_token_id}
    assert max(map(len, stream.buffer)) == 16


def test_text_starts_over_when_it_ends(text_file):
    stream = script.WindowStream([text_file], make_tokenizer(), 16, buffer_size=1, seed=0)
    texts = [stream._next_text() for _ in range(41)]
    assert texts[40] == texts[0]


def test_uniform_decoder_spends_log2_of_the_vocabulary(text_file):
    tokenizer = make_tokenizer()
    config = script.MistralConfig(
        vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, num_key_value_heads=1,
    )  # fmt: skip
    config._attn_implementation = script.ATTENTION
    script.register_attention()
    model = script.MistralForCausalLM(config)
    torch.nn.init.zeros_(model.lm_head.weight)
    text = " ".join(TEXTS * 3)
    n_subtokens = len(tokenizer(text, add_special_tokens=False)["input_ids"])
    expected = n_subtokens * math.log2(len(tokenizer)) / len(text.encode("utf8"))
    for window, context in ((10_000, 0), (32, 8), (30, 1)):
        found = script.bits_per_byte(model, tokenizer, [text], window=window, context=context)
        assert found == pytest.approx(expected, rel=1e-4)


def test_trains_resumes_and_saves_a_decoder(text_file, tmp_path, capsys):
    sizes = {
        "layers": 2, "width": 16, "heads": 2, "kv_heads": 1, "mlp_width": 16, "vocab_size": 300,
        "context": 32, "window": 16, "batch_subtokens": 256, "warmup": 2,
    }  # fmt: skip
    arguments = {
        "text": [text_file], "valid": text_file, "checkpoints": tmp_path / "checkpoints",
        "output": tmp_path / "decoder", "minutes": 0.03, **sizes,
    }  # fmt: skip
    script.main(**arguments)
    assert "Resuming" not in capsys.readouterr().out
    script.main(**arguments)
    assert "Resuming at step" in capsys.readouterr().out
    progress = json.loads((tmp_path / "decoder" / "training.json").read_text())
    assert progress["history"][-1][3] < 8  # bits per byte; 8 is guessing
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "decoder")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "decoder")
    assert model.config.model_type == "mistral"
    assert model.config.vocab_size == len(tokenizer)
    assert tokenizer("Ann")["input_ids"][0] == tokenizer.bos_token_id


def test_checkpoint_restores_everything(text_file, tmp_path):
    tokenizer = make_tokenizer()
    config = script.MistralConfig(
        vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, num_key_value_heads=1, tie_word_embeddings=True,
    )  # fmt: skip
    config._attn_implementation = script.ATTENTION
    script.register_attention()

    def fresh():
        torch.manual_seed(0)
        model = script.MistralForCausalLM(config)
        stream = script.WindowStream([text_file], tokenizer, 16, buffer_size=8, seed=0)
        return model, script.make_optimizers(model, 0.01), stream

    def train(model, optimizers, stream, n_steps):
        for packed in islice(stream.batches(64, torch.device("cpu")), n_steps):
            rows = script.next_subtoken_rows(packed)
            script.LinearCrossEntropy.apply(
                script.hidden_states(model, packed)[rows],
                model.lm_head.weight,
                packed.ids[0, rows + 1],
            ).backward()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()

    straight = fresh()
    train(*straight, 6)
    interrupted = fresh()
    train(*interrupted, 3)
    script.save_checkpoint(tmp_path, *interrupted, script.Progress(step=3))
    resumed = fresh()
    progress = script.load_checkpoint(tmp_path, *resumed)
    assert progress.step == 3
    train(*resumed, 3)
    for found, wanted in zip(resumed[0].parameters(), straight[0].parameters(), strict=True):
        assert_close(found, wanted)
