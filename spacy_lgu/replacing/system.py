"""What replacing needs from the system: hidden folders, locks, exchanged names, a full flush."""

import ctypes
import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

# The last part is missing in version 0.1.0.
HIDDEN = re.compile(r"\.(?P<target>.+)\.partial-\d+(-[0-9a-f]{8})?", re.DOTALL)
# Bytes of a name beside which there is room for the other parts.
_LONGEST = 200
# Seconds after which an unfinished save counts as given up, where folders cannot be locked.
_GIVEN_UP = 24 * 60 * 60
# linux/fcntl.h and linux/fs.h
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
# Answers of kernels, file systems and sandboxes that cannot exchange two names.
_NO_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)


def find_state(path: Path) -> os.stat_result | None:
    """The state of a path, None if there is nothing. Asked once: another saver may remove it."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


@contextmanager
def hidden_folder(target: Path) -> Iterator[Path]:
    """An empty hidden folder beside a path, locked until it is removed at the end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_overs(target)
    while True:
        name = f".{_shorten(target.name)}.partial-{os.getpid()}-{secrets.token_hex(4)}"
        hidden = target.with_name(name)
        hidden.mkdir()
        with suppress(FileNotFoundError):
            lock = _lock(hidden, wait=True)
            if hidden.exists():
                break
            _unlock(lock)
        # Before it was locked, another process removed it as a left-over.
    try:
        yield hidden
    finally:
        # Where files that are still mapped cannot be removed (NFS), the next save will.
        shutil.rmtree(hidden, ignore_errors=True)
        _unlock(lock)


@contextmanager
def locked(folders: list[Path]) -> Iterator[None]:
    """Keep others from renaming in folders. Hidden ones are their saver's, and locked already."""
    # Everybody locks several in the same order, so that no two wait for each other.
    locks = [_lock(path, wait=True) for path in folders if not HIDDEN.fullmatch(path.name)]
    try:
        yield
    finally:
        for lock in locks:
            _unlock(lock)


def settle(hidden: Path) -> None:
    """Give what was written its permissions, and wait until it is on the disk.

    A rename may reach the disk before what it renames: after a power cut, files would have their
    names, but no content. Waiting for gigabytes takes the seconds in which they are written out;
    links to files that were saved before cost nothing.
    """
    if HIDDEN.fullmatch(hidden.parent.name):
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
            flush(file)
        flush(Path(folder))


def flush(path: Path) -> None:
    """Wait until a file, or the list of a folder's names, is on the disk."""
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


def exchange(first: Path, second: Path) -> bool:
    """Exchange the names of two folders in one step, so that a reader finds one or the other.

    RETURNS (bool): False where the system or the file system knows no such step.
    """
    rename = _renameat2()
    if rename is None:
        return False
    sys.audit("os.rename", str(first), str(second), -1, -1)  # as os.rename does
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


def _remove_left_overs(target: Path) -> None:
    """Remove what killed processes left. Their ids say nothing: they may have run on another
    machine or in a container, and a number may belong to another process by now.
    """
    for path in list(target.parent.iterdir()):
        if not (found := HIDDEN.fullmatch(path.name)) or found["target"] != _shorten(target.name):
            continue
        with suppress(OSError):  # somebody is writing or removing it, or forbids it
            lock = _lock(path, wait=False)
            if lock is not None or time.time() - _last_change(path) > _GIVEN_UP:
                shutil.rmtree(path, ignore_errors=True)
            _unlock(lock)


def _shorten(name: str) -> str:
    """A name to which more can be added: file systems take 255 bytes."""
    if len(os.fsencode(name)) <= _LONGEST:
        return name
    return f"{name[: _LONGEST // 8]}~{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}"


def _last_change(folder: Path) -> float:
    return max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))


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
        fcntl.flock(lock, fcntl.LOCK_UN)  # closing alone would not, if a forked process has it too
        os.close(lock)
