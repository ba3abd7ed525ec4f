"""Hashes of files, computed once for large ones: a record says what was hashed, and in which state.

A base decoder in a folder is known by the hashes of its weights, which take longer to compute than
the weights take to load. The record is in HF_HOME, beside the hub's cache. It is used where a base
is loaded to be trained; `verify` reads every byte.
"""

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from huggingface_hub import constants

from ..replacing import replace_file
from .reading import read_json

logger = logging.getLogger("spacy_lgu")

# Smaller files are hashed in less time than it takes to look.
_LARGE = 64 * 2**20
# A file that was changed later than this before it was hashed is not recorded: file systems count
# time in steps, so that a second change could leave no trace.
_SETTLED_SECONDS = 3


def hash_file(file: Path) -> str:
    """RETURNS (str): The SHA-256 of a file's content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_once(files: Sequence[Path]) -> list[str]:
    """Hash files side by side, large ones only if they changed since they were last hashed.

    files (Sequence[Path]): The files.
    RETURNS (list[str]): The SHA-256 of each.
    """
    names = [str(file.resolve()) for file in files]
    states = [_state(file) for file in files]
    place = Path(constants.HF_HOME, "spacy-lgu", "hashes.json")
    is_large = [file.stat().st_size >= _LARGE for file in files]
    recorded = _read(place) if any(is_large) else {}
    missing = [
        i
        for i, name in enumerate(names)
        if not is_large[i] or recorded.get(name, {}).get("state") != states[i]
    ]
    began = time.time()
    with ThreadPoolExecutor(max_workers=8) as pool:  # hashing leaves the lock of the interpreter
        hashed = dict(zip(missing, pool.map(lambda i: hash_file(files[i]), missing), strict=True))
    new = {
        names[i]: {"state": states[i], "sha256": digest}
        for i, digest in hashed.items()
        if is_large[i] and _is_settled(files[i], states[i], began)
    }
    if new:
        _write(place, {**_read(place), **new})
    return [hashed[i] if i in hashed else recorded[name]["sha256"] for i, name in enumerate(names)]


def _state(file: Path) -> list[int]:
    """What changes with a file: the time of the last change of its inode cannot be set back."""
    stat = file.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev]


def _is_settled(file: Path, state: list[int], began: float) -> bool:
    last_change = max(state[1:3]) / 1e9
    return _state(file) == state and began - last_change > _SETTLED_SECONDS


def _read(place: Path) -> dict[str, Any]:
    if not place.is_file():
        return {}
    try:
        found = read_json(place)
        return {name: file for name, file in found.items() if {"state", "sha256"} == {*file}}
    except (TypeError, ValueError) as error:
        logger.warning("Hashes of files are computed anew: %s", error)
        return {}


def _write(place: Path, recorded: dict[str, Any]) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_file(place, json.dumps(recorded, indent=1).encode("utf8"))
    except OSError as error:
        logger.warning("Hashes of files cannot be kept, and will be computed again: %s", error)
