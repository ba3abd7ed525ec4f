"""The first layers of a decoder alone, in files: what is read, downloaded, saved and loaded."""

import json
import shutil
from itertools import product

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

from spacy_lgu.decoder import loading, source, weights
from spacy_lgu.decoder.adapter import save_adapter
from spacy_lgu.decoder.restoring import load_decoder_folder
from spacy_lgu.decoder.settings import DecoderSettings, LoraSettings
from spacy_lgu.decoder.source import Source, find_source, read_config
from spacy_lgu.decoder.weights import check_weights, fetch_weights, weight_files

from ..conftest import make_decoder, make_tokenizer
from .conftest import FIRST
from .helpers import (
    CPU,
    IDS,
    LENGTHS,
    build,
    check,
    edit_description,
    edit_json,
    fill_cache,
    make_settings,
    read_description_of,
    save,
    vectors,
)
from .parts import PARTS, make_whole, save_whole
from .reference import BY_NAME


def restore(folder, settings):
    """A decoder as saved, read from its files."""
    loading._shared_bases.clear()
    return load_decoder_folder(folder, settings, device=CPU)


def list_layers(file) -> set[str]:
    """The layers of which a safetensors file holds weights, by its header."""
    with safe_open(file, framework="pt") as opened:
        return {n.split("layers.")[1][0] for n in opened.keys() if "layers." in n}  # noqa: SIM118


def shard_by_layer(folder) -> None:
    """A file for every layer, one for what comes before, one for what comes after."""
    tensors = load_file(folder / "model.safetensors")
    weight_map = {}
    for name in tensors:
        part = name.split("layers.")[1][0] if "layers." in name else name.split(".")[-2]
        weight_map[name] = f"model-{part}.safetensors"
    for file in set(weight_map.values()):
        part = {n: t for n, t in tensors.items() if weight_map[n] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize("damage", ["missing", "damaged"])
@pytest.mark.parametrize("base_weights", ["bundle", "reference"])
def test_files_of_other_layers_do_not_matter(copied_folder, tmp_path, damage, base_weights):
    options = {"unmasking": "cb", "n_layers": 2}
    expected = vectors(build(copied_folder, **options))
    shard_by_layer(copied_folder)
    for part in ("2", "3", "lm_head"):
        file = copied_folder / f"model-{part}.safetensors"
        file.unlink() if damage == "missing" else file.write_bytes(b"no header")
    with pytest.raises(ValueError, match=r"incomplete|is damaged"):
        check(copied_folder)
    loading._shared_bases.clear()
    built = build(copied_folder, **options)
    assert_close(vectors(built), expected)
    names = {"config.json"} | {f"model-{p}.safetensors" for p in ("0", "1", "embed_tokens", "norm")}
    assert built.base.files.keys() == names
    save(built, tmp_path / "saved", base_weights)
    assert_close(vectors(restore(tmp_path / "saved", built.settings)), expected)


def test_only_needed_files_are_downloaded(copied_folder, tmp_path, monkeypatch):
    shard_by_layer(copied_folder)
    cache, asked = tmp_path / "cache", []
    cache.mkdir()
    shutil.copy(copied_folder / "config.json", cache)

    def download(name, file, *, revision, cache_dir):
        asked.append(file)
        return shutil.copy(copied_folder / file, cache / file)

    names = [file.name for file in copied_folder.iterdir()]
    monkeypatch.setattr(source, "hf_hub_download", download)
    monkeypatch.setattr(weights.HfApi, "list_repo_files", lambda *args, **kwargs: names)
    found = Source("org/x", cache, FIRST, 1)
    assert len(fetch_weights(found)) == 3
    index = "model.safetensors.index.json"
    expected = [f"model-{part}.safetensors" for part in ("0", "embed_tokens", "norm")]
    assert sorted(asked) == [*expected, index]
    assert check_weights(found, read_config(found)) == "model."


def test_a_decoder_from_the_hub(hub_cache, copied_folder, tmp_path):
    shard_by_layer(copied_folder)
    (copied_folder / "model-3.safetensors").unlink()
    fill_cache(hub_cache, "org/x", {FIRST: copied_folder})
    built = build("org/x", unmasking="cb", n_layers=3)
    save(built, tmp_path / "saved")
    assert not (tmp_path / "saved" / "base").exists()
    restored = restore(tmp_path / "saved", built.settings)
    assert torch.equal(vectors(restored), vectors(built))


@pytest.mark.parametrize("name", PARTS)
def test_the_first_layers_of_a_part(name, tmp_path):
    """Of a model that reads more than text, whose other towers have layers as well."""
    # Gemma 4 always ends with full attention.
    kinds = {"layer_types": ["sliding_attention", "full_attention"] * 2}
    whole_model = make_whole(name, **(kinds if name == "gemma4" else {}))
    folder = save_whole(whole_model, tmp_path / "whole", shard_size="20KB")
    whole = build(folder, tuning="frozen")
    expected = whole.decoder.under("cb", 2).predict(IDS, LENGTHS, 1000)
    files = {file.name for file in weight_files(folder)}
    used = {file.name for file in weight_files(folder, n_layers=2)}
    assert used < files
    for file in files - used:
        (folder / file).unlink()
    loading._shared_bases.clear()
    built = build(folder, unmasking="cb", n_layers=2, tuning="frozen")
    assert_close(vectors(built), expected)
    save(built, tmp_path / "saved", "bundle")
    assert torch.equal(vectors(restore(tmp_path / "saved", built.settings)), vectors(built))


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_the_first_layers_of_a_decoder_saved_quantized(decoder_folder, tmp_path, quantization):
    options = {"quantization": quantization, "tuning": "frozen"}
    whole = build(decoder_folder, **options)
    save(whole, tmp_path / "x", "bundle")
    folder = tmp_path / "x" / "base"
    shutil.copytree(tmp_path / "x" / "tokenizer", folder, dirs_exist_ok=True)
    loading._shared_bases.clear()
    built = build(folder, unmasking="cb", n_layers=2, **options)
    assert_close(vectors(built), whole.decoder.under("cb", 2).predict(IDS, LENGTHS, 1000))


@pytest.mark.parametrize("name", ["mixtral", "deepseek_v3", "qwen3_moe"])
def test_the_first_layers_of_a_mixture(name, tmp_path):
    """Whose experts transformers 5 joins while it reads them."""
    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    config = BY_NAME[name].config(vocab_size=len(tokenizer), max_position_embeddings=64)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "x")
    tokenizer.save_pretrained(tmp_path / "x")
    options = {"tuning": "frozen"}
    whole = build(tmp_path / "x", **options)
    built = build(tmp_path / "x", unmasking="cb", n_layers=2, **options)
    assert_close(vectors(built), whole.decoder.under("cb", 2).predict(IDS, LENGTHS, 1000))
    save(built, tmp_path / "saved", "bundle")
    assert list_layers(tmp_path / "saved" / "base" / "model.safetensors") == {"0", "1"}
    assert_close(vectors(restore(tmp_path / "saved", built.settings)), vectors(built))


def test_weights_of_more_layers_than_the_config_says_are_still_refused(copied_folder):
    edit_json(copied_folder / "config.json", num_hidden_layers=3)
    with pytest.raises(ValueError, match=r"holds more than the config says, with .*layers\.3"):
        check(copied_folder, unmasking="cb", n_layers=2)


@pytest.mark.parametrize(
    ("tuning", "quantization"),
    [*product(["lora", "frozen"], ["none", "nf4", "int8"]), ("full", "none")],
)
def test_saves_hold_the_layers_that_are_used_and_load_equal(
    decoder_folder, tmp_path, tuning, quantization
):
    built = build(
        decoder_folder, unmasking="cb", n_layers=3, tuning=tuning, quantization=quantization
    )
    save(built, tmp_path / "x", "bundle")
    part = tmp_path / "x" / ("weights" if tuning == "full" else "base")
    (file,) = weight_files(part)
    assert list_layers(file) == {"0", "1", "2"}
    assert json.loads((part / "config.json").read_text())["num_hidden_layers"] == 3
    if tuning == "lora":
        assert list_layers(tmp_path / "x" / "adapter" / "adapter_model.safetensors") <= {*"012"}
    assert read_description_of(tmp_path / "x")["n_layers"] == 3
    restored = restore(tmp_path / "x", built.settings)
    assert torch.equal(vectors(restored), vectors(built))
    assert restored.describe() == built.describe()
    save(restored, tmp_path / "y", "bundle")
    assert read_description_of(tmp_path / "y")["n_layers"] == 3


def test_saves_of_before_have_all_layers(saved):
    built, folder = saved
    description = read_description_of(folder)
    assert (description["n_layers"], description["repeat"]) == (None, 0)
    values = {k: v for k, v in description.items() if k not in ("n_layers", "repeat", "checksum")}
    (folder / "lgu.json").write_text(json.dumps(values))
    edit_description(folder)
    restored = restore(folder, built.settings)
    assert torch.equal(vectors(restored), vectors(built))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_layers": 3}, r"was trained with n_layers = 2, but the config says 3"),
        ({"n_layers": None}, r"was trained with n_layers = 2, but the config says None"),
        ({"repeat": 1}, r"was trained with repeat = 0, but the config says 1"),
    ],
)
def test_settings_other_than_those_saved(decoder_folder, tmp_path, values, message):
    built = build(decoder_folder, unmasking="cb", n_layers=2)
    save(built, tmp_path / "x")
    settings = make_settings(decoder_folder, unmasking="cb", **{"n_layers": 2, **values})
    with pytest.raises(ValueError, match=message):
        restore(tmp_path / "x", settings)


def test_a_description_of_another_depth_than_its_base(decoder_folder, tmp_path):
    built = build(decoder_folder, unmasking="cb", n_layers=2)
    save(built, tmp_path / "x")
    edit_description(tmp_path / "x", n_layers=3)
    settings = make_settings(decoder_folder, unmasking="cb", n_layers=3)
    with pytest.raises(ValueError, match="'n_layers' is 3, but the decoder in base has 2 layers"):
        restore(tmp_path / "x", settings)


@pytest.mark.parametrize(("trained", "used"), [(2, 3), (3, 2), (3, None), (None, 3)])
def test_an_adapter_of_another_depth(decoder_folder, tmp_path, trained, used):
    folder = tmp_path / "adapter"
    built = build(decoder_folder, unmasking="cb", n_layers=trained)
    save_adapter(built.decoder.adapter, folder)
    lora = LoraSettings(rank=2, dropout=0.0, path=str(folder))
    message = f"does not fit this decoder: .* It was trained on {trained or 4} layers: use it with"
    with pytest.raises(ValueError, match=message):
        check(decoder_folder, unmasking="cb", n_layers=used, lora=lora)
    same = check(decoder_folder, unmasking="cb", n_layers=trained, lora=lora)
    assert same.config.num_hidden_layers == (trained or 4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_layers": 0}, "n_layers is 0: expected a whole number from 1, or null for all"),
        ({"n_layers": -1}, "n_layers is -1: expected"),
        ({"n_layers": True}, "n_layers is True: expected"),
        ({"n_layers": 2}, "Cannot divide 2 decoder layers into 4 layer groups"),
        ({"repeat": -1}, "repeat is -1: expected a whole number from 0, which runs each sequence"),
        ({"repeat": 1.5}, r"repeat is 1\.5: expected"),
    ],
)
def test_values_that_no_decoder_has(values, message):
    with pytest.raises(ValueError, match=message):
        DecoderSettings(name="org/x", unmasking="ccbb", **values)


def test_more_layers_than_the_decoder_has(decoder_folder, no_weights):
    with pytest.raises(ValueError, match=r"n_layers is 5, but the decoder '.*' has 4 layers"):
        check(decoder_folder, n_layers=5)


def test_all_layers_by_number(decoder_folder, tmp_path):
    built = build(decoder_folder, n_layers=4)
    assert built.shared is build(decoder_folder).shared
    save(built, tmp_path / "x")
    assert torch.equal(vectors(restore(tmp_path / "x", built.settings)), vectors(built))


def test_a_deep_decoder(tmp_path):
    """Layers of two digits."""
    folder = make_decoder(tmp_path, n_layers=12)
    short = build(folder, unmasking="cb", n_layers=2, tuning="frozen")
    expected = build(folder, unmasking="cb", tuning="frozen").decoder.under("cb", 2)
    assert_close(vectors(short), expected.predict(IDS, LENGTHS, 1000))
    assert find_source(str(folder), n_layers=2).n_layers == 2
