"""Which files a command names, and the names of their shards."""

from pathlib import Path

import pytest

from spacy_lgu.annotation.finding import find_inputs, find_kind


@pytest.fixture
def folder(tmp_path):
    names = ["a.jsonl", "b.txt.gz", "de/a.jsonl", "de/c.parquet", "notes.md", ".hidden/d.jsonl"]
    for name in names:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "data"


def names(files):
    return [file.name for file in files]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jsonl", "jsonl"),
        ("a.b.ndjson.xz", "jsonl"),
        ("a.txt.zst", "text"),
        ("a.parquet", "parquet"),
        ("a.spacy", "spacy"),
        ("a.parquet.gz", None),
        ("a.gz", None),
        ("jsonl", None),
        ("a.csv", None),
    ],
)
def test_kinds_by_name(name, kind):
    assert find_kind(Path(name)) == kind


def test_a_folder_with_its_subfolders(folder, tmp_path):
    files, others = find_inputs([str(folder)], tmp_path / "out")
    assert names(files) == ["a.jsonl", "b.txt.gz", "de/a.jsonl", "de/c.parquet"]
    assert files[2].path == folder / "de" / "a.jsonl"
    assert others == [folder / "notes.md"]


def test_patterns_keep_what_is_below_their_fixed_part(folder, tmp_path):
    files, _ = find_inputs([f"{folder}/**/*.jsonl"], tmp_path / "out")
    assert names(files) == ["a.jsonl", "de/a.jsonl"]
    files, _ = find_inputs([f"{folder}/d?/*.jsonl", f"{folder}/a.jsonl"], tmp_path / "out")
    assert names(files) == ["de/a.jsonl", "a.jsonl"]


def test_what_a_pattern_finds_in_the_output_is_left_out(folder):
    for output in (folder / "out", folder / "de"):
        output.mkdir(exist_ok=True)
        (output / "a.jsonl-000000.jsonl").touch()
    files, _ = find_inputs([f"{folder}/**/*.jsonl"], folder / "out")
    assert names(files) == ["a.jsonl", "de/a.jsonl", "de/a.jsonl-000000.jsonl"]
    with pytest.raises(FileNotFoundError, match="nothing to annotate at"):
        find_inputs([f"{folder}/out/*.jsonl"], folder / "out")


def test_a_file_whose_name_looks_like_a_pattern(tmp_path):
    (tmp_path / "a[1].jsonl").touch()
    files, _ = find_inputs([str(tmp_path / "a[1].jsonl")], tmp_path / "out")
    assert names(files) == ["a[1].jsonl"]


def test_what_is_refused(folder, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=r"same names, a.jsonl-... Name the folder above them"):
        find_inputs([str(folder / "a.jsonl"), str(folder / "de" / "a.jsonl")], out)
    with pytest.raises(FileNotFoundError, match="There is no file, folder or pattern"):
        find_inputs([str(tmp_path / "none.jsonl")], out)
    with pytest.raises(FileNotFoundError, match=r"nothing to annotate at '.*\*.spacy'"):
        find_inputs([f"{folder}/*.spacy"], out)
    with pytest.raises(ValueError, match=r"known format, but got '.*notes.md'. Known are .jsonl"):
        find_inputs([str(folder / "notes.md")], out)
    with pytest.raises(ValueError, match=r"lies in .* which is to be read"):
        find_inputs([str(folder)], folder / "out")
