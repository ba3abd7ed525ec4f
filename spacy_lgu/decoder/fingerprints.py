"""Sizes and hashes of files, by which a save recognizes its own files."""

import hashlib
from pathlib import Path
from typing import Any

from .hashes import hash_file, hash_once
from .source import CONFIG
from .weights import weight_files

FingerprintsT = dict[str, dict[str, Any]]


def fingerprint(file: Path) -> dict[str, Any]:
    """Size and header of a safetensors file.

    file (Path): The file.
    RETURNS (dict): "bytes" and "header_sha256".
    """
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = stream.read(min(length, 100_000_000))
    return {"bytes": file.stat().st_size, "header_sha256": hashlib.sha256(header).hexdigest()}


def fingerprint_folder(
    folder: Path, *, full: bool, remember: bool = False, n_layers: int | None = None
) -> FingerprintsT:
    """The fingerprints of a decoder's weights, and of the config that gives them their meaning.

    folder (Path): A folder as save_pretrained writes it.
    full (bool): Whether to hash all weights, as "sha256".
    remember (bool): Whether a file that has not changed since it was hashed is not read again.
    n_layers (int | None): As in Source; files that hold nothing of these layers are left out.
    RETURNS (dict): By file name; that of the config: "bytes" and "config_sha256". Raises ValueError
        when the config or weights are missing.
    """
    if not (folder / CONFIG).is_file():
        raise ValueError(
            f"The decoder in {str(folder)!r} is incomplete: {CONFIG} is missing. Copy it again "
            "from where it was saved."
        )
    config = (folder / CONFIG).read_bytes()
    digest = hashlib.sha256(config).hexdigest()
    files = weight_files(folder, n_layers=n_layers)
    found = {
        CONFIG: {"bytes": len(config), "config_sha256": digest},
        **{file.name: fingerprint(file) for file in files},
    }
    if full:
        hashes = hash_once(files) if remember else map(hash_file, files)
        for file, sha256 in zip(files, hashes, strict=True):
            found[file.name]["sha256"] = sha256
    return found


def hash_files(folder: Path, names: list[str]) -> FingerprintsT:
    """Sizes and hashes of files.

    folder (Path): Where they are.
    names (list[str]): Paths in it, with forward slashes.
    RETURNS (dict): "bytes" and "sha256" by name; a file that is missing is left out.
    """
    found = {}
    for name in names:
        file = folder / name
        if file.is_file():
            found[name] = {"bytes": file.stat().st_size, "sha256": hash_file(file)}
    return found


def differing_files(folder: Path, expected: FingerprintsT) -> list[str]:
    """Files that are missing, or whose content has changed.

    folder (Path): Where they are.
    expected (dict): Their fingerprints by name, from hash_files or fingerprint_folder.
    RETURNS (list[str]): Names.
    """
    found = hash_files(folder, list(expected))
    return [
        name
        for name, file in expected.items()
        if name not in found
        or found[name]["bytes"] != file.get("bytes")
        or found[name]["sha256"] != file.get("sha256", file.get("config_sha256"))
    ]


def list_files(folder: Path) -> list[str]:
    """Paths of all files in a folder and below, with forward slashes, sorted."""
    return sorted(
        file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()
    )
