"""Bases that are quantized once: equal vectors, what is recorded, what is refused."""

import json
import shutil

import pytest
import torch

from spacy_lgu.decoder import quantizing
from spacy_lgu.decoder.quantizing import check_place, store_quantized
from spacy_lgu.decoder.saved_with import check_record, library_versions
from spacy_lgu.decoder.weights import weight_files

from ..conftest import IS_5
from .conftest import SECOND
from .helpers import CPU, build, check, restore, save, shard, vectors


def store(name, folder, *, quantization="nf4", dtype="float32", **values):
    checked = check(name, tuning="frozen", quantization=quantization, **values)
    return store_quantized(checked, folder, dtype=dtype, device=CPU)


def read_record(folder):
    return json.loads((folder / "quantized.json").read_text())


@pytest.mark.parametrize("tuning", ["frozen", "lora"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_vectors_are_those_of_quantizing_while_loading(
    decoder_folder, tmp_path, quantization, dtype, tuning
):
    stored = tmp_path / "stored"
    assert store(decoder_folder, stored, quantization=quantization, dtype=dtype)
    options = {"quantization": quantization, "dtype": dtype, "tuning": tuning}
    expected, found = build(decoder_folder, **options), build(stored, **options)
    assert torch.equal(vectors(found), vectors(expected))
    texts = ["Ann ate naan in New York", " \n", "Zürich!"]
    assert found.tokenizer(texts)["input_ids"] == expected.tokenizer(texts)["input_ids"]


@pytest.mark.parametrize(("stored_in", "dtype"), [("bfloat16", "float32"), ("float32", "bfloat16")])
@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_it_computes_in_the_dtype_that_is_asked_for(
    decoder_folder, tmp_path, quantization, stored_in, dtype
):
    store(decoder_folder, tmp_path / "stored", quantization=quantization, dtype=stored_in)
    options = {"quantization": quantization, "dtype": dtype, "tuning": "frozen"}
    decoder = build(tmp_path / "stored", **options).decoder
    assert {p.dtype for p in decoder.parameters()} == {
        getattr(torch, dtype),
        {"nf4": torch.uint8, "int8": torch.int8}[quantization],
    }


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_what_is_trained_on_it_is_saved_with_it(decoder_folder, tmp_path, quantization):
    store(decoder_folder, tmp_path / "stored", quantization=quantization)
    built = build(tmp_path / "stored", quantization=quantization)
    save(built, tmp_path / "saved", "bundle")
    shutil.rmtree(tmp_path / "stored")
    loaded = restore(tmp_path / "saved", built)
    assert torch.equal(vectors(loaded), vectors(built))
    # The base that it was read from is gone, so that it is written anew.
    shutil.rmtree(tmp_path / "saved")
    save(loaded, tmp_path / "again", "bundle")
    assert torch.equal(vectors(restore(tmp_path / "again", built)), vectors(built))


def test_shards(copied_folder, tmp_path):
    shard(copied_folder)
    store(copied_folder, tmp_path / "stored")
    options = {"quantization": "nf4", "tuning": "frozen"}
    found = vectors(build(tmp_path / "stored", **options))
    assert torch.equal(found, vectors(build(copied_folder, **options)))


def test_it_is_smaller_and_says_what_it_was_made_from(decoder_folder, tmp_path):
    store(decoder_folder, tmp_path / "stored", dtype="bfloat16")
    before, after = (
        sum(file.stat().st_size for file in weight_files(folder))
        for folder in (decoder_folder, tmp_path / "stored")
    )
    assert after < before / 2
    record = read_record(tmp_path / "stored")
    base = record.pop("base")
    assert (base["name"], base["commit"]) == (str(decoder_folder), None)
    assert set(base["files"]) == {"config.json", "model.safetensors"}
    assert len(base["files"]["model.safetensors"]["sha256"]) == 64
    assert record.pop("spacy_lgu")
    assert record == {
        "format": 1,
        "libraries": library_versions(),
        "device": "cpu",
        "n_layers": 4,
        "quantization": "nf4",
        "dtype": "bfloat16",
    }


def test_the_first_layers_are_another_decoder(decoder_folder, tmp_path):
    stored = tmp_path / "stored"
    depth = {"unmasking": "cb", "n_layers": 2}
    assert store(decoder_folder, stored, **depth)
    assert not store(decoder_folder, stored, **depth)
    for values in ({}, {"unmasking": "ccb", "n_layers": 3}):
        with pytest.raises(ValueError, match=r"quantized before, of another n_layers, and would"):
            store(decoder_folder, stored, **values)
    options = {"quantization": "nf4", "tuning": "frozen"}
    found = build(stored, unmasking="cb", **options)
    assert torch.equal(vectors(found), vectors(build(decoder_folder, **depth, **options)))


def test_the_commit_of_the_hub_is_recorded(hub_name, tmp_path):
    store(hub_name, tmp_path / "stored")
    base = read_record(tmp_path / "stored")["base"]
    assert base == {"name": hub_name, "commit": SECOND, "files": None}
    found = build(tmp_path / "stored", quantization="nf4", tuning="frozen")
    expected = build(hub_name, quantization="nf4", tuning="frozen")
    assert torch.equal(vectors(found), vectors(expected))


def test_again_is_no_work_and_anything_else_is_refused(decoder_folder, tmp_path, monkeypatch):
    stored = tmp_path / "stored"
    assert store(decoder_folder, stored)
    before = (stored / "quantized.json").stat()
    monkeypatch.delattr(quantizing, "load_decoder")
    assert not store(decoder_folder, stored)
    assert (stored / "quantized.json").stat() == before
    with pytest.raises(ValueError, match=r"quantized before, of another quantization, and would"):
        store(decoder_folder, stored, quantization="int8")
    with pytest.raises(ValueError, match=r"quantized before, of another dtype, and would be over"):
        store(decoder_folder, stored, dtype="bfloat16")
    other = shutil.copytree(decoder_folder, tmp_path / "other")
    with pytest.raises(ValueError, match=r"quantized before, of another base, and would be over"):
        store(other, stored)
    with pytest.raises(ValueError, match=r"stored' are already quantized\. Name the folder itself"):
        store(stored, tmp_path / "twice")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "stored"]


def test_what_is_there_is_not_overwritten(decoder_folder, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "file").write_text("mine")
    for name in ("mine", "file"):
        with pytest.raises(ValueError, match=rf"{name}' is there already and would be overwritten"):
            check_place(tmp_path / name)
        with pytest.raises(ValueError, match="is there already and would be overwritten"):
            store(decoder_folder, tmp_path / name)
    check_place(tmp_path / "new")


def test_another_process_that_was_faster(decoder_folder, tmp_path, monkeypatch):
    stored = tmp_path / "stored"

    def write_tokenizer(checked, folder):
        original(checked, folder)
        stored.mkdir()

    original = quantizing._write_tokenizer
    monkeypatch.setattr(quantizing, "_write_tokenizer", write_tokenizer)
    with pytest.raises(ValueError, match="is there already and would be overwritten"):
        store(decoder_folder, stored)
    assert list(stored.iterdir()) == []


def test_a_failure_leaves_nothing_and_the_next_call_succeeds(decoder_folder, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(quantizing, "library_versions", fail)
        with pytest.raises(OSError, match="the disk is full"):
            store(decoder_folder, tmp_path / "stored")
    assert list(tmp_path.iterdir()) == []
    assert store(decoder_folder, tmp_path / "stored")


def fail():
    raise OSError("the disk is full")


def test_a_tokenizer_that_changes_when_it_is_stored(decoder_folder, tmp_path, monkeypatch):
    def write_another(checked, folder):
        checked.tokenizer.save_pretrained(str(folder))
        file = folder / "tokenizer.json"
        values = json.loads(file.read_text())
        file.write_text(json.dumps({**values, "normalizer": {"type": "Lowercase"}}))

    monkeypatch.setattr(quantizing, "_write_tokenizer", write_another)
    with pytest.raises(ValueError, match=r"tokenizer of .* is not the same once it is stored"):
        store(decoder_folder, tmp_path / "stored")
    assert list(tmp_path.iterdir()) == []


def test_the_wrong_quantization_is_refused_before_weights_are_read(decoder_folder, tmp_path):
    store(decoder_folder, tmp_path / "stored")
    for quantization in ("int8", "none"):
        with pytest.raises(ValueError, match="already quantized"):
            check(tmp_path / "stored", tuning="frozen", quantization=quantization)


@pytest.mark.skipif(IS_5, reason="what transformers 5 stored is refused by 4.53 alone")
def test_a_folder_of_transformers_5(decoder_folder, tmp_path):
    store(decoder_folder, tmp_path / "stored")
    record = read_record(tmp_path / "stored")
    record["libraries"]["transformers"] = "5.1"
    (tmp_path / "stored" / "quantized.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"was saved with transformers 5\.1"):
        check(tmp_path / "stored", tuning="frozen", quantization="nf4")


@pytest.mark.parametrize("libraries", ["null", '{"torch": 1}', '{"transformers": "new"}'])
def test_a_damaged_record_is_named(tmp_path, libraries):
    (tmp_path / "quantized.json").write_text(f'{{"format": 1, "libraries": {libraries}}}')
    with pytest.raises(ValueError, match=r"quantized\.json' is damaged: expected"):
        check_record(tmp_path)


@pytest.mark.parametrize("content", ["{}", '{"format": 2, "spacy_lgu": "9.1"}'])
def test_a_record_of_another_format(tmp_path, content):
    (tmp_path / "quantized.json").write_text(content)
    with pytest.raises(ValueError, match=r"was stored in format (null|2) by spacy-lgu"):
        check_record(tmp_path)
