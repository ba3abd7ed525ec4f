"""Files and folders that are replaced as a whole or stay as they were, whatever ends the process.

What is written fills a hidden folder beside its place first, `.NAME.partial-PID-...`, and is on
the disk before one rename puts it where the earlier one was. Several processes may save to one
place: the last to finish wins, and what a killed one left is removed by the next.
"""

import ctypes
import errno
import os
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

T = TypeVar("T")

# Bytes, or a function that writes the file whose path it gets.
FileContent = bytes | Callable[[Path], None]

_PREVIOUS = ".previous"
# The last part is missing in version 0.1.0.
_HIDDEN = re.compile(r"\.(?P<target>.+)\.partial-\d+(-[0-9a-f]{8})?", re.DOTALL)
# Seconds after which an unfinished save counts as given up, where no lock tells.
_GIVEN_UP = 24 * 60 * 60
# linux/fcntl.h and linux/fs.h
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
# What kernels, file systems and sandboxes answer that cannot exchange two names.
_NO_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)


def replace_folder(
    folder: Path, write: Callable[[Path], None], *, keep_others: bool = False
) -> None:
    """Write a folder, so that it is never half written.

    folder (Path): What to write or replace; of a link, the folder that it points to. On any
        failure it stays as it was.
    write (Callable): Gets an empty hidden folder beside it. Files that only their owner may read,
        since their writer made them as temporary ones, get the permissions of ordinary files.
    keep_others (bool): Whether what lies in the folder and is not written anew stays in it.
    """
    folder = folder.resolve()
    state = _state(folder)
    if (state and not stat.S_ISDIR(state.st_mode)) or os.path.ismount(folder):
        raise NotADirectoryError(
            f"{str(folder)!r} is a file or a mount point, which cannot be replaced by a folder. "
            "Name a folder in it or beside it."
        )
    finish_folder(folder)
    with _hidden_folder(folder) as hidden:
        write(hidden)
        if keep_others:
            _keep_others(folder, hidden)
        _settle(hidden)
        with _locked([folder.parent]):
            if folder.exists():
                shutil.copymode(folder, hidden)
            _swap(hidden, folder)
            _flush(folder.parent)


def replace_file(file: Path, content: FileContent) -> None:
    """Write a file, so that it is never half written; see replace_files."""
    replace_files({file: content})


def replace_files(contents: Mapping[Path, FileContent]) -> None:
    """Write files that belong together.

    No system renames several files at once. All but the first are therefore away for the moment
    in which the first is replaced: a process that is killed then leaves the earlier files, the
    new ones, or lacks some. It never leaves an earlier one beside a new one.

    contents (Mapping[Path, FileContent]): What each file is to hold. If that cannot be written,
        all stay as they were. Of a link, the file that it points to is replaced. A device or a
        pipe is written to.
    """
    if len({file.resolve() for file in contents}) < len(contents):
        raise ValueError(f"Expected different files, but got {[str(file) for file in contents]}.")
    with ExitStack() as stack:
        moves: list[tuple[Path, Path]] = []
        for file, content in contents.items():
            state = _state(file)
            if state and stat.S_ISDIR(state.st_mode):
                raise IsADirectoryError(f"{str(file)!r} is a folder: expected a file to write.")
            if state and not stat.S_ISREG(state.st_mode):
                _write_file(file, content)
                continue
            file = file.resolve()
            hidden = stack.enter_context(_hidden_folder(file))
            (hidden / file.name).touch()  # gets the permissions of any new file
            mode = (hidden / file.name).stat().st_mode
            _write_file(hidden / file.name, content)
            (hidden / file.name).chmod(stat.S_IMODE(mode))
            _settle(hidden)
            moves.append((hidden / file.name, file))
        parents = sorted({file.parent for _, file in moves})
        with _locked(parents):
            _move_files(moves)
            for parent in parents:
                _flush(parent)


def finished_folder(folder: Path) -> Path:
    """A save that was killed between two renames left the earlier one under another name.

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
    """Give a folder its name back that a save which was killed between two renames took away."""
    folder = folder.resolve()
    if finished_folder(folder) != folder:
        with _locked([folder.parent]), suppress(FileNotFoundError):
            if not folder.exists():
                os.rename(_previous(folder), folder)


def finish_subfolders(folder: Path) -> None:
    """Finish what lies in a folder, and remove from it what killed savers left."""
    for path in _hidden_of(folder):
        if path.name.endswith(_PREVIOUS):
            finish_folder(path.with_name(path.name[1 : -len(_PREVIOUS)]))
    for path in _hidden_of(folder):
        shutil.rmtree(path)


def finished_subfolders(folder: Path) -> list[Path]:
    """RETURNS (list[Path]): The folders in a folder, as finished_folder gives them, sorted."""
    hidden = _hidden_of(folder)
    previous = [folder / p.name[1 : -len(_PREVIOUS)] for p in hidden if p.name.endswith(_PREVIOUS)]
    shown = [path for path in folder.iterdir() if path.is_dir() and path not in hidden]
    return [finished_folder(path) for path in sorted({*shown, *previous})]


def _hidden_of(folder: Path) -> list[Path]:
    """What savers of the folders in a folder left, or are writing."""
    return [
        path
        for path in folder.iterdir()
        if path.is_dir()
        and path.name.startswith(".")
        and (path.name.endswith(_PREVIOUS) or _HIDDEN.fullmatch(path.name))
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
    state = _state(folder)
    # Numbers of removed folders come again.
    return state and (state.st_dev, state.st_ino, state.st_mtime_ns)


def _state(path: Path) -> os.stat_result | None:
    """None if there is nothing. Asked once: between two questions another saver may take it."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _previous(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}{_PREVIOUS}")


def _swap(hidden: Path, folder: Path) -> None:
    """Put a folder in its place. One that was there gets the hidden name."""
    previous = _previous(folder)
    if folder.exists() and _exchange(hidden, folder):
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


def _exchange(first: Path, second: Path) -> bool:
    """Let two folders change their names in one step, so that a reader finds one or the other.

    RETURNS (bool): False where the system or the file system knows no such step.
    """
    rename = _renameat2()
    if rename is None:
        return False
    sys.audit("os.rename", str(first), str(second), -1, -1)  # as os.rename tells what it does
    names = os.fsencode(first), os.fsencode(second)
    if rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NO_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(first), None, str(second))


@cache
def _renameat2() -> Any:
    """RETURNS (Callable | None): The function of the C library, where it has one."""
    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):  # none, or (on Windows) no such way to ask
        return None
    function.argtypes = [
        ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint
    ]  # fmt: skip
    return function


def _move_files(moves: list[tuple[Path, Path]]) -> None:
    away = [(file, new.with_name(".previous")) for new, file in moves[1:] if file.exists()]
    try:
        for file, aside in away:
            os.rename(file, aside)
        for new, file in moves[:1]:
            os.replace(new, file)
    except BaseException:
        if moves[0][0].exists():  # the first is still the earlier one
            for file, aside in away:
                if aside.exists():
                    os.rename(aside, file)
        raise
    for new, file in moves[1:]:
        os.replace(new, file)


def _write_file(file: Path, content: FileContent) -> None:
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        content(file)


@contextmanager
def _hidden_folder(target: Path) -> Iterator[Path]:
    """An empty hidden folder beside a path, locked until it is removed in the end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_overs(target)
    while True:
        name = f".{target.name}.partial-{os.getpid()}-{secrets.token_hex(4)}"
        hidden = target.with_name(name)
        hidden.mkdir()
        with suppress(FileNotFoundError):
            lock = _lock(hidden, wait=True)
            if hidden.exists():
                break
            _unlock(lock)
        # Before it was locked, another process took it for a left-over.
    try:
        yield hidden
    finally:
        # Where files that are still mapped cannot be removed (NFS), the next save will.
        shutil.rmtree(hidden, ignore_errors=True)
        _unlock(lock)


def _remove_left_overs(target: Path) -> None:
    """Remove what killed processes left. Their ids tell nothing: they may have been processes of
    another machine or container, or of a number that is given to another one by now."""
    for path in list(target.parent.iterdir()):
        if not (found := _HIDDEN.fullmatch(path.name)) or found["target"] != target.name:
            continue
        with suppress(OSError):  # somebody is writing it, or removes it too, or may forbid it
            lock = _lock(path, wait=False)
            if lock is not None or time.time() - _last_change(path) > _GIVEN_UP:
                shutil.rmtree(path, ignore_errors=True)
            _unlock(lock)


def _last_change(folder: Path) -> float:
    return max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))


@contextmanager
def _locked(folders: list[Path]) -> Iterator[None]:
    """Keep others from renaming in folders. A hidden one has no others, and is locked already."""
    # Everybody takes several in the same order, so that nobody waits for one who waits for him.
    locks = [_lock(path, wait=True) for path in folders if not _HIDDEN.fullmatch(path.name)]
    try:
        yield
    finally:
        for lock in locks:
            _unlock(lock)


def _lock(folder: Path, *, wait: bool) -> int | None:
    """Lock a folder, against other threads of this process as well.

    RETURNS (int | None): For _unlock; None where folders cannot be locked (Windows, NFS). Raises
        BlockingIOError if another one holds it and wait is False.
    """
    if fcntl is None:
        return None
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise
    except OSError:
        os.close(lock)
        return None
    return lock


def _unlock(lock: int | None) -> None:
    if lock is not None:
        fcntl.flock(lock, fcntl.LOCK_UN)  # closing would not do where a forked process has it too
        os.close(lock)


def _settle(hidden: Path) -> None:
    """Give what was written its permissions, and wait until it is on the disk.

    A rename may reach the disk before what it renames does: after a power cut, names of whole
    files would stand before empty ones. Waiting for gigabytes takes the seconds in which they
    are written out; links to files that were saved before cost nothing.
    """
    if _HIDDEN.fullmatch(hidden.parent.name):
        return  # a part of something that will be settled as a whole
    readable = hidden.stat().st_mode & 0o666  # as the umask gives
    for folder, _, names in os.walk(hidden, topdown=False):
        for name in names:
            file = Path(folder, name)
            state = file.lstat()
            if not stat.S_ISREG(state.st_mode):
                continue
            # safetensors writes through a temporary file. A linked one belongs to others as well.
            if stat.S_IMODE(state.st_mode) == 0o600 and state.st_nlink == 1:
                file.chmod(readable)
            _flush(file)
        _flush(Path(folder))


def _flush(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # cannot be opened there
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some file systems cannot flush folders. A full one may say so only here.
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(handle)
