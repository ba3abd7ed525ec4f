"""Folders that are replaced as a whole, and the reading of those that a killed save left."""

import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from .system import HIDDEN, exchange, find_state, flush, hidden_folder, locked, settle

T = TypeVar("T")

_PREVIOUS = ".previous"


def replace_folder(
    folder: Path, write: Callable[[Path], None], *, keep_others: bool = False
) -> None:
    """Write a folder, so that it is never half written.

    folder (Path): What to write or replace; of a link, the folder that it points to. On any
        failure it stays as it was.
    write (Callable): Gets an empty hidden folder beside it. Files that only their owner may read,
        since they were written as temporary ones, get the permissions of ordinary files.
    keep_others (bool): Whether what else lies in the folder stays in it.
    """
    folder = folder.resolve()
    state = find_state(folder)
    if (state and not stat.S_ISDIR(state.st_mode)) or os.path.ismount(folder):
        raise NotADirectoryError(
            f"{str(folder)!r} is a file or a mount point, which cannot be replaced by a folder. "
            "Name a folder in it or beside it."
        )
    finish_folder(folder)
    with hidden_folder(folder) as hidden:
        write(hidden)
        if keep_others:
            _keep_others(folder, hidden)
        settle(hidden)
        with locked([folder.parent]):
            if folder.exists():
                shutil.copymode(folder, hidden)
            _swap(hidden, folder)
            flush(folder.parent)


def finished_folder(folder: Path) -> Path:
    """Find a folder, even if a save that was killed between two renames left it under another name.

    folder (Path): A folder that replace_folder wrote.
    RETURNS (Path): Where to read it.
    """
    if folder.exists():
        return folder
    previous = _previous(folder.resolve())
    return previous if previous.exists() else folder


def read_folder(folder: Path, read: Callable[[Path], T]) -> T:
    """Read a folder that another process may replace meanwhile: once more if it did.

    folder (Path): A folder that replace_folder wrote.
    read (Callable): Gets the path where it is found, see finished_folder.
    RETURNS (T): What `read` returns for a folder that stayed the same.
    """
    while True:
        place = finished_folder(folder)
        before = _identity(place)
        try:
            result = read(place)
        except (OSError, ValueError):
            if _identity(finished_folder(folder)) == before:
                raise
        else:
            if _identity(finished_folder(folder)) == before:
                return result


def finish_folder(folder: Path) -> None:
    """Give a folder back the name that it lost to a save killed between two renames."""
    folder = folder.resolve()
    if finished_folder(folder) != folder:
        with locked([folder.parent]), suppress(FileNotFoundError):
            if not folder.exists():
                os.rename(_previous(folder), folder)


def finish_subfolders(folder: Path) -> None:
    """Finish what lies in a folder, and remove from it what killed savers left."""
    for target in finished_targets(folder):
        finish_folder(target)
    for path in _hidden_of(folder):
        shutil.rmtree(path)


def finished_subfolders(folder: Path) -> list[Path]:
    """RETURNS (list[Path]): The folders in a folder, as finished_folder gives them, sorted."""
    hidden = _hidden_of(folder)
    shown = [path for path in folder.iterdir() if path.is_dir() and path not in hidden]
    return [finished_folder(path) for path in sorted({*shown, *finished_targets(folder)})]


def finished_targets(folder: Path) -> list[Path]:
    """RETURNS (list[Path]): The folders in a folder that are being replaced, or were when the saver
    was killed: finished_folder finds what they held before."""
    return [
        folder / path.name[1 : -len(_PREVIOUS)]
        for path in _hidden_of(folder)
        if path.name.endswith(_PREVIOUS)
    ]


def _hidden_of(folder: Path) -> list[Path]:
    """What savers of the folders in a folder left, or are writing."""
    return [
        path
        for path in folder.iterdir()
        if path.is_dir()
        and path.name.startswith(".")
        and (path.name.endswith(_PREVIOUS) or HIDDEN.fullmatch(path.name))
    ]


def _keep_others(folder: Path, hidden: Path) -> None:
    if not folder.exists():
        return
    written, left = {path.name for path in hidden.iterdir()}, _hidden_of(folder)
    for path in folder.iterdir():
        if path.name in written or path in left:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, hidden / path.name, symlinks=True)
        else:
            shutil.copy2(path, hidden / path.name, follow_symlinks=False)


def _identity(folder: Path) -> tuple[int, int, int] | None:
    state = find_state(folder)
    # Numbers of removed folders are used again.
    return state and (state.st_dev, state.st_ino, state.st_mtime_ns)


def _previous(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}{_PREVIOUS}")


def _swap(hidden: Path, folder: Path) -> None:
    """Put a folder in its place. One that was there gets the hidden name."""
    previous = _previous(folder)
    if folder.exists() and exchange(hidden, folder):
        shutil.rmtree(previous, ignore_errors=True)  # of a save that was killed after its renames
        return
    try:
        if folder.exists():
            shutil.rmtree(previous, ignore_errors=True)
            os.rename(folder, previous)
        os.rename(hidden, folder)
    except BaseException:
        if previous.exists() and not folder.exists():
            os.rename(previous, folder)
        raise
    if previous.exists():
        os.rename(previous, hidden)
