"""Checks that a saved decoder and the pipeline around it are what was saved, byte by byte."""

from dataclasses import replace
from pathlib import Path

from ..replacing import finished_folder, replace_file
from .description import DESCRIPTION, Description, dump_description, read_description
from .fingerprints import (
    FingerprintsT,
    differing_files,
    fingerprint_folder,
    hash_files,
    list_files,
)

_ALWAYS = ("config.cfg", "meta.json")  # whatever a save leaves out


def verify_decoder(folder: Path) -> list[str] | None:
    """Hash every file of a saved decoder, and of the pipeline that was saved with it.

    folder (Path): A folder written by save_decoder.
    RETURNS (list[str] | None): The files whose content differs or that are missing, as paths
        relative to the folder; empty if all is well. None if there is nothing to compare with, in
        saves of versions that recorded no hashes. A base on the hub is left out: the hub's client
        checks its files.
    """
    folder = finished_folder(folder)
    recorded = _recorded(folder, read_description(folder))
    if recorded is None:
        return None
    return [
        f"{prefix}{name}"
        for prefix, (where, files) in recorded.items()
        for name in differing_files(where, files)
    ]


def list_unknown(folder: Path) -> list[str]:
    """Files of a saved decoder and its pipeline that verify_decoder has nothing to compare with.

    folder (Path): A folder written by save_decoder.
    RETURNS (list[str]): Paths relative to the folder.
    """
    folder = finished_folder(folder)
    recorded = _recorded(folder, read_description(folder)) or {}
    known = {f"{prefix}{name}" for prefix, (_, files) in recorded.items() for name in files}
    own = {name for name in list_files(folder) if name != DESCRIPTION}
    root = folder.absolute().parent
    # Another transformer keeps a record of its own.
    decoders = {file.parent.name for file in root.glob(f"*/{DESCRIPTION}")}
    around = [name for name in list_files(root) if name.partition("/")[0] not in decoders]
    return sorted({*own, *(f"../{name}" for name in around if "../" in recorded)} - known)


def record_decoder(folder: Path) -> None:
    """Accept the files of a saved decoder and of its pipeline as they are, after they were changed
    on purpose.

    folder (Path): A folder written by save_decoder.
    """
    folder = finished_folder(folder)
    saved = read_description(folder, changed=True)
    bundle, root, part = saved.bundle, folder.absolute().parent, saved.part
    if bundle is not None:
        bundle = fingerprint_folder(folder / part, full=True)
    part_files = {f"{part}/{name}" for name in bundle or ()}
    names = [n for n in list_files(folder) if n not in part_files and n != DESCRIPTION]
    pipeline = None if saved.pipeline is None else hash_files(root, list(saved.pipeline))
    changed = replace(saved, bundle=bundle, files=hash_files(folder, names), pipeline=pipeline)
    replace_file(folder / DESCRIPTION, dump_description(changed))


def _recorded(folder: Path, saved: Description) -> dict[str, tuple[Path, FingerprintsT]] | None:
    """The files to compare: their folder and fingerprints, by the path of the folder from here."""
    found: dict[str, tuple[Path, FingerprintsT]] = {}
    if saved.files is not None:
        found[""] = folder, saved.files
    if saved.bundle is not None:
        part = saved.part
        found[f"{part}/"] = folder / part, saved.bundle
    elif saved.base_weights == "reference" and saved.base.files is not None:
        base = Path(saved.base.name).expanduser()
        found[f"{base}/"] = base, saved.base.files
    if saved.pipeline is not None:
        root = folder.absolute().parent
        # What was left out of the save (nlp.to_disk with exclude) is not there at all.
        there = {
            name: file
            for name, file in saved.pipeline.items()
            if name in _ALWAYS or finished_folder(root / name.partition("/")[0]).exists()
        }
        found["../"] = root, there
    return found or None
