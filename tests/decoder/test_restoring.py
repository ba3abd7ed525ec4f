import json
import shutil
from pathlib import Path

import pytest
import torch

from spacy_lgu.decoder.restoring import decoder_from_files
from spacy_lgu.decoder.settings import LoraSettings
from spacy_lgu.decoder.storage import decoder_to_files
from spacy_lgu.decoder.verification import verify_decoder

from .conftest import FIRST, SECOND
from .helpers import (
    CPU,
    build,
    edit_rotary_base,
    make_format_1,
    read_description_of,
    restore,
    save,
    vectors,
)


def test_gradient_checkpointing_is_set_at_load(decoder_folder, tmp_path):
    built = build(decoder_folder, gradient_checkpointing=True)
    save(built, tmp_path / "x")
    assert restore(tmp_path / "x", built).decoder.base.is_gradient_checkpointing


def test_bundle_needs_neither_base_nor_name(decoder_folder, tmp_path):
    base = Path(shutil.copytree(decoder_folder, tmp_path / "base"))
    built = build(base, quantization="nf4")
    expected = vectors(built)
    save(built, tmp_path / "x")
    shutil.rmtree(base)
    moved = (tmp_path / "x").rename(tmp_path / "y")
    assert torch.equal(vectors(restore(moved, built)), expected)


@pytest.mark.parametrize("revision", [None, FIRST])
def test_hub_reference_is_loaded_from_the_cache_at_its_commit(hub_name, tmp_path, revision):
    built = build(hub_name, revision=revision)
    save(built, tmp_path / "x")
    saved = json.loads((tmp_path / "x" / "lgu.json").read_text())
    commit = revision or SECOND
    assert saved["base"] == {"name": "org/tiny", "commit": commit, "files": None}
    config = json.loads((tmp_path / "x/adapter/adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("org/tiny", commit)
    expected = vectors(built)
    assert torch.equal(vectors(restore(tmp_path / "x", built)), expected)
    assert verify_decoder(tmp_path / "x") == []


def test_dtype_of_the_config_wins_at_load(decoder_folder, tmp_path):
    built = build(decoder_folder, dtype="bfloat16")
    save(built, tmp_path / "x")
    assert restore(tmp_path / "x", built, dtype="auto").decoder.dtype == "bfloat16"
    wide = restore(tmp_path / "x", built, dtype="float32")
    assert wide.decoder.dtype == "float32"
    assert wide.decoder.base.get_input_embeddings().weight.dtype == torch.float32
    error = (vectors(wide) - vectors(built)).norm() / vectors(built).norm()
    assert 0 < error < 0.05


def test_path_of_the_first_adapter_is_not_read_at_load(decoder_folder, tmp_path):
    save(build(decoder_folder), tmp_path / "first")
    adapter = tmp_path / "first" / "adapter"
    built = build(decoder_folder, lora=LoraSettings(dropout=0.0, path=str(adapter)))
    save(built, tmp_path / "second")
    shutil.rmtree(tmp_path / "first")
    assert torch.equal(vectors(restore(tmp_path / "second", built)), vectors(built))


def test_no_decoder(saved, tmp_path):
    with pytest.raises(ValueError, match=r"There is no decoder in .*: lgu\.json is missing"):
        restore(tmp_path, saved[0])


def test_description_that_does_not_fit_the_decoder(saved, referring):
    built, folder = saved
    make_format_1(folder, width=65)
    with pytest.raises(ValueError, match="the width is 65, but that of the decoder is 64"):
        restore(folder, built)
    built, folder, _ = referring
    make_format_1(folder, base={**read_description_of(folder)["base"], "files": None})
    with pytest.raises(ValueError, match="'base' has neither 'commit' nor 'files'"):
        restore(folder, built)


def test_file_that_the_tokenizer_would_read(saved):
    built, folder = saved
    (folder / "tokenizer" / "added_tokens.json").write_text("{}")
    with pytest.raises(ValueError, match=r"'added_tokens\.json' in .* was not saved with the deco"):
        restore(folder, built)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"unmasking": "bbcc"}, "unmasking = 'ccbb', but the config says 'bbcc'"),
        ({"quantization": "nf4"}, "quantization = 'none', but the config says 'nf4'"),
        ({"tuning": "frozen"}, "tuning = 'lora', but the config says 'frozen'"),
    ],
)
def test_config_that_differs(saved, values, message):
    built, folder = saved
    with pytest.raises(ValueError, match=f"was trained with {message}. Leave the saved config"):
        restore(folder, built, **values)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tokenizer", "is incomplete: the folder tokenizer is missing"),
        (
            "adapter",
            r"adapter/adapter_config\.json, .* are missing or not what was saved",
        ),
        ("base", r"The decoder in .*base' is incomplete: config\.json is missing"),
    ],
)
def test_missing_parts(saved, name, message):
    built, folder = saved
    shutil.rmtree(folder / name)
    with pytest.raises(ValueError, match=message):
        restore(folder, built)


def test_missing_weights_of_a_fully_trained_decoder(decoder_folder, tmp_path):
    built = build(decoder_folder, tuning="full")
    save(built, tmp_path / "x")
    (tmp_path / "x" / "weights" / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"are incomplete: model\.safetensors missing"):
        restore(tmp_path / "x", built)
    assert verify_decoder(tmp_path / "x") == ["weights/model.safetensors"]


def test_bundle_that_is_a_link_to_elsewhere(saved, tmp_path):
    built, folder = saved
    file = folder / "base" / "model.safetensors"
    file.rename(tmp_path / "model.safetensors")
    file.symlink_to(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"the file 'base/model\.safetensors' is not inside"):
        restore(folder, built)


def test_truncated_bundle(saved):
    built, folder = saved
    file = folder / "base" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"saved with: model\.safetensors differs\. Restore"):
        restore(folder, built)


def test_bundle_of_another_decoder(saved, other_decoder_folder, tmp_path):
    built, folder = saved
    other = build(other_decoder_folder, dtype="bfloat16")
    save(other, tmp_path / "other", "bundle")
    shutil.rmtree(folder / "base")
    shutil.copytree(tmp_path / "other" / "base", folder / "base")
    with pytest.raises(
        ValueError,
        match=r"not those .* saved with: config\.json, model\.safet",
    ):
        restore(folder, built)


def test_base_that_was_moved_away(referring, monkeypatch):
    built, folder, base = referring
    expected = vectors(built)
    moved = base.rename(base.with_name("moved"))
    with pytest.raises(
        ValueError, match=r"was the folder '.*base', which is not here. Put it back"
    ):
        restore(folder, built)
    moved.rename(base)
    # The folder is found from any working directory.
    monkeypatch.chdir("/")
    assert torch.equal(vectors(restore(folder, built)), expected)


def test_relative_name_of_a_base_is_found_from_elsewhere(decoder_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(decoder_folder.parent)
    built = build(f"./{decoder_folder.name}")
    save(built, tmp_path / "x", "reference")
    monkeypatch.chdir(tmp_path)
    assert torch.equal(vectors(restore(tmp_path / "x", built)), vectors(built))


def test_base_of_another_size(referring):
    built, folder, base = referring
    other = build(base, tuning="full", dtype="float32").decoder.base
    other.to(torch.bfloat16).save_pretrained(base)
    with pytest.raises(ValueError, match="an adapter is worthless on another base"):
        restore(folder, built)


def test_hub_base_that_is_not_cached(hub_name, hub_cache, tmp_path):
    built = build(hub_name)
    save(built, tmp_path / "x")
    snapshot = hub_cache / "models--org--tiny" / "snapshots" / SECOND
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(OSError, match=r"holds only an adapter and needs its base decoder 'org/tin"):
        restore(tmp_path / "x", built)
    shutil.rmtree(hub_cache / "models--org--tiny")
    with pytest.raises(OSError, match=r"cannot be read: .*base_weights = 'bundle'"):
        restore(tmp_path / "x", built)


def test_the_config_is_a_part_of_the_base(referring):
    built, folder, base = referring
    edit_rotary_base(base / "config.json", 10.0)
    assert verify_decoder(folder) == [f"{base}/config.json"]
    with pytest.raises(ValueError, match=r"are not those .*: config\.json differs"):
        restore(folder, built)


def test_saves_without_a_fingerprint_of_the_config(referring):
    built, folder, base = referring
    saved = read_description_of(folder)["base"]
    del saved["files"]["config.json"]
    make_format_1(folder, base=saved)
    edit_rotary_base(base / "config.json", 10.0)
    restore(folder, built)
    assert verify_decoder(folder) == []


def test_a_bundle_without_a_fingerprint_of_the_config_gets_one(saved, tmp_path):
    built, folder = saved
    files = read_description_of(folder)["bundle"]
    make_format_1(folder, bundle={"model.safetensors": files["model.safetensors"]})
    save(restore(folder, built), tmp_path / "again")
    assert read_description_of(tmp_path / "again")["bundle"] == files


def test_a_bundle_without_its_config(saved):
    built, folder = saved
    (folder / "base" / "config.json").unlink()
    with pytest.raises(ValueError, match=r"base' is incomplete: config\.json is missing. Copy it"):
        restore(folder, built)


def test_a_bundle_knows_its_base_from_any_directory(decoder_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(decoder_folder.parent)
    built = build(decoder_folder.name)
    save(built, tmp_path / "bundle", "bundle")
    loaded = restore(tmp_path / "bundle", built)
    save(loaded, tmp_path / "reference", "reference")
    monkeypatch.chdir("/")
    assert torch.equal(vectors(restore(tmp_path / "reference", built)), vectors(built))
    config = json.loads((tmp_path / "bundle" / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(decoder_folder.resolve())


def test_bytes_write_nowhere_else(decoder_folder):
    built = build(decoder_folder)
    with pytest.raises(ValueError, match=r"hold a file '\.\./evil', outside the decoder's"):
        decoder_from_files({"../evil": b""}, built.settings, device=CPU)


def test_decoder_from_bytes_can_be_saved(decoder_folder, tmp_path):
    built = build(decoder_folder)
    loaded = decoder_from_files(decoder_to_files(built), built.settings, device=CPU)
    save(loaded, tmp_path / "x")
    assert torch.equal(vectors(restore(tmp_path / "x", built)), vectors(built))
