import errno
import hashlib
from pathlib import Path

import pytest
import torch
import transformers

from spacy_lgu.decoder import storage
from spacy_lgu.decoder.restoring import decoder_from_files
from spacy_lgu.decoder.storage import decoder_to_files, resolve_base_weights
from spacy_lgu.decoder.verification import verify_decoder
from spacy_lgu.replacing import finished_folder

from ..conftest import IS_5
from .helpers import (
    CPU,
    build,
    gradients,
    list_names,
    make_format_1,
    read_description_of,
    restore,
    save,
    shake,
    vectors,
)


def n_bytes(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


COMBINATIONS = [
    *[(tuning, q) for tuning in ("lora", "frozen") for q in ("none", "nf4", "int8")],
    ("full", "none"),
]


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
        loaded = restore(folder, built)
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
        assert torch.equal(vectors(restore(tmp_path / "again", built)), expected), kind


@pytest.mark.parametrize(("tuning", "quantization"), COMBINATIONS)
def test_training_goes_on_after_loading(decoder_folder, tmp_path, tuning, quantization):
    built = build(decoder_folder, tuning=tuning, quantization=quantization)
    save(built, tmp_path / "x")
    loaded = restore(tmp_path / "x", built)
    names = [name for name, _ in built.decoder.trainable()]
    assert [name for name, _ in loaded.decoder.trainable()] == names
    if names:
        expected = gradients(built.decoder)
        for name, gradient in gradients(loaded.decoder).items():
            assert torch.equal(gradient, expected[name]), name


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
    found = [name for name in list_names(tmp_path / "x") if not name.startswith("tokenizer/")]
    assert found == files
    assert "tokenizer/tokenizer.json" in list_names(tmp_path / "x")
    # Nothing that is read by running it.
    assert {Path(name).suffix for name in list_names(tmp_path / "x")} == (
        {".json"} if tuning == "frozen" else {".json", ".safetensors"}
    )


def test_description_by_eye(decoder_folder, tmp_path):
    save(build(decoder_folder, unmasking="0110"), tmp_path / "x", "reference")
    saved = read_description_of(tmp_path / "x")
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
        *([] if IS_5 else ["tokenizer/special_tokens_map.json"]),
        "tokenizer/tokenizer.json",
        "tokenizer/tokenizer_config.json",
    ]
    libraries = saved.pop("libraries")
    assert list(libraries) == ["transformers", "peft", "bitsandbytes", "torch"]
    assert libraries["transformers"] == transformers.__version__
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
        "n_layers": None,
        "repeat": 0,
        "read_previous": False,
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
    old = restore(tmp_path / "old", built)
    assert (built.subtokens, old.subtokens) == ("split", "shared")
    assert old.describe()[2] == "Subtokens that span several tokens are shared"
    save(old, tmp_path / "again")
    assert read_description_of(tmp_path / "again")["subtokens"] == "shared"
    again = restore(tmp_path / "again", built)
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


@pytest.mark.parametrize("what", ["save_adapter", "write_bundle"])
def test_full_disk_leaves_the_earlier_save(decoder_folder, tmp_path, monkeypatch, what):
    def fill(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    built = build(decoder_folder)
    expected = vectors(built)
    save(built, tmp_path / "x")
    before = list_names(tmp_path)
    shake(built.decoder)
    built.bundle = None
    with monkeypatch.context() as patch:
        patch.setattr(storage, what, fill)
        with pytest.raises(OSError, match="No space left on device"):
            save(built, tmp_path / "x")
    assert list_names(tmp_path) == before
    assert torch.equal(vectors(restore(tmp_path / "x", built)), expected)
    save(built, tmp_path / "x")
    assert torch.equal(vectors(restore(tmp_path / "x", built)), vectors(built))


def test_save_killed_between_its_renames_is_found(decoder_folder, tmp_path):
    built = build(decoder_folder)
    expected = vectors(built)
    folder = tmp_path / "x"
    save(built, folder)
    previous = folder.rename(tmp_path / ".x.previous")
    assert finished_folder(folder) == previous
    assert torch.equal(vectors(restore(folder, built)), expected)
    assert verify_decoder(folder) == []
    save(built, folder)
    assert finished_folder(folder) == folder
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert torch.equal(vectors(restore(folder, built)), expected)


def test_a_link_is_kept_and_what_it_points_to_replaced(decoder_folder, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    built = build(decoder_folder)
    for _ in range(2):
        save(built, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk" / "lgu.json").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "link"]


def test_files_are_those_on_disk(decoder_folder, tmp_path):
    built = build(decoder_folder)
    save(built, tmp_path / "x")
    files = decoder_to_files(built)
    assert sorted(files) == list_names(tmp_path / "x")
    for name, content in files.items():
        assert content == (tmp_path / "x" / name).read_bytes(), name


def test_more_than_msgpack_holds(decoder_folder, monkeypatch):
    built = build(decoder_folder)
    monkeypatch.setattr(storage, "_MAX_BYTES", 100_000)
    with pytest.raises(ValueError, match="bytes, but to_bytes cannot hold more than 4 GiB"):
        decoder_to_files(built)
    assert "adapter/adapter_model.safetensors" in decoder_to_files(built, base_weights="reference")
