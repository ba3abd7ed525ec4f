"""Files that are replaced as a whole, one alone or several that belong together."""

import os
import stat
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from .system import find_state, flush, hidden_folder, locked, settle

# Bytes, or a function that writes the file whose path it gets.
FileContent = bytes | Callable[[Path], None]


def replace_file(file: Path, content: FileContent) -> None:
    """Write a file, so that it is never half written; see replace_files."""
    replace_files({file: content})


def replace_files(contents: Mapping[Path, FileContent]) -> None:
    """Write files that belong together.

    No system renames several files at once. All but the first are therefore away for the moment
    in which the first is replaced: a process that is killed then leaves the earlier files, the
    new ones, or lacks some. It never leaves an earlier one beside a new one.

    contents (Mapping[Path, FileContent]): What each file is to hold. If that cannot be written,
        all stay as they were. Permissions stay those of the earlier file. Of a link, the file that
        it points to is replaced. A device or a pipe is written to.
    """
    if len({file.resolve() for file in contents}) < len(contents):
        raise ValueError(f"Expected different files, but got {[str(file) for file in contents]}.")
    with ExitStack() as stack:
        moves: list[tuple[Path, Path]] = []
        for file, content in contents.items():
            state = find_state(file)
            if state and stat.S_ISDIR(state.st_mode):
                raise IsADirectoryError(f"{str(file)!r} is a folder: expected a file to write.")
            if state and not stat.S_ISREG(state.st_mode):
                _write_file(file, content)
                continue
            file = file.resolve()
            hidden = stack.enter_context(hidden_folder(file))
            (hidden / file.name).touch()  # gets the permissions of any new file
            mode = (state or (hidden / file.name).stat()).st_mode
            (hidden / file.name).chmod(stat.S_IMODE(mode) | stat.S_IWUSR)
            _write_file(hidden / file.name, content)
            settle(hidden)
            (hidden / file.name).chmod(stat.S_IMODE(mode))
            moves.append((hidden / file.name, file))
        parents = sorted({file.parent for _, file in moves})
        with locked(parents):
            _move_files(moves)
            for parent in parents:
                flush(parent)


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
