"""A folder that one process at a time writes, and who that is."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from .files import replace_file


@contextmanager
def holding(lock: Path, holder: Path, refuse: Callable[[str], str]) -> Iterator[None]:
    """Hold a folder.

    lock (Path): File in it that is locked.
    holder (Path): File in it that names process and machine meanwhile.
    refuse (Callable): Gets who else holds it. RETURNS (str): What FileExistsError says then.
    """
    held = FileLock(lock, blocking=False)
    try:
        held.acquire()
    except Timeout:
        raise FileExistsError(refuse(_describe(holder))) from None
    try:
        entry = {"pid": os.getpid(), "host": socket.gethostname()}
        replace_file(holder, json.dumps(entry).encode("utf8") + b"\n")
        yield
    finally:
        holder.unlink(missing_ok=True)
        held.release()


def _describe(holder: Path) -> str:
    try:
        entry = json.loads(holder.read_text(encoding="utf8"))
        return f"process {entry['pid']} on {entry['host']}"
    except (OSError, ValueError, KeyError, TypeError):  # it has only just begun, or ended
        return "another process"
