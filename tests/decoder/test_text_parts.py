"""The decoder in a model that reads more than text: its weights alone, and the same vectors."""

import json
import shutil

import numpy
import pytest
import torch
from huggingface_hub import constants
from torch.testing import assert_close
from transformers import AutoModel

from spacy_lgu.decoder import source, weights
from spacy_lgu.decoder.config import make_config
from spacy_lgu.decoder.loading import load_decoder
from spacy_lgu.decoder.local import read_decoder
from spacy_lgu.decoder.source import find_source, read_config
from spacy_lgu.decoder.verification import verify_decoder
from spacy_lgu.decoder.versions import config_dtype
from spacy_lgu.decoder.weights import check_weights, fetch_weights, weight_files
from spacy_lgu.inspection.decoders import find_problem
from spacy_lgu.pretraining.head import check_head, load_head

from ..conftest import IS_5
from .conftest import FIRST
from .helpers import CPU, IDS, LENGTHS, build, check, edit_json, fill_cache, restore, save, vectors
from .parts import PARTS, decoder_of, files_of_sight, make_whole, save_whole

INDEX = "model.safetensors.index.json"


@pytest.fixture
def whole():
    return make_whole("gemma3")


@pytest.fixture
def folder(whole, tmp_path):
    """A sharded save of it."""
    return save_whole(whole, tmp_path / "whole", shard_size="20KB")


@pytest.mark.parametrize("size", ["5GB", "20KB"])
@pytest.mark.parametrize("name", PARTS)
def test_weights_and_vectors_are_those_of_the_whole(name, size, tmp_path):
    whole = make_whole(name)
    folder = save_whole(whole, tmp_path / "whole", shard_size=size)
    built = build(folder, unmasking="cccc", tuning="frozen")
    expected, found = decoder_of(whole).state_dict(), built.decoder.base.state_dict()
    assert list(found) == list(expected)
    assert [n for n, value in expected.items() if not torch.equal(found[n], value)] == []
    Ys = vectors(built).split(LENGTHS.tolist())
    for sequence, Y in zip(numpy.split(IDS, numpy.cumsum(LENGTHS)[:-1]), Ys, strict=True):
        ids = torch.from_numpy(sequence)[None]
        with torch.no_grad():
            Y_whole = whole.model(input_ids=ids, attention_mask=torch.ones_like(ids))
        assert_close(Y, Y_whole.last_hidden_state[0], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_unmasked_and_trained_as_any_decoder(name, tmp_path):
    folder = save_whole(make_whole(name), tmp_path / "whole")
    causal, built = build(folder, unmasking="cccc"), build(folder, unmasking="ccbb")
    assert not torch.allclose(vectors(causal), vectors(built), atol=1e-3)
    save(built, tmp_path / "saved", "bundle")
    shutil.rmtree(folder)
    assert torch.equal(vectors(restore(tmp_path / "saved", built)), vectors(built))


def test_the_config_is_that_of_the_part(folder):
    config = read_config(find_source(str(folder)))
    assert (config.model_type, config.hidden_size, config.num_hidden_layers) == (
        "gemma3_text",
        32,
        4,
    )
    assert read_decoder(str(folder)).shape.n_parameters == sum(
        p.numel() for p in AutoModel.from_config(config).parameters()
    )


def test_what_a_config_says_of_the_whole_holds_for_the_part(folder):
    name = "dtype" if IS_5 else "torch_dtype"
    edit_json(folder / "config.json", tie_word_embeddings=False, **{name: "bfloat16"})
    config = json.loads((folder / "config.json").read_text())
    for field in ("dtype", "torch_dtype", "tie_word_embeddings"):
        config["text_config"].pop(field, None)
    edit_json(folder / "config.json", text_config=config["text_config"])
    found = make_config(folder / "config.json")
    assert not found.tie_word_embeddings
    assert config_dtype(found) == torch.bfloat16
    edit_json(folder / "config.json", quantization_config={"quant_method": "fp8"})
    with pytest.raises(ValueError, match=r"already quantized \(fp8\)"):
        check(folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden_size": "64"}, "a number above 0 in 'text_config.hidden_size', but found '64'"),
        ({"rope_scaling": 5}, "object or null in 'text_config.rope_scaling', but found 5"),
        ({"architectures": 5}, "list of strings in 'text_config.architectures', but found 5"),
        ({"model_type": 5}, "expected a string or null in 'model_type', but found 5"),
        ({"model_type": "llama"}, "'text_config.model_type' is 'llama', but .* as 'gemma3_text'"),
        ({"num_hidden_layers": 10**9}, "'text_config.num_hidden_layers' is 1000000000, over 1,000"),
    ],
)
def test_values_of_the_part_that_are_wrong(folder, values, message):
    text = json.loads((folder / "config.json").read_text())["text_config"]
    edit_json(folder / "config.json", text_config={**text, **values})
    with pytest.raises(ValueError, match=rf"config\.json'.*{message}"):
        make_config(folder / "config.json")


@pytest.mark.parametrize("part", [5, [], "gemma3_text"])
def test_a_part_that_is_no_object(folder, part):
    edit_json(folder / "config.json", text_config=part)
    with pytest.raises(ValueError, match="expected an object or null in 'text_config'"):
        make_config(folder / "config.json")


def test_a_part_that_names_other_files(folder):
    text = json.loads((folder / "config.json").read_text())["text_config"]
    edit_json(folder / "config.json", text_config={**text, "transformers_weights": "a"})
    with pytest.raises(ValueError, match=r"text_config\.transformers_weights is 'a', but config"):
        make_config(folder / "config.json")


# Files that hold no weight of the decoder


@pytest.mark.parametrize("how", ["absent", "damaged"])
def test_files_of_the_vision_tower_do_not_matter(folder, whole, how):
    sight = files_of_sight(folder, whole)
    assert len(sight) > 0
    for file in sight:
        file.unlink()
        if how == "damaged":
            file.write_bytes(b"?" * 100)
    assert find_problem(read_decoder(str(folder))) is None
    built = build(folder, tuning="frozen")
    for name, value in decoder_of(whole).state_dict().items():
        assert torch.equal(built.decoder.base.state_dict()[name], value), name
    assert not {file.name for file in sight} & built.base.files.keys()
    assert len(built.base.files) == len(weight_files(folder)) + 1  # the config


def test_files_of_the_decoder_do(folder, whole):
    own = weight_files(folder)
    assert len(own) == len(list(folder.glob("*.safetensors"))) - len(files_of_sight(folder, whole))
    own[0].unlink()
    with pytest.raises(ValueError, match=rf"incomplete: {own[0].name} missing"):
        check(folder)


def test_missing_weights_of_the_part_are_named(folder):
    index = json.loads((folder / INDEX).read_text())
    names = [name for name in index["weight_map"] if ".layers.3." in name and "vision" not in name]
    assert len(names) == 13
    for name in names:
        del index["weight_map"][name]
    edit_json(folder / INDEX, **index)
    files = {index["weight_map"][n] for n in index["weight_map"]}
    for file in weight_files(folder):
        if file.name not in files:
            file.unlink()
    with pytest.raises(ValueError, match=r"does not hold \d+ of 54 weights: .*layers\.3\."):
        check(folder)


def test_only_files_of_the_decoder_are_downloaded(folder, whole, hub_cache, monkeypatch):
    """The config is in the cache; the rest is on the hub."""
    online = shutil.copytree(folder, folder.with_name("online"))
    for file in [*folder.glob("*.safetensors"), folder / INDEX]:
        file.unlink()
    fill_cache(hub_cache, "org/x", {FIRST: folder})
    snapshot = hub_cache / f"models--org--x/snapshots/{FIRST}"
    asked = []

    def download(name, file, *, revision, cache_dir):
        assert (name, revision) == ("org/x", FIRST)
        if not (snapshot / file).exists():
            asked.append(file)
            shutil.copy(online / file, snapshot / file)
        return snapshot / file

    found = find_source("org/x", FIRST)
    config = read_config(found)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(source, "hf_hub_download", download)
    names = [file.name for file in online.iterdir()]
    monkeypatch.setattr(weights.HfApi, "list_repo_files", lambda *args, **kwargs: names)
    assert check_weights(found, config) is None
    files = [file.name for file in fetch_weights(found)]
    assert asked == [INDEX, *files]
    sight = {file.name for file in files_of_sight(online, whole)}
    assert {*files} | sight == {file.name for file in online.glob("*.safetensors")}
    assert not {*files} & sight
    assert check_weights(found, config) == "language_model.model."
    loaded = load_decoder(found, config, dtype="float32", quantization="none", device=CPU)
    assert torch.equal(loaded.norm.weight, decoder_of(whole).norm.weight)


# Saves


def test_full_tuning_saves_the_decoder_alone(folder, tmp_path):
    built = build(folder, tuning="full")
    save(built, tmp_path / "saved")
    saved = json.loads((tmp_path / "saved/weights/config.json").read_text())
    assert saved["model_type"] == "gemma3_text"
    assert "vision_config" not in saved
    found = restore(tmp_path / "saved", built)
    assert torch.equal(vectors(found), vectors(built))
    if IS_5:  # 4.53 knows no prefix of Gemma 3, and would find nothing by itself either way
        alone = AutoModel.from_pretrained(tmp_path / "saved/weights")
        assert torch.equal(alone.norm.weight, built.decoder.base.norm.weight)


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_a_quantized_bundle_holds_the_decoder_alone(folder, quantization, tmp_path):
    built = build(folder, quantization=quantization)
    save(built, tmp_path / "saved", "bundle")
    shutil.rmtree(folder)
    found = restore(tmp_path / "saved", built)
    assert torch.equal(vectors(found), vectors(built))
    total = sum(f.stat().st_size for f in (tmp_path / "saved/base").glob("*.safetensors"))
    assert total < 150_000


def test_a_reference_is_to_the_whole_on_the_hub(folder, hub_cache, tmp_path):
    fill_cache(hub_cache, "org/whole", {FIRST: folder})
    built = build("org/whole")
    save(built, tmp_path / "saved", "reference")
    assert not (tmp_path / "saved/base").exists()
    found = restore(tmp_path / "saved", built)
    assert found.base.identity == f"org/whole@{FIRST}"
    assert torch.equal(vectors(found), vectors(built))


def test_a_reference_to_a_folder_covers_files_of_the_decoder(folder, whole, tmp_path):
    built = build(folder)
    save(built, tmp_path / "saved", "reference")
    for file in files_of_sight(folder, whole):
        file.unlink()
    assert verify_decoder(tmp_path / "saved") == []
    assert torch.equal(vectors(restore(tmp_path / "saved", built)), vectors(built))
    own = weight_files(folder)[0]
    own.write_bytes(own.read_bytes()[:-1] + b"?")
    assert verify_decoder(tmp_path / "saved") == [f"{folder}/{own.name}"]


# Adaptation


@pytest.mark.parametrize("name", ["llava", "mistral3", "smolvlm", "internvl", "gemma3"])
def test_the_head_beside_the_part(name, tmp_path):
    whole = make_whole(name)
    folder = save_whole(whole, tmp_path / "whole", shard_size="20KB")
    built = build(folder, unmasking="cccc", tuning="frozen")
    check_head(built.decoder.base.config)
    ids = torch.tensor([[20, 25, 29]])
    with torch.no_grad():
        expected = whole(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
    head = load_head(built.decoder.base, find_source(str(folder)))
    Y = built.decoder.predict(ids[0].numpy(), numpy.array([3]), 10)
    assert_close(Y @ head.T, expected, atol=1e-4, rtol=1e-4)
