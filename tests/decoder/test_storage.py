import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from spacy_lgu.decoder import loading, storage
from spacy_lgu.decoder.settings import LoraSettings
from spacy_lgu.decoder.storage import (
    decoder_from_files,
    decoder_to_files,
    load_decoder_folder,
    record_decoder,
    resolve_base_weights,
    save_decoder,
    verify_decoder,
)
from spacy_lgu.replacing import finished_folder

from .conftest import FIRST, SECOND
from .helpers import CPU, build, gradients, make_settings, shake, vectors


def save(built, folder, base_weights="auto"):
    save_decoder(built, folder, base_weights=base_weights)


def load(folder, built, **values):
    loading._shared_bases.clear()  # read the weights, do not find them in memory
    settings = built.settings
    if values:
        names = ("quantization", "tuning", "unmasking", "dtype", "lora")
        old = {name: getattr(settings, name) for name in names}
        settings = make_settings(settings.name, **{**old, **values})
    return load_decoder_folder(folder, settings, device=CPU)


def read(folder):
    return json.loads((folder / "lgu.json").read_text())


def edit(folder, **values):
    (folder / "lgu.json").write_text(json.dumps({**read(folder), **values}))


def make_format_1(folder, **values):
    """lgu.json as the first versions wrote it."""
    saved = {**read(folder), "format": 1, **values}
    for name in ("subtokens", "files", "pipeline", "heads", "checksum"):
        del saved[name]
    (folder / "lgu.json").write_text(json.dumps(saved))


def n_bytes(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def names(folder):
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())


COMBINATIONS = [
    *[(tuning, q) for tuning in ("lora", "frozen") for q in ("none", "nf4", "int8")],
    ("full", "none"),
]


# Round trips


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("tuning", "quantization"), COMBINATIONS)
def test_saved_and_loaded_gives_the_same_vectors(
    decoder_folder, tmp_path, tuning, quantization, dtype
):
    built = build(decoder_folder, tuning=tuning, quantization=quantization, dtype=dtype)
    expected = vectors(built)
    kinds = ["auto"] if tuning == "full" else ["bundle", "reference"]
    for kind in kinds:
        folder = tmp_path / kind
        save(built, folder, kind)
        loaded = load(folder, built)
        assert torch.equal(vectors(loaded), expected), kind
        assert loaded.decoder.unmasked == built.decoder.unmasked
        assert loaded.decoder.dtype == dtype
        assert not loaded.decoder.training
        from_bytes = decoder_from_files(
            decoder_to_files(built, base_weights=kind), built.settings, device=CPU
        )
        assert torch.equal(vectors(from_bytes), expected), kind
        # Saved once more, from what was loaded.
        save(loaded, tmp_path / "again", kind)
        assert torch.equal(vectors(load(tmp_path / "again", built)), expected), kind


@pytest.mark.parametrize(("tuning", "quantization"), COMBINATIONS)
def test_training_goes_on_after_loading(decoder_folder, tmp_path, tuning, quantization):
    built = build(decoder_folder, tuning=tuning, quantization=quantization)
    save(built, tmp_path / "x")
    loaded = load(tmp_path / "x", built)
    names = [name for name, _ in built.decoder.trainable()]
    assert [name for name, _ in loaded.decoder.trainable()] == names
    if names:
        expected = gradients(built.decoder)
        for name, gradient in gradients(loaded.decoder).items():
            assert torch.equal(gradient, expected[name]), name


def test_gradient_checkpointing_is_set_at_load(decoder_folder, tmp_path):
    built = build(decoder_folder, gradient_checkpointing=True)
    save(built, tmp_path / "x")
    assert load(tmp_path / "x", built).decoder.base.is_gradient_checkpointing


def test_bundle_needs_neither_base_nor_name(decoder_folder, tmp_path):
    base = Path(shutil.copytree(decoder_folder, tmp_path / "base"))
    built = build(base, quantization="nf4")
    expected = vectors(built)
    save(built, tmp_path / "x")
    shutil.rmtree(base)
    moved = (tmp_path / "x").rename(tmp_path / "y")
    assert torch.equal(vectors(load(moved, built)), expected)


@pytest.mark.parametrize(
    ("tuning", "kind", "files"),
    [
        (
            "lora",
            "reference",
            ["adapter/adapter_config.json", "adapter/adapter_model.safetensors", "lgu.json"],
        ),
        (
            "lora",
            "bundle",
            [
                "adapter/adapter_config.json",
                "adapter/adapter_model.safetensors",
                "base/config.json",
                "base/model.safetensors",
                "lgu.json",
            ],
        ),
        ("frozen", "reference", ["lgu.json"]),
        ("full", "auto", ["lgu.json", "weights/config.json", "weights/model.safetensors"]),
    ],
)
def test_files_on_disk(decoder_folder, tmp_path, tuning, kind, files):
    save(build(decoder_folder, tuning=tuning), tmp_path / "x", kind)
    found = [name for name in names(tmp_path / "x") if not name.startswith("tokenizer/")]
    assert found == files
    assert "tokenizer/tokenizer.json" in names(tmp_path / "x")
    # Nothing that is read by running it.
    assert {Path(name).suffix for name in names(tmp_path / "x")} == (
        {".json"} if tuning == "frozen" else {".json", ".safetensors"}
    )


def test_description_by_eye(decoder_folder, tmp_path):
    save(build(decoder_folder, unmasking="0110"), tmp_path / "x", "reference")
    saved = read(tmp_path / "x")
    base = saved.pop("base")
    assert base["name"] == str(decoder_folder.resolve())
    assert base["commit"] is None
    assert list(base["files"]) == ["config.json", "model.safetensors"]
    assert saved.pop("spacy_lgu")
    assert len(saved.pop("checksum")) == 64
    files = saved.pop("files")
    assert list(files) == [
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "tokenizer/special_tokens_map.json",
        "tokenizer/tokenizer.json",
        "tokenizer/tokenizer_config.json",
    ]
    content = (tmp_path / "x" / "tokenizer" / "tokenizer.json").read_bytes()
    assert files["tokenizer/tokenizer.json"] == {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    assert saved == {
        "format": 2,
        "base_weights": "reference",
        "bundle": None,
        "unmasking": "cbbc",
        "quantization": "none",
        "dtype": "float32",
        "tuning": "lora",
        "width": 64,
        "subtokens": "split",
        "pipeline": None,
        "heads": [],
    }


def test_a_decoder_that_was_trained_on_shared_subtokens_says_so_in_each_save(
    decoder_folder, tmp_path
):
    built = build(decoder_folder)
    save(built, tmp_path / "old")
    make_format_1(tmp_path / "old")
    old = load(tmp_path / "old", built)
    assert (built.subtokens, old.subtokens) == ("split", "shared")
    assert old.describe()[2] == "Subtokens over several tokens are shared"
    save(old, tmp_path / "again")
    assert read(tmp_path / "again")["subtokens"] == "shared"
    again = load(tmp_path / "again", built)
    assert again.subtokens == "shared"
    restored = decoder_from_files(decoder_to_files(again), built.settings, device=CPU)
    assert restored.subtokens == "shared"


def test_sizes(decoder_folder, tmp_path):
    for kind, quantization in (("reference", "none"), ("bundle", "none"), ("bundle", "nf4")):
        built = build(decoder_folder, quantization=quantization)
        save(built, tmp_path / f"{kind}-{quantization}", kind)
    sizes = {folder.name: n_bytes(folder) for folder in tmp_path.iterdir()}
    weights = (decoder_folder / "model.safetensors").stat().st_size
    tokenizer = n_bytes(tmp_path / "reference-none" / "tokenizer")
    # 4 layers x 448 LoRA weights of 4 bytes, and the headers.
    assert sizes["reference-none"] - tokenizer < 4 * 448 * 4 + 7_500 < weights / 5
    assert sizes["bundle-nf4"] - tokenizer < weights * 0.7
    assert sizes["bundle-none"] > sizes["bundle-nf4"]


def test_what_is_saved(decoder_folder, hub_name):
    local, hub = build(decoder_folder), build(hub_name)
    assert resolve_base_weights(local, "auto") == "bundle"
    assert resolve_base_weights(hub, "auto") == "reference"
    assert resolve_base_weights(hub, "bundle") == "bundle"
    assert resolve_base_weights(build(decoder_folder, tuning="full"), "reference") == "weights"
    with pytest.raises(ValueError, match="base_weights is 'all': expected 'auto', 'bundle', 'li"):
        resolve_base_weights(local, "all")


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
    assert torch.equal(vectors(load(tmp_path / "x", built)), expected)
    assert verify_decoder(tmp_path / "x") == []


def test_dtype_of_the_config_wins_at_load(decoder_folder, tmp_path):
    built = build(decoder_folder, dtype="bfloat16")
    save(built, tmp_path / "x")
    assert load(tmp_path / "x", built, dtype="auto").decoder.dtype == "bfloat16"
    wide = load(tmp_path / "x", built, dtype="float32")
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
    assert torch.equal(vectors(load(tmp_path / "second", built)), vectors(built))


# Bundles are written once


def inode(folder):
    return (folder / "base" / "model.safetensors").stat().st_ino


def test_a_later_save_is_linked_to_the_bundle_that_it_replaces(decoder_folder, tmp_path):
    built = build(decoder_folder)
    save(built, tmp_path / "x")
    first = inode(tmp_path / "x")
    save(built, tmp_path / "x")
    assert inode(tmp_path / "x") == first
    save(load(tmp_path / "x", built), tmp_path / "x")
    assert inode(tmp_path / "x") == first


def test_a_save_elsewhere_is_a_copy_unless_it_is_to_be_linked(decoder_folder, tmp_path):
    built = build(decoder_folder)
    save(built, tmp_path / "x")
    first = inode(tmp_path / "x")
    shake(built.decoder)
    expected = vectors(built)
    save(built, tmp_path / "copy")
    assert inode(tmp_path / "copy") != first
    copied = inode(tmp_path / "copy")
    save(load(tmp_path / "copy", built), tmp_path / "y", "link")
    save(load(tmp_path / "y", built), tmp_path / "z", "link")
    assert inode(tmp_path / "y") == inode(tmp_path / "z") == copied
    for name in ("x", "copy", "y"):
        shutil.rmtree(tmp_path / name)
    assert torch.equal(vectors(load(tmp_path / "z", built)), expected)


def test_bundle_is_copied_where_links_are_impossible(decoder_folder, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    built = build(decoder_folder)
    save(built, tmp_path / "x")
    monkeypatch.setattr(os, "link", refuse)
    for name in ("y", "z"):
        save(built, tmp_path / name, "link")
        assert inode(tmp_path / name) != inode(tmp_path / "x")
        assert verify_decoder(tmp_path / name) == []
    assert torch.equal(vectors(load(tmp_path / "z", built)), vectors(built))


def test_other_errors_of_linking_are_raised(decoder_folder, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.EIO, "Input/output error")

    built = build(decoder_folder)
    save(built, tmp_path / "x")
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        save(built, tmp_path / "y", "link")
    assert names(tmp_path) == [f"x/{name}" for name in names(tmp_path / "x")]


def test_a_bundle_that_another_pipeline_replaced_is_not_linked_to(
    decoder_folder, other_decoder_folder, tmp_path
):
    built, other = build(decoder_folder), build(other_decoder_folder)
    expected = vectors(built)
    save(built, tmp_path / "x")
    save(other, tmp_path / "x")
    save(built, tmp_path / "y", "link")
    assert torch.equal(vectors(load(tmp_path / "y", built)), expected)


def test_a_bundle_that_is_gone_is_written_again(decoder_folder, tmp_path):
    built = build(decoder_folder)
    save(built, tmp_path / "x")
    shutil.rmtree(tmp_path / "x")
    save(built, tmp_path / "y")
    assert torch.equal(vectors(load(tmp_path / "y", built)), vectors(built))


# Saves are whole or not at all


@pytest.mark.parametrize("what", ["save_adapter", "fingerprint_folder"])
def test_full_disk_leaves_the_earlier_save(decoder_folder, tmp_path, monkeypatch, what):
    def fill(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    built = build(decoder_folder)
    expected = vectors(built)
    save(built, tmp_path / "x")
    before = names(tmp_path)
    shake(built.decoder)
    built.written_base = None
    with monkeypatch.context() as patch:
        patch.setattr(storage, what, fill)
        with pytest.raises(OSError, match="No space left on device"):
            save(built, tmp_path / "x")
    assert names(tmp_path) == before
    assert torch.equal(vectors(load(tmp_path / "x", built)), expected)
    save(built, tmp_path / "x")
    assert torch.equal(vectors(load(tmp_path / "x", built)), vectors(built))


def test_save_killed_between_its_renames_is_found(decoder_folder, tmp_path):
    built = build(decoder_folder)
    expected = vectors(built)
    folder = tmp_path / "x"
    save(built, folder)
    previous = folder.rename(tmp_path / ".x.previous")
    assert finished_folder(folder) == previous
    assert torch.equal(vectors(load(folder, built)), expected)
    assert verify_decoder(folder) == []
    save(built, folder)
    assert finished_folder(folder) == folder
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert torch.equal(vectors(load(folder, built)), expected)


# What is wrong with a saved decoder


@pytest.fixture
def saved(decoder_folder, tmp_path):
    """A decoder saved as a bundle, and the folder."""
    built = build(decoder_folder)
    save(built, tmp_path / "x", "bundle")
    return built, tmp_path / "x"


@pytest.fixture
def referring(decoder_folder, tmp_path):
    """A decoder saved without its base, the folder, and the folder of the base."""
    base = Path(shutil.copytree(decoder_folder, tmp_path / "base"))
    built = build(base)
    save(built, tmp_path / "referring", "reference")
    return built, tmp_path / "referring", base


def test_no_decoder(saved, tmp_path):
    with pytest.raises(ValueError, match=r"There is no decoder in .*: lgu\.json is missing"):
        load(tmp_path, saved[0])


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff"])
def test_broken_json(saved, content):
    built, folder = saved
    (folder / "lgu.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"lgu\.json' is damaged: .*Copy it again from"):
        load(folder, built)
    with pytest.raises(ValueError, match=r"lgu\.json' is damaged"):
        verify_decoder(folder)


def test_newer_format(saved):
    built, folder = saved
    edit(folder, format=3, spacy_lgu="9.0")
    with pytest.raises(ValueError, match=r"saved in format 3 by spacy-lgu '9\.0'.*spacy-lgu==9\.0"):
        load(folder, built)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tuning": "full"}, "tuning = 'full' does not go with base_weights = 'bundle'"),
        ({"bundle": None}, "'bundle' is missing"),
        ({"files": None}, "'files' is missing"),
        ({"dtype": "float64"}, "expected one of .*, float16 in 'dtype', but found 'float64'"),
        ({"width": "64"}, "expected a whole number in 'width', but found '64'"),
        ({"heads": ["ner"]}, "its checksum is not that of its content.*--record` accepts that"),
    ],
)
def test_description_that_is_wrong(saved, values, message):
    built, folder = saved
    edit(folder, **values)
    with pytest.raises(ValueError, match=rf"lgu\.json' is damaged: {message}"):
        load(folder, built)


def test_description_that_does_not_fit_the_decoder(saved, referring):
    built, folder = saved
    make_format_1(folder, width=65)
    with pytest.raises(ValueError, match="the width is 65, but the decoder's 64"):
        load(folder, built)
    built, folder, _ = referring
    make_format_1(folder, base={**read(folder)["base"], "files": None})
    with pytest.raises(ValueError, match="'base' has neither 'commit' nor 'files'"):
        load(folder, built)


def test_description_changed_on_purpose(saved):
    built, folder = saved
    expected = vectors(built)
    edit(folder, dtype="bfloat16")
    record_decoder(folder)
    assert verify_decoder(folder) == []
    assert torch.equal(vectors(load(folder, built, dtype="float32")), expected)


def test_file_that_the_tokenizer_would_read(saved):
    built, folder = saved
    (folder / "tokenizer" / "added_tokens.json").write_text("{}")
    with pytest.raises(ValueError, match=r"'added_tokens\.json' in .* was not saved with the deco"):
        load(folder, built)


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
        load(folder, built, **values)


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
        load(folder, built)


def test_missing_weights_of_a_fully_trained_decoder(decoder_folder, tmp_path):
    built = build(decoder_folder, tuning="full")
    save(built, tmp_path / "x")
    (tmp_path / "x" / "weights" / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"are incomplete: model\.safetensors missing"):
        load(tmp_path / "x", built)
    assert verify_decoder(tmp_path / "x") == ["weights/model.safetensors"]


def test_bundle_that_is_a_link_to_elsewhere(saved, tmp_path):
    built, folder = saved
    file = folder / "base" / "model.safetensors"
    file.rename(tmp_path / "model.safetensors")
    file.symlink_to(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"the file 'base/model\.safetensors' does not lie in"):
        load(folder, built)


@pytest.mark.parametrize("field", ["files", "bundle", "pipeline"])
@pytest.mark.parametrize("name", ["/etc/hostname", "../../x", "ner/../../x"])
def test_record_of_files_elsewhere(saved, field, name):
    built, folder = saved
    edit(folder, **{field: {name: {"bytes": 1, "sha256": ""}}})
    message = f"lgu.json' is damaged: the file '{name}' in '{field}' lies elsewhere"
    with pytest.raises(ValueError, match=message):
        load(folder, built)
    with pytest.raises(ValueError, match=message):
        verify_decoder(folder)


def test_truncated_bundle(saved):
    built, folder = saved
    file = folder / "base" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"saved with: model\.safetensors differs\. Restore"):
        load(folder, built)


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
        load(folder, built)


def test_base_that_was_moved_away(referring, monkeypatch):
    built, folder, base = referring
    expected = vectors(built)
    moved = base.rename(base.with_name("moved"))
    with pytest.raises(
        ValueError, match=r"was the folder '.*base', which is not here. Put it back"
    ):
        load(folder, built)
    moved.rename(base)
    # The folder is found from any working directory.
    monkeypatch.chdir("/")
    assert torch.equal(vectors(load(folder, built)), expected)


def test_relative_name_of_a_base_is_found_from_elsewhere(decoder_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(decoder_folder.parent)
    built = build(f"./{decoder_folder.name}")
    save(built, tmp_path / "x", "reference")
    monkeypatch.chdir(tmp_path)
    assert torch.equal(vectors(load(tmp_path / "x", built)), vectors(built))


def test_base_of_another_size(referring):
    built, folder, base = referring
    other = build(base, tuning="full", dtype="float32").decoder.base
    other.to(torch.bfloat16).save_pretrained(base)
    with pytest.raises(ValueError, match="an adapter is worthless on another base"):
        load(folder, built)


def test_hub_base_that_is_not_cached(hub_name, hub_cache, tmp_path):
    built = build(hub_name)
    save(built, tmp_path / "x")
    snapshot = hub_cache / "models--org--tiny" / "snapshots" / SECOND
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(OSError, match=r"holds an adapter only and needs its base decoder 'org/tin"):
        load(tmp_path / "x", built)
    shutil.rmtree(hub_cache / "models--org--tiny")
    with pytest.raises(OSError, match=r"cannot be had: .*base_weights = 'bundle'"):
        load(tmp_path / "x", built)


def flip_last_byte(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))


def test_verification_finds_one_flipped_byte(saved):
    built, folder = saved
    assert verify_decoder(folder) == []
    flip_last_byte(folder / "base" / "model.safetensors")
    load(folder, built)  # by sizes and headers it is the same
    assert verify_decoder(folder) == ["base/model.safetensors"]


def test_verification_of_a_fully_trained_decoder(decoder_folder, tmp_path):
    save(build(decoder_folder, tuning="full"), tmp_path / "x")
    assert verify_decoder(tmp_path / "x") == []
    flip_last_byte(tmp_path / "x" / "weights" / "model.safetensors")
    assert verify_decoder(tmp_path / "x") == ["weights/model.safetensors"]


def change_config(folder):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "rope_theta": 10.0}))


def test_the_config_is_a_part_of_the_base(referring):
    built, folder, base = referring
    change_config(base)
    assert verify_decoder(folder) == [f"{base}/config.json"]
    with pytest.raises(ValueError, match=r"are not those .*: config\.json differs"):
        load(folder, built)


def test_saves_without_a_fingerprint_of_the_config(referring):
    built, folder, base = referring
    saved = read(folder)["base"]
    del saved["files"]["config.json"]
    make_format_1(folder, base=saved)
    change_config(base)
    load(folder, built)
    assert verify_decoder(folder) == []


def test_a_bundle_without_a_fingerprint_of_the_config_gets_one(saved, tmp_path):
    built, folder = saved
    files = read(folder)["bundle"]
    make_format_1(folder, bundle={"model.safetensors": files["model.safetensors"]})
    save(load(folder, built), tmp_path / "again")
    assert read(tmp_path / "again")["bundle"] == files


def test_a_bundle_without_its_config(saved):
    built, folder = saved
    (folder / "base" / "config.json").unlink()
    with pytest.raises(ValueError, match=r"base' is incomplete: config\.json is missing. Copy it"):
        load(folder, built)


def test_a_bundle_knows_its_base_from_any_directory(decoder_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(decoder_folder.parent)
    built = build(decoder_folder.name)
    save(built, tmp_path / "bundle", "bundle")
    loaded = load(tmp_path / "bundle", built)
    save(loaded, tmp_path / "reference", "reference")
    monkeypatch.chdir("/")
    assert torch.equal(vectors(load(tmp_path / "reference", built)), vectors(built))
    config = json.loads((tmp_path / "bundle" / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(decoder_folder.resolve())


def test_a_link_is_kept_and_what_it_points_to_replaced(decoder_folder, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    built = build(decoder_folder)
    for _ in range(2):
        save(built, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk" / "lgu.json").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "link"]


def test_verification_looks_at_the_base_that_is_referred_to(referring):
    _, folder, base = referring
    assert verify_decoder(folder) == []
    flip_last_byte(base / "model.safetensors")
    assert verify_decoder(folder) == [f"{base}/model.safetensors"]


# Bytes


def test_files_are_those_on_disk(decoder_folder, tmp_path):
    built = build(decoder_folder)
    save(built, tmp_path / "x")
    files = decoder_to_files(built)
    assert sorted(files) == names(tmp_path / "x")
    for name, content in files.items():
        assert content == (tmp_path / "x" / name).read_bytes(), name


def test_more_than_msgpack_holds(decoder_folder, monkeypatch):
    built = build(decoder_folder)
    monkeypatch.setattr(storage, "_MAX_BYTES", 100_000)
    with pytest.raises(ValueError, match="bytes, but to_bytes cannot hold more than 4 GiB"):
        decoder_to_files(built)
    assert "adapter/adapter_model.safetensors" in decoder_to_files(built, base_weights="reference")


def test_bytes_write_nowhere_else(decoder_folder):
    built = build(decoder_folder)
    with pytest.raises(ValueError, match=r"hold a file '\.\./evil', outside of the decoder's"):
        decoder_from_files({"../evil": b""}, built.settings, device=CPU)


def test_decoder_from_bytes_can_be_saved(decoder_folder, tmp_path):
    built = build(decoder_folder)
    loaded = decoder_from_files(decoder_to_files(built), built.settings, device=CPU)
    save(loaded, tmp_path / "x")
    assert torch.equal(vectors(load(tmp_path / "x", built)), vectors(built))


def test_bytes_leave_the_bundle_linkable(decoder_folder, tmp_path):
    built = build(decoder_folder)
    save(built, tmp_path / "x")
    decoder_to_files(built)
    save(built, tmp_path / "y", "link")
    assert inode(tmp_path / "x") == inode(tmp_path / "y")
