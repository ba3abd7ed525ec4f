"""Corpora in archives, and which assets a task needs. Nothing is downloaded."""

import hashlib
import zipfile
from pathlib import Path

import pytest
from weasel.util.config import load_project_config

from benchmarks import fetch_corpora
from benchmarks.fetch_corpora import Corpus, find_folders, unpack
from spacy_lgu.study.plan import read_study

from .conftest import ROOT

FILES = {"b.tsv": b"two", "a.tsv": b"one"}
CORPUS = Corpus("x.zip", "*/part/*.tsv", "books/part", "*.tsv", hashlib.md5(b"onetwo").hexdigest())


@pytest.fixture
def archives(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as stream:
        for name, content in FILES.items():
            stream.writestr(f"x-123/part/{name}", content)
        stream.writestr("x-123/other/c.tsv", "three")
    return tmp_path


def test_unpack(archives):
    data = archives / "data"
    assert unpack(CORPUS, archives, data)
    files = {file.name: file.read_bytes() for file in (data / "books" / "part").iterdir()}
    assert files == FILES


def test_files_in_place_need_no_archive(archives):
    data = archives / "data"
    unpack(CORPUS, archives, data)
    assert unpack(CORPUS, archives / "nowhere", data)
    assert not unpack(CORPUS, archives / "nowhere", archives / "elsewhere")
    assert not (archives / "elsewhere").exists()


def test_other_files_are_refused(archives):
    data = archives / "data"
    unpack(CORPUS, archives, data)
    (data / "books" / "part" / "a.tsv").write_bytes(b"One")
    with pytest.raises(ValueError, match=f"but the benchmark's have {CORPUS.checksum}"):
        unpack(CORPUS, archives, data)


def test_folders_of_tasks():
    tasks = read_study(ROOT / "benchmarks" / "study.yml").tasks
    assert find_folders([tasks["litbank-nested"], tasks["wnut17"]]) == {"litbank", "wnut17"}
    assert find_folders([tasks["own"]]) == {"own"}


def test_only_what_a_task_needs_is_fetched(tmp_path, monkeypatch):
    fetched, checked = [], []

    def fetch(root, url, path, checksum):
        fetched.append(Path(path).name)
        assert "/" in url

    def check(path, checksum):
        checked.append(Path(path).name)

    monkeypatch.setattr(fetch_corpora, "fetch_asset", fetch)
    monkeypatch.setattr(fetch_corpora, "check_private_asset", check)
    study = ROOT / "benchmarks" / "study.yml"
    fetch_corpora.main(tmp_path, study, "wnut17,litbank-events,conll2003")
    assert fetched == [
        "wnut17train.conll",
        "emerging.dev.conll",
        "emerging.test.annotated",
        "litbank.zip",
    ]
    assert checked == ["eng.train", "eng.testa", "eng.testb"]
    fetched.clear()
    fetch_corpora.main(tmp_path, study, "own")
    assert fetched == []


def test_another_file_than_the_corpus_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch_corpora, "fetch_asset", lambda *arguments: None)
    (tmp_path / "wnut17").mkdir()
    (tmp_path / "wnut17" / "emerging.dev.conll").write_text("Ann\tO\n")
    with pytest.raises(ValueError, match=r"emerging\.dev\.conll has the checksum .* has 29ad3845"):
        fetch_corpora.main(tmp_path, ROOT / "benchmarks" / "study.yml", "wnut17")


def test_every_raw_file_of_the_study_is_an_asset():
    config = load_project_config(ROOT, overrides={"vars.data": "data"})
    assets = {asset["dest"] for asset in config["assets"]}
    unpacked = {f"data/{corpus.folder}" for corpus in fetch_corpora.CORPORA}
    for task in read_study(ROOT / "benchmarks" / "study.yml").tasks.values():
        files = [task.files] if isinstance(task.files, str) else list(task.files.values())
        for file in files:
            path = f"data/{file}"
            assert path in assets or str(Path(path).parent) in unpacked or file.startswith("own/")
