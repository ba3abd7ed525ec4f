"""Sizes and hashes of files, by which a save recognizes its own files."""

import hashlib
from pathlib import Path
from typing import Any

from .source import CONFIG
from .weights import weight_files

FingerprintsT = dict[str, dict[str, Any]]


def fingerprint(file: Path, *, full: bool) -> dict[str, Any]:
    """Size and header of a safetensors file, and on demand a hash of all of it.

    file (Path): A safetensors file.
    full (bool): Whether to read and hash the whole file.
    RETURNS (dict): "bytes", "header_sha256" and, if full, "sha256".
    """
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = stream.read(min(length, 100_000_000))
        result: dict[str, Any] = {
            "bytes": file.stat().st_size,
            "header_sha256": hashlib.sha256(header).hexdigest(),
        }
        if full:
            stream.seek(0)
            result["sha256"] = hashlib.file_digest(stream, "sha256").hexdigest()
    return result


def fingerprint_folder(folder: Path, *, full: bool) -> FingerprintsT:
    """The fingerprints of a decoder's weights, and of the config that gives them their meaning.

    folder (Path): A folder as save_pretrained writes it.
    full (bool): Whether to read and hash all weights.
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
    return {
        CONFIG: {"bytes": len(config), "config_sha256": digest},
        **{file.name: fingerprint(file, full=full) for file in weight_files(folder)},
    }


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
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            found[name] = {"bytes": file.stat().st_size, "sha256": digest}
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
