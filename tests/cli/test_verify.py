"""Every file of a saved pipeline is compared, and damage never changes a prediction in silence."""

import json
import shutil

import numpy
import pytest
import spacy

from spacy_lgu.decoder import loading

from ..conftest import TEXTS
from .conftest import run


def verify(folder, *options) -> str:
    return " ".join(run("lgu", "verify", folder, *options).split())


def test_all_is_well(copied):
    assert "transformer: all files are what was saved" in verify(copied)


@pytest.mark.parametrize(
    "name",
    [
        "transformer/base/model.safetensors",
        "transformer/base/config.json",
        "transformer/adapter/adapter_model.safetensors",
        "transformer/tokenizer/tokenizer.json",
        "ner/model",
        "entity_ruler/patterns.jsonl",
        "vocab/strings.json",
        "tokenizer",
        "config.cfg",
    ],
)
def test_changed_file_is_named(copied, name):
    file = copied / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    shown = name.removeprefix("transformer/") if name.startswith("tr") else f"../{name}"
    with pytest.raises(AssertionError, match=f"{shown} is missing or"):
        verify(copied)
    file.unlink()
    if name != "tokenizer":  # what is not there at all was left out of the save
        with pytest.raises(AssertionError, match=f"{shown} is missing or"):
            verify(copied)


def test_change_on_purpose(copied, saved):
    patterns = copied / "entity_ruler" / "patterns.jsonl"
    patterns.write_text('{"label":"CITY","pattern":"York"}\n')
    (copied / "ner" / "cfg").write_text(json.dumps({"moves": None}))
    with pytest.raises(
        AssertionError, match=r"\.\./entity_ruler/patterns\.jsonl, \.\./ner/cfg are"
    ):
        verify(copied)
    with pytest.raises(ValueError, match=r"ner/cfg in .* is not what was saved"):
        spacy.load(copied)
    assert "all files are what was saved" in verify(copied, "--record")
    assert "all files are what was saved" in verify(copied)
    assert spacy.load(copied).pipe_names == ["transformer", "ner", "entity_ruler"]


def test_packaging_changes_the_meta(copied):
    meta = json.loads((copied / "meta.json").read_text())
    (copied / "meta.json").write_text(json.dumps({**meta, "name": "other"}))
    printed = verify(copied)
    assert "has changed, as packaging changes it" in printed
    assert "all files are what was saved" in printed


def test_file_that_came_later(copied):
    (copied / "README.md").write_text("x")
    (copied / "transformer" / "notes.txt").write_text("x")
    printed = verify(copied)
    assert "../README.md was not saved with it" in printed
    assert "notes.txt was not saved with it" in printed


def test_saves_without_hashes(copied):
    file = copied / "transformer" / "lgu.json"
    hub = {"name": "org/name", "commit": "abc", "files": None}
    changed = {"format": 1, "base_weights": "reference", "bundle": None, "base": hub}
    saved = {**json.loads(file.read_text()), **changed}
    for name in ("files", "pipeline", "heads", "checksum"):
        del saved[name]
    file.write_text(json.dumps(saved))
    printed = verify(copied)
    assert "nothing to compare with, it was saved by a version without hashes" in printed
    assert "what was saved" not in printed


def test_a_pipeline_is_needed(tmp_path):
    with pytest.raises(AssertionError, match="There is no lgu_transformer"):
        verify(tmp_path)


def test_damage_changes_no_prediction_in_silence(saved, tmp_path):
    """A bit flipped in the middle of each file, and each file cut there."""
    nlp, folder = saved
    expected = nlp(TEXTS[0])
    vectors = expected._.trf_data.model_output.last_hidden_state
    silent = []
    for name in sorted(f.relative_to(folder) for f in folder.rglob("*") if f.is_file()):
        content = (folder / name).read_bytes()
        if not content:
            continue
        half = len(content) // 2
        flipped = content[:half] + bytes([content[half] ^ 4]) + content[half + 1 :]
        for damaged in (flipped, content[:half]):
            copied = tmp_path / "copied"
            shutil.copytree(folder, copied, dirs_exist_ok=True)
            (copied / name).write_bytes(damaged)
            try:
                verify(copied)
            except AssertionError:
                pass
            else:
                loading._shared_bases.clear()
                try:
                    doc = spacy.load(copied)(TEXTS[0])
                except ValueError:
                    continue
                found = doc._.trf_data.model_output.last_hidden_state
                same = numpy.array_equal(found, vectors)
                if not same or doc.to_json() != expected.to_json():
                    silent.append(str(name))
    assert silent == []
