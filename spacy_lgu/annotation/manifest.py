"""What a run is: the pipeline by its files, the inputs by their content, and the options."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from spacy.util import get_package_path, is_package

from ..decoder.hashes import hash_once
from ..decoder.reading import read_json
from ..inputs import named_path
from ..replacing import finished_folder
from .finding import InputFile
from .settings import Settings
from .shards import Scanned, scan

_VERSION = 1
_META = ("lang", "name", "version")


def describe_pipeline(name: str, code: Path | None) -> dict[str, Any]:
    """What a pipeline is, without loading it.

    name (str): Its folder, or the name of an installed package.
    code (Path | None): Python file that it needs.
    RETURNS (dict[str, Any]): Language, name and version by its meta.json, and a digest of all its
        files. Raises FileNotFoundError if there is none.
    """
    folder = finished_folder(named_path(name))
    if not folder.is_dir() and is_package(name):
        folder = get_package_path(name)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"There is no pipeline {name!r}: expected a folder, as nlp.to_disk or `spacy train` "
            "writes it, or the name of an installed package."
        )
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not _is_hidden(path, folder)
    )
    metas = [path for path in files if path.name == "meta.json"]
    meta = read_json(min(metas, key=lambda path: len(path.parts))) if metas else {}
    names = [path.relative_to(folder).as_posix() for path in files]
    if code is not None:
        files.append(code)
        names.append("--code")
    hashed = json.dumps([*zip(names, hash_once(files), strict=True)])
    digest = hashlib.sha256(hashed.encode("utf8")).hexdigest()
    return {**{key: meta.get(key) for key in _META}, "digest": digest}


def make_manifest(
    pipeline: dict[str, Any],
    also: Mapping[str, dict[str, Any]],
    files: Sequence[Scanned],
    settings: Settings,
) -> dict[str, Any]:
    """RETURNS (dict[str, Any]): All that a run that goes on must have in common with the first."""
    return {
        "version": _VERSION,
        "pipeline": pipeline,
        **({"also": dict(also)} if also else {}),
        "options": settings.as_options(),
        "inputs": [scanned.identity() for scanned in files],
    }


def scan_inputs(
    files: Sequence[InputFile],
    settings: Settings,
    before: dict[str, Any] | None,
    say: Callable[[str], None],
) -> list[Scanned]:
    """Find the shards of the inputs.

    files (Sequence[InputFile]): The files.
    settings (Settings): Options.
    before (dict[str, Any] | None): Manifest of the run that goes on. A file that has size and time
        of change as it says is not read again.
    say (Callable): Called with what is read.
    RETURNS (list[Scanned]): Raises ValueError naming a file that is damaged.
    """
    is_same = before is not None and before.get("options") == settings.as_options()
    known = {entry["name"]: entry for entry in before["inputs"]} if before and is_same else {}
    found: dict[str, Scanned] = {}
    for file in files:
        entry, state = known.get(file.name), file.path.stat()
        if entry and (entry["n_bytes"], entry["mtime_ns"]) == (state.st_size, state.st_mtime_ns):
            values = {k: v for k, v in entry.items() if k not in ("name", "kind")}
            found[file.name] = Scanned(file, **values)
    new = [file for file in files if file.name not in found]
    if new:
        n_bytes = sum(file.path.stat().st_size for file in new)
        say(f"Counting the records of {len(new):,} files, {n_bytes / 1e6:,.1f} MB")
    return [found.get(file.name) or scan(file, settings) for file in files]


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)
