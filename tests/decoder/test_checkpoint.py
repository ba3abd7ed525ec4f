"""Every weight comes from the file, whatever family saved it and however."""

import os
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModel, AutoModelForCausalLM

from spacy_lgu.decoder.checkpoint import Expected, StoredTensor, match_weights, read_headers, staged
from spacy_lgu.decoder.experts import Stored
from spacy_lgu.decoder.loading import load_decoder
from spacy_lgu.decoder.source import find_source, read_config

from ..conftest import IS_5, make_tokenizer
from .helpers import CPU, check
from .reference import BY_NAME
from .reference_families import FAMILIES

EXPECTED = {"embed.weight": (4, 2), "layers.0.up.weight": (2, 2), "norm.weight": (2,)}
STORED = Stored([EXPECTED], linear=frozenset({"layers.0.up.weight"}))


def stored(prefix: str = "", **changed: StoredTensor) -> dict[str, StoredTensor]:
    """The headers of a checkpoint that holds what is expected."""
    tensors = {prefix + n: StoredTensor("x", "F32", shape) for n, shape in EXPECTED.items()}
    return {**tensors, **{name.replace("__", "."): tensor for name, tensor in changed.items()}}


HEAD = StoredTensor("x", "F32", (4, 2))


@pytest.mark.parametrize("prefix", ["", "model.", "transformer.", "language_model.model."])
def test_prefix_is_what_the_names_say(prefix):
    tensors = {**stored(prefix), "lm_head.weight": HEAD, "score.bias": HEAD}
    assert match_weights(tensors, Expected(STORED), where="here") == prefix


@pytest.mark.parametrize("name", list(EXPECTED))
def test_missing_weight(name):
    tensors = stored("model.")
    del tensors[f"model.{name}"]
    with pytest.raises(ValueError, match=f"'here' does not hold 1 of 3 weights: model.{name}. Exp"):
        match_weights(tensors, Expected(STORED), where="here")


def test_nothing_that_is_expected():
    with pytest.raises(ValueError, match=r"does not hold 3 of 3 weights: embed\.weight, layers"):
        match_weights({"lm_head.weight": HEAD}, Expected(STORED), where="here")


def test_more_layers_than_the_config_says():
    tensors = {**stored("model."), "model.layers.1.up.weight": HEAD}
    with pytest.raises(ValueError, match=r"than the config says, with 1 of 4.*model\.layers\.1\.u"):
        match_weights(tensors, Expected(STORED), where="here")


def test_bias_that_the_config_does_not_have():
    tensors = {**stored(), "layers.0.up.bias": HEAD}
    with pytest.raises(ValueError, match=r"more than the config says, with .*layers\.0\.up\.bias"):
        match_weights(tensors, Expected(STORED), where="here")


def test_another_shape():
    tensors = stored(**{"norm__weight": StoredTensor("x", "F32", (3,))})
    with pytest.raises(ValueError, match=r"norm\.weight of shape \[3\] \(F32\) instead of \[2\]"):
        match_weights(tensors, Expected(STORED), where="here")


def test_float8_needs_transformers_5():
    tensors = stored(**{"layers__0__up__weight": StoredTensor("x", "F8_E4M3", (2, 2))})
    if IS_5:
        assert match_weights(tensors, Expected(STORED), where="here") == ""
        return
    with pytest.raises(ValueError, match=r"'here' holds weights in float8, which the installed"):
        match_weights(tensors, Expected(STORED), where="here")


def test_whole_numbers_without_their_scale():
    tensors = stored(**{"layers__0__up__weight": StoredTensor("x", "I8", (2, 2))})
    with pytest.raises(ValueError, match=r"layers\.0\.up\.weight of shape \[2, 2\] \(I8\)"):
        match_weights(tensors, Expected(STORED), where="here")
    tensors["layers.0.up.SCB"] = StoredTensor("x", "F32", (2,))
    assert match_weights(tensors, Expected(STORED), where="here") == ""


def test_four_bits():
    tensors = stored(**{"layers__0__up__weight": StoredTensor("x", "U8", (2, 1))})
    for state in ("absmax", "quant_map", "quant_state.bitsandbytes__nf4"):
        tensors[f"layers.0.up.weight.{state}"] = StoredTensor("x", "U8", (9,))
    assert match_weights(tensors, Expected(STORED), where="here") == ""
    tensors["layers.0.up.weight"] = StoredTensor("x", "U8", (3, 1))
    with pytest.raises(ValueError, match=r"layers\.0\.up\.weight of shape \[3, 1\] \(U8\)"):
        match_weights(tensors, Expected(STORED), where="here")


def test_two_decoders_in_one_checkpoint():
    tensors = {**stored("model."), **stored("draft.")}
    with pytest.raises(ValueError, match=r"2 decoders, under the prefixes \['draft\.', 'model\.'"):
        match_weights(tensors, Expected(STORED), where="here")


def test_constants_of_older_versions_are_no_weights():
    tensors = {**stored(), "layers.0.rotary_emb.inv_freq": HEAD, "layers.0.attention.bias": HEAD}
    assert match_weights(tensors, Expected(STORED), where="here") == ""


def test_a_weight_in_two_files(tmp_path):
    for name in ("a", "b"):
        save_file({"w": torch.zeros(2)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(ValueError, match=r"'w' is in 'a\.safetensors' and in '.*b\.safetensors'"):
        read_headers(sorted(tmp_path.iterdir()))


@pytest.mark.parametrize("has_links", [True, False])
def test_staged_files_and_nothing_else(tmp_path, monkeypatch, has_links):
    def refuse(*args):
        raise OSError("A required privilege is not held by the client")

    if not has_links:
        monkeypatch.setattr(os, "symlink", refuse)
    for name in ("model.safetensors", "adapter_config.json"):
        (tmp_path / name).write_text(name)
    with staged([tmp_path / "model.safetensors"]) as folder:
        assert {file.name: file.read_text() for file in folder.iterdir()} == {
            "model.safetensors": "model.safetensors"
        }
    assert not folder.exists()
    assert (tmp_path / "model.safetensors").is_file()


def test_files_of_one_name_do_not_overwrite_each_other(tmp_path):
    files = [tmp_path / name / "model.safetensors" for name in "ab"]
    for file in files:
        file.parent.mkdir()
        file.write_text(file.parent.name)
    with pytest.raises(FileExistsError), staged(files):
        pass
    assert [file.read_text() for file in files] == ["a", "b"]


# Families

# A file holds every expert by itself, and transformers 5 joins them.
JOINED = (
    "deepseek_v3", "glm4_moe", "glm4_moe_lite", "mimo_v2_flash", "mixtral",
    "qwen3_moe",
)  # fmt: skip
LOADED = [
    family.name
    for family in FAMILIES
    if not family.name.endswith("-sliding") and not (IS_5 and family.name in JOINED)
]


def make_checkpoint(family: str, folder: Path) -> torch.nn.Module:
    """A small causal LM of a family with its tokenizer. RETURNS (Module): Its decoder."""
    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    config = BY_NAME[family].config(vocab_size=len(tokenizer), pad_token_id=0)
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return next(child for child in model.children() if hasattr(child, "layers"))


def load(folder: Path, quantization: str = "none") -> torch.nn.Module:
    source = find_source(str(folder))
    config = read_config(source)
    return load_decoder(source, config, dtype="float32", quantization=quantization, device=CPU)


# 4.53 reads an attribute of its own that it warns about.
@pytest.mark.filterwarnings("ignore:The `sliding_window_pattern` attribute:FutureWarning")
@pytest.mark.parametrize("how", ["causal", "base", "sharded"])
@pytest.mark.parametrize("family", LOADED)
def test_loaded_weights_are_those_of_the_file(family, how, tmp_path):
    decoder = make_checkpoint(family, tmp_path)
    if how != "causal":
        (tmp_path / "model.safetensors").unlink()
        decoder.save_pretrained(tmp_path, max_shard_size="20KB" if how == "sharded" else "5GB")
    assert (tmp_path / "model.safetensors.index.json").exists() == (how == "sharded")
    check(tmp_path)
    loaded = load(tmp_path)
    expected, found = decoder.state_dict(), loaded.state_dict()
    assert list(found) == list(expected)
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
@pytest.mark.parametrize("family", ["mistral", "gemma3", "gpt_neox"])
def test_quantized_saves_hold_every_weight(family, quantization, tmp_path):
    make_checkpoint(family, tmp_path / "x")
    first = load(tmp_path / "x", quantization)
    first.save_pretrained(tmp_path / "y")
    second = load(tmp_path / "y", quantization)
    expected, found = first.state_dict(), second.state_dict()
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name] is value or torch.equal(torch.as_tensor(found[name]), value), name


def test_weights_that_transformers_loses_are_an_error(decoder_folder, monkeypatch):
    monkeypatch.setattr(transformers.MistralModel, "base_model_prefix", "decoder")
    from_pretrained = AutoModel.from_pretrained

    def load_without_mapping(*args, key_mapping, **kwargs):
        return from_pretrained(*args, **kwargs)

    monkeypatch.setattr(AutoModel, "from_pretrained", load_without_mapping)
    with pytest.raises(ValueError, match=r"did not load 38 weights of .*at random: embed_tok"):
        load(decoder_folder)
