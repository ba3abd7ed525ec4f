"""A decoder is checked before anything of it is downloaded."""

import json
import shutil
from dataclasses import replace

import pytest

from spacy_lgu.decoder.building import check_settings
from spacy_lgu.decoder.source import Source

from ..conftest import IS_5
from ..decoder.hybrids import BY_TYPE, save_hybrid
from .conftest import failure, run


def test_fetch_checks_a_folder(decoder_folder):
    printed = run("lgu", "fetch", decoder_folder, "--unmasking", "cb", "--revision", "null")
    assert "layers 0-1 causal, layers 2-3" in " ".join(printed.split())


def test_fetch_refuses_too_many_groups(decoder_folder):
    message = failure("lgu", "fetch", decoder_folder, "--unmasking", "ccccb")
    assert "Cannot divide 4 decoder layers into 5 layer groups" in message


def test_fetch_of_the_first_layers(decoder_folder):
    printed = run("lgu", "fetch", decoder_folder, "--unmasking", "cb", "--n-layers", "3")
    assert "layers 0-1 causal, layer 2 bidirectional" in " ".join(printed.split())
    message = failure("lgu", "fetch", decoder_folder, "--n-layers", "5")
    assert "n_layers is 5, but the decoder" in message


def test_fetch_downloads_the_weights_of_a_decoder_from_the_hub(decoder_folder, monkeypatch):
    # The checks run on a folder; only its source is said to be the hub.
    def check(settings, tokenizer_config):
        checked = check_settings(settings, tokenizer_config)
        return replace(checked, source=Source("org/name", decoder_folder, "abc"))

    def download(name, file, *, revision, cache_dir):
        return str(decoder_folder / file)

    monkeypatch.setattr("spacy_lgu.decoder.building.check_settings", check)
    monkeypatch.setattr("spacy_lgu.decoder.source.hf_hub_download", download)
    assert "1 weights file(s) at commit abc" in run("lgu", "fetch", decoder_folder)


def test_fetch_checks_the_quantization(decoder_folder, tmp_path):
    shutil.copytree(decoder_folder, tmp_path / "nf4")
    file = tmp_path / "nf4" / "config.json"
    config = json.loads(file.read_text())
    stored = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    # fp4 is what transformers makes unless told otherwise.
    for kind, options in (("nf4", []), ("fp4", ["--quantization", "nf4"])):
        stored["bnb_4bit_quant_type"] = kind
        file.write_text(json.dumps({**config, "quantization_config": stored}))
        assert "already quantized" in failure("lgu", "fetch", tmp_path / "nf4", *options)
    stored["bnb_4bit_quant_type"] = "nf4"
    file.write_text(json.dumps({**config, "quantization_config": stored}))
    printed = run("lgu", "fetch", tmp_path / "nf4", "--quantization", "nf4")
    assert "is a mistral decoder" in " ".join(printed.split())


@pytest.mark.skipif(not IS_5, reason="needs decoders of transformers 5")
def test_fetch_says_which_layers_no_pattern_opens(tmp_path):
    folder = save_hybrid(tmp_path / "hybrid", BY_TYPE["lfm2"])
    printed = " ".join(run("lgu", "fetch", folder, "--unmasking", "bb").split())
    assert "lfm2 decoder; bb = layers 0, 2 recurrent (always causal), layers 1, 3 bidi" in printed
    message = failure("lgu", "fetch", folder, "--unmasking", "ccbc")
    assert "'ccbc' unmasks layer 2, none of which has a causal mask" in " ".join(message.split())
