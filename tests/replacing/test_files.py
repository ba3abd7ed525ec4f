import errno
import os
import subprocess
from pathlib import Path

import pytest

from spacy_lgu.replacing import replace_file, replace_files

from ..killing import kill_everywhere
from .conftest import names, read


def test_files_are_made_and_replaced(tmp_path):
    def write(file):
        file.write_text("by a function")

    replace_file(tmp_path / "new" / "a", b"1")
    replace_files({tmp_path / "new" / "a": write, tmp_path / "b": b"2"})
    assert read(tmp_path) == {"b": "2", "new/a": "by a function"}
    assert names(tmp_path) == ["b", "new"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_permissions_stay(tmp_path, mode):
    file = tmp_path / "a"
    file.write_bytes(b"1")
    file.chmod(mode)
    replace_file(file, b"2")
    assert (file.read_bytes(), oct(file.stat().st_mode & 0o777)) == (b"2", oct(mode))


@pytest.mark.parametrize("name", ["a" * 255, "ä" * 127, "a" * 201])
def test_names_may_be_as_long_as_the_system_takes(tmp_path, name):
    replace_files({tmp_path / name: b"1", tmp_path / "b": b"2"})
    replace_file(tmp_path / name, b"3")
    assert read(tmp_path) == {name: "3", "b": "2"}
    assert names(tmp_path) == sorted([name, "b"])


def test_a_failure_leaves_the_earlier_files(tmp_path, monkeypatch):
    def fail(file):
        file.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    replace_files({tmp_path / "a": b"1", tmp_path / "b": b"2"})
    with pytest.raises(OSError, match="No space left on device"):
        replace_files({tmp_path / "a": b"3", tmp_path / "b": fail})
    assert read(tmp_path) == {"a": "1", "b": "2"}

    replace = os.replace

    def fail_at(name):
        def fail(path, target):
            if target.name == name:
                raise OSError(errno.EIO, "Input/output error")
            replace(path, target)

        return fail

    monkeypatch.setattr(os, "replace", fail_at("a"))
    with pytest.raises(OSError, match="Input/output error"):
        replace_files({tmp_path / "a": b"3", tmp_path / "b": b"4"})
    assert read(tmp_path) == {"a": "1", "b": "2"}
    monkeypatch.setattr(os, "replace", fail_at("b"))
    with pytest.raises(OSError, match="Input/output error"):
        replace_files({tmp_path / "a": b"3", tmp_path / "b": b"4"})
    assert read(tmp_path) == {"a": "3"}  # never an earlier one beside a new one
    assert names(tmp_path) == ["a"]


def test_files_whose_writer_is_killed_anywhere(tmp_path):
    place = tmp_path / "place"

    def prepare():
        subprocess.run(["rm", "-rf", place], check=True)
        replace_files({place / "a": b"1", place / "b": b"1"})

    def save():
        replace_files({place / "a": b"2", place / "b": b"2"})

    found = []
    for _ in kill_everywhere(save, below=place, prepare=prepare):
        state = {name: (place / name).read_text() for name in "ab" if (place / name).exists()}
        if not found or found[-1] != state:
            found.append(state)
        save()
        assert read(place) == {"a": "2", "b": "2"}
        assert names(place) == ["a", "b"]
    assert found == [{"a": "1", "b": "1"}, {"a": "1"}, {"a": "2"}, {"a": "2", "b": "2"}]


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    replace_file(tmp_path / "pipe", b"1")
    assert os.read(reader, 10) == b"1"
    os.close(reader)
    replace_file(Path("/dev/null"), b"1")
    assert not Path("/dev/null").is_file()
    with pytest.raises(IsADirectoryError, match="is a folder: expected a file to write"):
        replace_file(tmp_path, b"1")


def test_one_file_under_two_names(tmp_path):
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(ValueError, match="Expected different files, but got"):
        replace_files({tmp_path / "a": b"2", tmp_path / "b": b"3"})
    replace_file(tmp_path / "b", b"4")
    assert (tmp_path / "b").is_symlink()
    assert (tmp_path / "a").read_text() == "4"
