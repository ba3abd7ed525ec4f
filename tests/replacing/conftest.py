"""Folders to write and what lies in them, both ways to exchange them."""

import pytest

from spacy_lgu.replacing import system

SAVED = {"a": "1", "b/c": "2"}


@pytest.fixture(params=["one step", "two renames"])
def swap(request, monkeypatch):
    """Both ways to put a folder where another one is."""
    if request.param == "two renames":
        monkeypatch.setattr(system, "_renameat2", no_function)


def no_function():
    return None


def writer(contents):
    def write(folder):
        for name, text in contents.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)

    return write


def read(folder):
    return {
        str(file.relative_to(folder)): file.read_text()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def names(folder):
    return sorted(path.name for path in folder.iterdir())
