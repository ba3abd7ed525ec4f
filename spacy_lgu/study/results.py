"""Results as JSON lines, one per run, written by several processes, each of which may be killed."""

import json
import lzma
import os
import sys
from pathlib import Path
from typing import Any

from filelock import FileLock


def read_results(path: Path, *, field: str = "f1") -> list[dict[str, Any]]:
    """Read the finished runs of a results file.

    path (Path): A .jsonl or .jsonl.xz file.
    field (str): What every result has.
    RETURNS (list[dict[str, Any]]): Empty if there is no file. A last line that was cut off is left
        out with a message: its run is made again. Raises ValueError with file and line for
        anything else that is no result as JSON.
    """
    if not path.exists():
        return []
    content = path.read_bytes()
    if path.suffix == ".xz":
        try:
            content = lzma.decompress(content)
        except lzma.LZMAError as error:
            raise ValueError(f"{path} is damaged or cut off: {error}.") from error
    whole = _find_whole(content)
    if whole < len(content):
        sys.stderr.write(f"{path}: the last line was cut off and is left out\n")
    results = []
    for number, line in enumerate(content[:whole].splitlines(), 1):
        try:
            entry = json.loads(line)
            if not isinstance(entry, dict) or field not in entry:
                raise ValueError("JSON of another kind")
            results.append(entry)
        except ValueError as error:  # not JSON, or not UTF-8
            raise ValueError(
                f"{path}:{number}: expected a result as JSON, but found {line[:40]!r}. Remove the "
                "line: its run is made again."
            ) from error
    return results


def prepare_results(path: Path) -> None:
    """Raise OSError if nothing can be added to a results file, before runs take hours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab"):
        pass


def append_result(path: Path, entry: dict[str, Any]) -> None:
    """Add a finished run to a results file, to which other processes may be adding.

    path (Path): A .jsonl file. A last line that was cut off is removed.
    entry (dict[str, Any]): The run.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"), path.open("a+b") as stream:
        stream.seek(0)
        content = stream.read()
        whole = _find_whole(content)
        stream.truncate(whole)
        line = json.dumps(entry).encode("utf8") + b"\n"
        stream.write(line if content[:whole].endswith(b"\n") or not whole else b"\n" + line)
        stream.flush()
        os.fsync(stream.fileno())  # a run may have taken hours


def _find_whole(content: bytes) -> int:
    """Bytes up to the end of the last line, without it if it was cut off."""
    start = content.rfind(b"\n") + 1
    try:
        json.loads(content[start:])
    except ValueError:
        return start
    return len(content)
