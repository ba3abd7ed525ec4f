import json
import os

import pytest
from huggingface_hub import constants

from spacy_lgu.decoder import hashes
from spacy_lgu.decoder.hashes import hash_file, hash_once

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
OLD = 1_600_000_000


@pytest.fixture(autouse=True)
def record(tmp_path, monkeypatch):
    """The record's place, where every file counts as large, and as old as its time says."""
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(hashes, "_LARGE", 3)
    monkeypatch.setattr(hashes, "_SETTLED_SECONDS", -1)
    return tmp_path / "home" / "spacy-lgu" / "hashes.json"


@pytest.fixture
def read(monkeypatch):
    """Names of the files that are hashed."""
    names = []

    def hash_and_note(file):
        names.append(file.name)
        return hash_file(file)

    monkeypatch.setattr(hashes, "hash_file", hash_and_note)
    return names


def write(folder, **contents):
    files = []
    for name, content in contents.items():
        files.append(folder / name)
        files[-1].write_text(content)
    return files


def test_large_files_are_hashed_once(tmp_path, read, record):
    files = write(tmp_path, a="abc", b="abcd", c="ab")
    first = hash_once(files)
    assert first[0] == ABC
    assert sorted(read) == ["a", "b", "c"]
    read.clear()
    assert hash_once(files) == first
    assert read == ["c"]  # too small for the record
    assert sorted(json.loads(record.read_text())) == [str(files[0]), str(files[1])]


def test_a_file_that_changed_is_hashed_again(tmp_path, read):
    (file,) = write(tmp_path, a="abc")
    hash_once([file])
    stat = file.stat()
    file.write_text("abd")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as if it had not
    read.clear()
    (digest,) = hash_once([file])
    assert read == ["a"]
    assert digest != ABC


def test_a_file_that_was_just_written_is_not_recorded(tmp_path, record, monkeypatch):
    monkeypatch.setattr(hashes, "_SETTLED_SECONDS", 3)
    assert hash_once(write(tmp_path, a="abc")) == [ABC]
    assert not record.exists()


def test_a_link_is_the_file_it_leads_to(tmp_path, read):
    (file,) = write(tmp_path, a="abc")
    hash_once([file])
    (tmp_path / "link").symlink_to(file)
    read.clear()
    assert hash_once([tmp_path / "link"]) == [ABC]
    assert read == []


@pytest.mark.parametrize("content", ["{", '{"/x": 5}', "[]"])
def test_a_damaged_record_is_replaced(tmp_path, record, caplog, content):
    (file,) = write(tmp_path, a="abc")
    record.parent.mkdir(parents=True)
    record.write_text(content)
    assert hash_once([file]) == [ABC]
    assert "Hashes of files are computed anew" in caplog.text
    assert json.loads(record.read_text())[str(file)]["sha256"] == ABC


def test_a_place_that_cannot_be_written(tmp_path, caplog, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "file"))
    assert hash_once(write(tmp_path, a="abc")) == [ABC]
    assert "Hashes of files cannot be kept" in caplog.text
