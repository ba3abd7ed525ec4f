"""SIGKILL at every event that changes a file: what does a process leave that is killed there?"""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

_CHANGES = (
    "os.chmod", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink",
    "os.truncate", "shutil.copyfile", "shutil.copymode", "shutil.move", "shutil.rmtree",
)  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def kill_everywhere(
    function: Callable[[], Any], *, below: Path, prepare: Callable[[], Any], every: int = 1
) -> Iterator[int | None]:
    """Run a function again and again, killed at its first event, its second, ... until it ends.

    function (Callable): Runs in a forked process.
    below (Path): The folder whose events count.
    prepare (Callable): Makes the state before, at each time.
    every (int): More than 1 leaves events out, where each takes long.
    YIELDS (int | None): The event at which the process was killed, when it is; None at last, when
        it has come to its end. What it left is then to be looked at.
    """
    for event in count(step=every):
        prepare()
        if not kill_at(event, function, below=below):
            yield None
            return
        yield event


def kill_at(event: int, function: Callable[[], Any], *, below: Path) -> bool:
    """Run a function in a forked process that is killed right before an event, counted from 0.

    RETURNS (bool): False if it had come to its end before. Raises RuntimeError if it failed.
    """
    process = os.fork()
    if not process:
        _become_mortal(event, below.resolve())
        status = 1
        try:
            function()
            status = 0
        finally:
            if status:
                traceback.print_exc()
            os._exit(status)
    status = os.waitpid(process, 0)[1]
    if status and not os.WIFSIGNALED(status):
        raise RuntimeError(f"The function failed before its event {event}; see its output.")
    return bool(status)


def _become_mortal(event: int, below: Path) -> None:
    left = event

    def hook(name: str, args: tuple[Any, ...]) -> None:
        nonlocal left
        if not _is_change(name, args, below):
            return
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    sys.addaudithook(hook)


def _is_change(name: str, args: tuple[Any, ...], below: Path) -> bool:
    if name == "open":
        return bool(args[2] & _WRITING) and _is_below(args[0], below)
    if name not in _CHANGES:
        return False
    # shutil.rmtree removes names in folders that it holds open, the last argument.
    if name in ("os.remove", "os.rmdir") and args[1] != -1:
        return _is_below(f"/proc/self/fd/{args[1]}", below)
    return any(_is_below(arg, below) for arg in args)


def _is_below(path: Any, below: Path) -> bool:
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    return Path(os.path.realpath(os.fsdecode(path))).is_relative_to(below)
