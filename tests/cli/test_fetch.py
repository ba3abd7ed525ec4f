"""A decoder is checked before anything of it is downloaded."""

import json
import shutil
from dataclasses import replace

import pytest
from numpy.testing import assert_array_equal

from spacy_lgu.decoder.building import check_settings
from spacy_lgu.decoder.saved_with import RECORD
from spacy_lgu.decoder.source import Source

from ..conftest import IS_5, make_nlp
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


def test_fetch_stores_a_quantized_decoder(decoder_folder, tmp_path):
    stored = tmp_path / "stored"
    command = ("lgu", "fetch", decoder_folder, stored, "--quantize", "nf4", "--dtype", "float32")
    printed = " ".join(run(*command).split())
    assert "is a mistral decoder" in printed
    assert "quantized: name this folder as the decoder" in printed
    assert "holds it already, quantized" in " ".join(run(*command).split())
    run("lgu", "fetch", stored, "--quantization", "nf4", "--unmasking", "ccbb")
    expected, found = (
        make_nlp(folder, pipes=(), quantization="nf4", dtype="float32")("Ann ate")
        for folder in (decoder_folder, stored)
    )
    X, Y = (doc._.trf_data.model_output.last_hidden_state for doc in (expected, found))
    assert_array_equal(X, Y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["new"], "A folder was given ('new'), but not what to store there: give --quantize nf4"),
        (["--quantize", "nf4"], "--quantize needs a folder, after the decoder's name"),
        (["new", "--quantize", "fp4"], "--quantize is 'fp4': expected 'nf4' or 'int8'"),
        (["new", "--quantize", "nf4", "--quantization", "int8"], "'nf4': give the latter alone"),
        (["new", "--quantize", "nf4", "--dtype", "int4"], "dtype"),
        ([".", "--quantize", "nf4"], "'.' is there already and would be overwritten"),
    ],
)
def test_fetch_refuses_to_store(decoder_folder, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delattr("spacy_lgu.decoder.quantizing.load_decoder")
    assert message in failure("lgu", "fetch", decoder_folder, *options)
    assert list(tmp_path.iterdir()) == []


def test_what_fetch_stores_is_quantized(decoder_folder, tmp_path):
    for kind in ("nf4", "int8"):
        folder = tmp_path / kind
        options = ("--quantize", kind, "--dtype", "float16")
        run("lgu", "fetch", decoder_folder, folder, *options)
        config = json.loads((folder / "config.json").read_text())["quantization_config"]
        assert (config["load_in_4bit"], config["load_in_8bit"]) == (kind == "nf4", kind == "int8")
        record = json.loads((folder / RECORD).read_text())
        assert (record["quantization"], record["dtype"]) == (kind, "float16")


def test_fetch_takes_the_revision(decoder_folder, monkeypatch):
    seen = []

    def check(settings, tokenizer_config):
        seen.append(settings.revision)
        raise ValueError("no more is needed")

    monkeypatch.setattr("spacy_lgu.decoder.building.check_settings", check)
    for options in ((), ("--revision", "null"), ("--revision", "next")):
        failure("lgu", "fetch", "org/name", *options)
    assert seen == [None, None, "next"]
