import json
import lzma
import sys
from pathlib import Path

import numpy
import pytest
import torch
import typer
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, AutoTokenizer

from spacy_lgu.decoder.packing import PackedBatch
from spacy_lgu.pretraining.evaluation import bits_per_byte
from spacy_lgu.pretraining.learner import CHECKPOINT
from tests.conftest import TEXTS, make_nlp

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import pretrain_decoder as script

SIZES = {
    "layers": 2, "width": 16, "heads": 2, "kv_heads": 1, "mlp_width": 16, "vocab_size": 300,
    "context": 32, "window": 16, "batch_subtokens": 256, "warmup": 2,
}  # fmt: skip


@pytest.fixture
def arguments(tmp_path):
    path = tmp_path / "text.jsonl.xz"
    with lzma.open(path, "wt", encoding="utf8") as stream:
        for i in range(40):
            stream.write(json.dumps({"id": i, "text": f"{i}. " + " ".join(TEXTS)}) + "\n")
    return {
        "text": [path], "valid": path, "checkpoints": tmp_path / "checkpoints",
        "output": tmp_path / "decoder", "minutes": 0.03, **SIZES,
    }  # fmt: skip


def test_trains_resumes_and_saves_a_decoder(arguments, tmp_path, capsys, monkeypatch):
    windows = set()

    def score(*args, window, context):
        windows.add((window, context))
        return bits_per_byte(*args, window=window, context=context)

    monkeypatch.setattr(script, "bits_per_byte", score)
    script.main(**arguments)
    assert windows == {(32, 16)}  # not beyond the decoder's context
    assert "Resuming" not in capsys.readouterr().out
    script.main(**arguments)
    assert "Resuming at step" in capsys.readouterr().out
    record = json.loads((tmp_path / "decoder" / "training.json").read_text())
    assert record["metric"] == "bits per byte"
    assert record["history"][-1][3] < 8  # 8 is guessing
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "decoder", torch_dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "decoder")
    assert (model.config.model_type, model.dtype) == ("mistral", torch.bfloat16)
    assert model.config.vocab_size == len(tokenizer)
    assert tokenizer("Ann")["input_ids"][0] == tokenizer.bos_token_id


def test_a_new_run_begins_with_given_weights_and_tokenizer(arguments, tmp_path, monkeypatch):
    script.main(**arguments)
    given = AutoModelForCausalLM.from_pretrained(tmp_path / "decoder", torch_dtype=torch.float32)
    seen = []
    monkeypatch.setattr(script, "train", lambda learner, *_, **__: seen.append(learner))
    monkeypatch.setattr(script, "save_decoder", lambda *_: None)
    again = {
        **arguments,
        "checkpoints": tmp_path / "again",
        "start_from": tmp_path / "decoder",
        "tokenizer_from": tmp_path / "decoder",
    }
    with pytest.raises(IndexError):  # nothing was trained, so that there is no score
        script.main(**again)
    for name, parameter in seen[0].decoder.base.named_parameters():
        assert_close(parameter.data, given.model.get_parameter(name).data)
    assert not (tmp_path / "again" / CHECKPOINT).exists()


def test_the_twin_learns_masked_subtokens_and_serves_under_bbbb(arguments, tmp_path):
    script.main(**arguments, objective="masked")
    record = json.loads((tmp_path / "decoder" / "training.json").read_text())
    assert (record["objective"], record["metric"]) == ("masked", "nats per masked subtoken")
    nlp = make_nlp(tmp_path / "decoder", unmasking="bb")
    assert nlp("Ann Lee")._.trf_data.model_output.last_hidden_state.shape[-1] == 16


def test_a_run_is_not_continued_with_another_objective(arguments):
    script.main(**arguments)
    with pytest.raises(ValueError, match="run with objective = 'causal', but this one has"):
        script.main(**arguments, objective="masked")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"objective": "masked-next"}, "expected 'causal' or 'masked'"),
        ({"context": 8}, "context is 8, shorter than the window of 16"),
    ],
)
def test_bad_values(arguments, values, message):
    with pytest.raises(typer.BadParameter, match=message):
        script.main(**{**arguments, **values})


def test_layers_begin_as_the_identity():
    config = script.MistralConfig(
        vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1,
    )  # fmt: skip
    decoder = script.make_decoder(config, unmasked=False, device=torch.device("cpu"))
    X = torch.randn(1, 3, 16)
    positions = decoder.base.rotary_emb(X, torch.arange(3)[None])
    packed = PackedBatch.pack(numpy.arange(3), [3], device=X.device)
    Y = decoder.base.layers[0](
        X, position_embeddings=positions, packed=packed, unmasked=decoder.unmasked
    )
    assert_close(Y[0] if isinstance(Y, tuple) else Y, X)
