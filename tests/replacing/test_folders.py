import ctypes
import errno
import os
import subprocess
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from spacy_lgu.replacing import (
    finish_folder,
    finished_folder,
    folders,
    read_folder,
    replace_file,
    replace_folder,
    system,
)

from ..killing import kill_everywhere
from .conftest import SAVED, names, no_function, read, writer


def mode(path):
    return path.stat().st_mode & 0o777


def test_a_folder_is_made_and_replaced(tmp_path, swap):
    folder = tmp_path / "new" / "x"
    replace_folder(folder, writer(SAVED))
    assert read(folder) == {"a": "1", "b/c": "2"}
    replace_folder(folder, writer({"d": "3"}))
    assert read(folder) == {"d": "3"}
    assert names(tmp_path / "new") == ["x"]


def test_a_failure_leaves_the_earlier_folder(tmp_path, swap):
    def fail(folder):
        (folder / "a").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    for before in ({}, SAVED):
        if before:
            replace_folder(tmp_path / "x", writer(before))
        with pytest.raises(OSError, match="No space left on device"):
            replace_folder(tmp_path / "x", fail)
        assert names(tmp_path) == (["x"] if before else [])
    assert read(tmp_path / "x") == SAVED


@pytest.mark.parametrize("before", [None, SAVED])
def test_a_folder_whose_saver_is_killed_anywhere(tmp_path, swap, before):
    place = tmp_path / "place"

    def prepare():
        subprocess.run(["rm", "-rf", place], check=True)
        place.mkdir()
        if before:
            replace_folder(place / "x", writer(before))

    def save():
        replace_folder(place / "x", writer({"d": "3", "e": "4"}))

    found = []
    for _ in kill_everywhere(save, below=place, prepare=prepare):
        folder = finished_folder(place / "x")
        found.append(read(folder) if folder.exists() else None)
        # The same call goes on, and leaves nothing else.
        save()
        assert names(place) == ["x"]
        assert read(place / "x") == {"d": "3", "e": "4"}
    n_new = found.count({"d": "3", "e": "4"})
    assert found == [before] * (len(found) - n_new) + [{"d": "3", "e": "4"}] * n_new
    assert 0 < n_new < len(found)


def test_a_folder_is_never_away_where_names_can_be_exchanged(tmp_path):
    if not system._renameat2():
        return
    replace_folder(tmp_path / "x", writer({"a": "0"}))
    done = threading.Event()
    wrong = []

    def look():
        while not done.is_set():
            if (tmp_path / "x" / "a").read_text() not in ("0", "1"):
                wrong.append("half")

    reader = threading.Thread(target=look)
    reader.start()
    for i in range(50):
        replace_folder(tmp_path / "x", writer({"a": str(i % 2)}))
    done.set()
    reader.join()
    assert not wrong


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS])
def test_file_systems_that_cannot_exchange_names(tmp_path, monkeypatch, number):
    def refuse(*args):
        ctypes.set_errno(number)
        return -1

    def find():
        return refuse

    monkeypatch.setattr(system, "_renameat2", find)
    for text in "12":
        replace_folder(tmp_path / "x", writer({"a": text}))
    assert read(tmp_path / "x") == {"a": "2"}
    assert names(tmp_path) == ["x"]


def test_a_failed_last_rename_brings_the_earlier_folder_back(tmp_path, monkeypatch):
    replace_folder(tmp_path / "x", writer(SAVED))
    rename = os.rename

    def fail(path, target):
        if ".partial-" in str(path):
            raise OSError(errno.EIO, "Input/output error")
        rename(path, target)

    monkeypatch.setattr(system, "_renameat2", no_function)
    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match="Input/output error"):
        replace_folder(tmp_path / "x", writer({}))
    assert names(tmp_path) == ["x"]
    assert read(tmp_path / "x") == SAVED


def test_what_a_kill_between_two_renames_left(tmp_path, swap):
    folder, previous = tmp_path / "x", tmp_path / ".x.previous"

    def prepare():
        replace_folder(folder, writer(SAVED))
        folder.rename(previous)

    def fail(folder):
        raise KeyboardInterrupt

    prepare()
    assert finished_folder(folder) == previous
    finish_folder(folder)
    assert finished_folder(folder) == folder
    assert names(tmp_path) == ["x"]
    folder.rename(previous)
    with pytest.raises(KeyboardInterrupt):
        replace_folder(folder, fail)
    assert names(tmp_path) == ["x"]
    folder.rename(previous)
    replace_folder(folder, writer({"d": "3"}))
    assert names(tmp_path) == ["x"]
    # Killed after both: the folder is the new one.
    previous.mkdir()
    finish_folder(folder)
    assert finished_folder(folder) == folder
    replace_folder(folder, writer({"e": "4"}))
    assert names(tmp_path) == ["x"]
    assert read(folder) == {"e": "4"}


def test_links_are_kept(tmp_path, swap):
    (tmp_path / "outside").write_text("mine")
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    replace_folder(tmp_path / "link", writer(SAVED))
    assert (tmp_path / "link").is_symlink()
    assert read(tmp_path / "disk") == SAVED
    (tmp_path / "disk").rename(tmp_path / ".disk.previous")
    assert finished_folder(tmp_path / "link") == tmp_path / ".disk.previous"
    assert (tmp_path / "outside").read_text() == "mine"
    assert names(tmp_path) == [".disk.previous", "link", "outside"]


def test_places_that_cannot_be_replaced(tmp_path, monkeypatch):
    def is_mount(path):
        return path == tmp_path / "x"

    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"'.*/file' is a file or a mount point"):
        replace_folder(tmp_path / "file", writer(SAVED))
    monkeypatch.setattr(os.path, "ismount", is_mount)
    with pytest.raises(NotADirectoryError, match=r"'.*/x' is a file or a mount point"):
        replace_folder(tmp_path / "x", writer(SAVED))
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize(("umask", "expected"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_permissions_are_those_of_the_umask(tmp_path, swap, umask, expected):
    def write(path):
        save_file({"x": torch.zeros(2)}, path / "weights" if path.is_dir() else path)

    before = os.umask(umask)
    try:
        for _ in range(2):
            replace_folder(tmp_path / "x", write)
            replace_file(tmp_path / "y", write)
            replace_file(tmp_path / "z", b"z")
    finally:
        os.umask(before)
    assert mode(tmp_path / "x") == 0o777 & ~umask
    for file in (tmp_path / "x" / "weights", tmp_path / "y", tmp_path / "z"):
        assert mode(file) == expected


def test_a_folder_keeps_its_permissions_and_links_theirs(tmp_path, swap):
    (tmp_path / "private").write_text("mine")
    (tmp_path / "private").chmod(0o600)

    def link(folder):
        (folder / "link").hardlink_to(tmp_path / "private")

    (tmp_path / "x").mkdir(mode=0o700)
    replace_folder(tmp_path / "x", link)
    assert mode(tmp_path / "x") == 0o700
    assert mode(tmp_path / "private") == 0o600


def test_everything_is_on_the_disk_before_it_is_renamed(tmp_path, monkeypatch):
    events = []

    def fsync(handle):
        events.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name.partition("-")[0])

    def swap(hidden, folder):
        events.append("swap")
        os.rename(hidden, folder)

    def save(folder):
        replace_folder(folder / "inner", writer({"a": "1"}))  # which does not wait by itself

    place = tmp_path / "place"
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(folders, "_swap", swap)
    replace_folder(place / "x", save)
    inner = ["swap", ".x.partial"]
    assert events == [*inner, "a", "inner", ".x.partial", "swap", "place"]
    events.clear()
    replace_file(place / "y", b"2")
    assert events == ["y", ".y.partial", "place"]


def test_folder_that_changes_while_it_is_read(tmp_path):
    replace_folder(tmp_path / "x", writer({"a": "1"}))
    found = []

    def read_slowly(folder):
        found.append((folder / "a").read_text())
        if len(found) == 1:
            replace_folder(tmp_path / "x", writer({"a": "2"}))
        return found[-1]

    assert read_folder(tmp_path / "x", read_slowly) == "2"
    assert found == ["1", "2"]
