"""JSON in a decoder's folder and the files that it names, read as what they are: data from outside.

Whatever is wrong with them is reported with file and field, before anything else is read.
"""

import json
from pathlib import Path
from typing import Any, NoReturn

from packaging.version import InvalidVersion, Version

from ..inputs import shorten

# The largest file that is read is the index of a decoder in hundreds of files, a few megabytes.
_MAX_BYTES = 64 * 2**20
_KINDS = {
    dict: "an object",
    list: "a list",
    str: "a string",
    int: "a whole number",
    bool: "true or false",
}


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in a file.

    file (Path): The file.
    RETURNS (dict): Raises ValueError that names the file if it is too large, not UTF-8, not JSON,
        nested too deeply, or not an object.
    """
    if (n_bytes := file.stat().st_size) > _MAX_BYTES:
        raise damaged(file, f"it has {n_bytes:,} bytes, more than {_MAX_BYTES:,}")
    # Not with inputs.parse_json: of two equal keys the last counts, as in transformers and PEFT.
    try:
        values = json.loads(file.read_text(encoding="utf8"), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise damaged(file, "it is nested too deeply") from error
    except ValueError as error:  # not UTF-8, not JSON, or a number of thousands of digits
        raise damaged(file, str(error)) from error
    if not isinstance(values, dict):
        raise damaged(file, f"expected a JSON object, but found {shorten(values)}")
    return values


def take(values: dict[str, Any], field: str, kinds: tuple[type | None, ...], file: Path) -> Any:
    """A field of a JSON object, with its kind checked.

    values (dict): The object.
    field (str): Name of the field.
    kinds (tuple): Those allowed, of dict, list, str, int and bool; None allows null, and a missing
        field.
    file (Path): Where the object was read, for the message.
    RETURNS (Any): The value. Raises ValueError that names file and field.
    """
    value = values.get(field)
    # In Python, but not in JSON, true and false are numbers.
    if (type(value) if value is not None else None) in kinds:
        return value
    expected = " or ".join("null" if kind is None else _KINDS[kind] for kind in kinds)
    found = shorten(value) if field in values else "no such field"
    raise damaged(file, f"expected {expected} in {field!r}, but found {found}")


def take_versions(
    values: dict[str, Any], field: str, kinds: tuple[type | None, ...], file: Path
) -> dict[str, str]:
    """A field that names versions of libraries.

    values, field, kinds, file: As in take.
    RETURNS (dict[str, str]): By name of the library, in normal form; empty for null. Raises
        ValueError that names file and field.
    """
    found = take(values, field, kinds, file) or {}
    try:
        return {name: str(Version(take(found, name, (str,), file))) for name in found}
    except InvalidVersion as error:
        raise damaged(file, f"expected versions in {field!r}, but found {error}") from error


def find_inside(folder: Path, name: str, *, named_in: Path) -> Path:
    """A file that a folder's JSON names, if it lies in that folder.

    folder (Path): The folder.
    name (str): Path of the file, relative to the folder, with forward slashes.
    named_in (Path): The file that names it, for the message.
    RETURNS (Path): The file, which need not exist. Raises ValueError for a name, or a link, that
        leads out of the folder; in the hub's cache, where all files are links to the blobs of
        their repository, these count as part of it.
    """
    file = folder / name
    root, target = folder.resolve(), file.resolve()
    is_cached = any(
        parent.name == "snapshots" and target.is_relative_to(parent.with_name("blobs"))
        for parent in root.parents
    )
    if not name or "\\" in name or not (target.is_relative_to(root) or is_cached):
        raise damaged(named_in, f"the file {shorten(name)} is not inside {str(folder)!r}")
    return file


def damaged(file: Path, reason: str) -> ValueError:
    """The error for a damaged file.

    file (Path): The file.
    reason (str): What is wrong with it, for the message.
    RETURNS (ValueError): The error.
    """
    return ValueError(
        f"{str(file)!r} is damaged: {reason}. Copy it again from where it was saved or published."
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
