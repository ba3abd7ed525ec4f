"""Several processes and threads that save to one place, and what killed ones left there."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from spacy_lgu.replacing import replace_folder

from .conftest import SAVED, names, read, writer


def test_what_killed_savers_left_is_removed(tmp_path):
    left = [".[x].partial-1", f".[x].partial-{os.getpid()}-0123abcd"]
    kept = [".[x].partial-1-mine", ".[x].partial.previous", ".y.partial-1", "[x]"]
    for name in (*left, *kept[:-1]):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("half")
    replace_folder(tmp_path / "[x]", writer(SAVED))
    assert names(tmp_path) == kept


def test_what_another_one_is_writing_is_left_alone(tmp_path, swap):
    def save_too(folder):
        (folder / "a").write_text("outer")
        replace_folder(tmp_path / "x", writer({"a": "inner"}))

    replace_folder(tmp_path / "x", save_too)
    assert read(tmp_path / "x") == {"a": "outer"}
    assert names(tmp_path) == ["x"]


def test_a_left_over_that_cannot_be_locked_is_removed_after_a_day(tmp_path, monkeypatch):
    def refuse(handle, operation):
        raise OSError(errno.EBADF, "Bad file descriptor")  # NFS, for folders

    monkeypatch.setattr(fcntl, "flock", refuse)
    for name, age in ((".x.partial-1-00000000", 23), (".x.partial-1-11111111", 25)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("half")
        changed = time.time() - age * 60 * 60
        for path in (tmp_path / name / "file", tmp_path / name):
            os.utime(path, (changed, changed))
    replace_folder(tmp_path / "x", writer(SAVED))
    assert names(tmp_path) == [".x.partial-1-00000000", "x"]


def test_a_folder_that_was_taken_for_a_left_over_is_made_again(tmp_path, monkeypatch):
    flock, removed = fcntl.flock, []

    def late(handle, operation):
        folder = Path(os.readlink(f"/proc/self/fd/{handle}"))
        if not removed and ".partial-" in folder.name:
            removed.append(folder.rmdir())
        flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    replace_folder(tmp_path / "x", writer(SAVED))
    assert removed
    assert read(tmp_path / "x") == SAVED


SAVER = """
import sys
from pathlib import Path
from spacy_lgu.replacing import system
from spacy_lgu.replacing import replace_files, replace_folder
place, text, swap = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
def no_function():
    return None
if swap == "two renames":
    system._renameat2 = no_function
def write(folder):
    for name in "abcd":
        (folder / name).write_text(text)
for _ in range(40):
    replace_folder(place / "x", write)
    replace_files({place / "1": text.encode(), place / "2": text.encode()})
"""


@pytest.mark.parametrize("swap", ["one step", "two renames"])
def test_processes_that_save_to_one_place(tmp_path, swap):
    savers = [
        subprocess.Popen([sys.executable, "-c", SAVER, tmp_path, text, swap]) for text in "123"
    ]
    assert [saver.wait() for saver in savers] == [0, 0, 0]
    assert names(tmp_path) == ["1", "2", "x"]
    (text,) = set(read(tmp_path / "x").values())
    assert read(tmp_path / "x") == dict.fromkeys("abcd", text)
    assert (tmp_path / "1").read_text() == (tmp_path / "2").read_text()


def test_threads_that_save_to_one_place(tmp_path, swap):
    errors = []

    def save(text):
        try:
            for _ in range(20):
                replace_folder(tmp_path / "x", writer(dict.fromkeys("abcd", text)))
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=save, args=(text,)) for text in "1234"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert names(tmp_path) == ["x"]
    assert len(set(read(tmp_path / "x").values())) == 1
