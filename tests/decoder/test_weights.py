import json
import shutil

import pytest
from huggingface_hub import constants

from spacy_lgu.decoder import source, weights
from spacy_lgu.decoder.source import Source, find_source, read_config
from spacy_lgu.decoder.weights import check_weights, fetch_weights, weight_files

from .conftest import FIRST
from .helpers import check, fill_cache, shard


@pytest.mark.parametrize("n_bytes", [4, 100, -8])
def test_truncated_weights(copied_folder, no_weights, n_bytes):
    file = copied_folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:n_bytes])
    with pytest.raises(ValueError, match=r"model\.safetensors' \(.* bytes\) is damaged or incompl"):
        check(copied_folder)


def test_corrupt_header(copied_folder, no_weights):
    file = copied_folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[8:40] = b"?" * 32
    file.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"is damaged or incomplete: .*Copy or download it again"):
        check(copied_folder)


def test_missing_shard(copied_folder, no_weights):
    shard(copied_folder)
    check(copied_folder)
    (copied_folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ValueError, match=r"incomplete: model-00002-of-00002.safetensors missing"):
        check(copied_folder)


def test_an_index_that_an_earlier_save_left(copied_folder, no_weights):
    index = {"weight_map": {"norm.weight": "model-00001-of-00002.safetensors"}}
    (copied_folder / "model.safetensors.index.json").write_text(json.dumps(index))
    check(copied_folder)
    assert [file.name for file in weight_files(copied_folder)] == ["model.safetensors"]


def test_local_folder_with_bin_weights_only(copied_folder, no_weights):
    (copied_folder / "model.safetensors").rename(copied_folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"model\.safetensors missing.*convert older \.bin files"):
        check(copied_folder)


def test_cached_repository_with_bin_weights_only(hub_cache, copied_folder, no_weights):
    (copied_folder / "model.safetensors").rename(copied_folder / "pytorch_model.bin")
    fill_cache(hub_cache, "org/x", {FIRST: copied_folder})
    with pytest.raises(OSError, match=f"no safetensors weights of the decoder 'org/x' at.*{FIRST}"):
        check("org/x")


def test_repository_with_bin_weights_only(hub_cache, copied_folder, no_weights, monkeypatch):
    (copied_folder / "model.safetensors").unlink()
    fill_cache(hub_cache, "org/x", {FIRST: copied_folder})
    found = find_source("org/x")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    names = ["config.json", "pytorch_model.bin"]
    monkeypatch.setattr(weights.HfApi, "list_repo_files", lambda *args, **kwargs: names)
    with pytest.raises(ValueError, match="'org/x' has no safetensors weights, only other formats"):
        check_weights(found, read_config(found))
    names.append("model.safetensors")
    check_weights(found, read_config(found))


def test_a_hub_that_does_not_answer(hub_cache, copied_folder, no_weights, monkeypatch):
    (copied_folder / "model.safetensors").unlink()
    fill_cache(hub_cache, "org/x", {FIRST: copied_folder})
    found = find_source("org/x")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def fail(*args, **kwargs):
        raise source.NO_ANSWER("no route to host")

    monkeypatch.setattr(weights.HfApi, "list_repo_files", fail)
    message = r"'org/x' are not in the hub's cache, and .* does not answer \(no route to host\)"
    with pytest.raises(OSError, match=message):
        check_weights(found, read_config(found))


@pytest.mark.parametrize("is_sharded", [False, True])
def test_what_is_loaded_is_downloaded_and_no_more(copied_folder, tmp_path, monkeypatch, is_sharded):
    if is_sharded:
        shard(copied_folder)
    cache, asked = tmp_path / "cache", set()
    cache.mkdir()
    shutil.copy(copied_folder / "config.json", cache)
    names = [*(file.name for file in copied_folder.iterdir()), "pytorch_model.bin"]

    def download(name, file, *, revision, cache_dir):
        assert (name, revision) == ("org/x", FIRST)
        asked.add(file)
        return shutil.copy(copied_folder / file, cache / file)

    monkeypatch.setattr(source, "hf_hub_download", download)
    monkeypatch.setattr(weights.HfApi, "list_repo_files", lambda *args, **kwargs: names)
    files = fetch_weights(Source("org/x", cache, FIRST))
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    expected = shards if is_sharded else ["model.safetensors"]
    assert files == [cache / name for name in expected]
    index = {"model.safetensors.index.json"} if is_sharded else set()
    assert asked == {*expected} | index


def test_cached_repository_with_damaged_or_missing_shards(
    hub_cache, copied_folder, no_weights, monkeypatch
):
    shard(copied_folder)
    fill_cache(hub_cache, "org/x", {FIRST: copied_folder})
    check("org/x")
    file = hub_cache / f"models--org--x/snapshots/{FIRST}/model-00001-of-00002.safetensors"
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"model-00001-of-00002.safetensors' .* is damaged"):
        check("org/x")
    file.unlink()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    found = find_source("org/x", FIRST)
    check_weights(found, read_config(found))  # will be downloaded
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match=r"lacks model-00001-of-00002.safetensors of the decoder"):
        check("org/x")


def test_weights_are_checked_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"incomplete: model\.safetensors missing"):
        weight_files(tmp_path)


def test_an_adapter_beside_the_weights_is_refused(copied_folder):
    (copied_folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"adapter_config\.json beside the weights .*lora\.path"):
        check(copied_folder)


def test_weights_in_folders_are_refused(copied_folder, no_weights):
    weights = copied_folder / "model.safetensors"
    (copied_folder / "a").mkdir()
    weights.rename(copied_folder / "a" / weights.name)
    index = copied_folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"norm.weight": "a/model.safetensors"}}))
    with pytest.raises(ValueError, match=r"names weights in a folder, 'a/model\.safetensors'"):
        check(copied_folder)


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        (None, "expected an object in 'weight_map', but found null"),
        ([1], r"expected an object in 'weight_map', but found \[1\]"),
        ({"a": 3}, "expected a string in 'a', but found 3"),
        ({"a": "../other/model.safetensors"}, "'../other/model.safetensors' is not inside"),
        ({"a": "/etc/hostname"}, "'/etc/hostname' is not inside"),
        ({"a": "linked.safetensors"}, "'linked.safetensors' is not inside"),
    ],
)
def test_damaged_index(copied_folder, tmp_path, weight_map, message):
    (copied_folder / "model.safetensors").rename(tmp_path / "model.safetensors")
    (copied_folder / "linked.safetensors").symlink_to(tmp_path / "model.safetensors")
    index = copied_folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(ValueError, match=rf"index\.json' is damaged: .*{message}"):
        check(copied_folder)
    assert (tmp_path / "model.safetensors").is_file()
