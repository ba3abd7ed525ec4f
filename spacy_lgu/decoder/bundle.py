"""The frozen base inside a save: written once, then linked or copied from save to save."""

import errno
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .fingerprints import FingerprintsT, fingerprint_folder
from .int8_products import has_int8_products

# Errors of file systems without hard links, and of links between two file systems.
_NO_LINKS = (
    errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS
)  # fmt: skip


@dataclass(frozen=True)
class Bundle:
    """A base on disk, as it was when it was written or read.

    folder (Path): Where it is.
    files (dict): Fingerprints of its files, by file name.
    states (dict): Size and time of change (ns) of every file, by file name. Where these differ,
        something else has been saved in the same place since.
    """

    folder: Path
    files: FingerprintsT
    states: dict[str, tuple[int, int]]

    @classmethod
    def at(cls, folder: Path, files: FingerprintsT) -> "Bundle":
        """The bundle that lies in a folder now."""
        return cls(folder.absolute(), files, _file_states(folder))


def write_bundle(
    module: torch.nn.Module, target: Path, *, earlier: Bundle | None, link: bool
) -> Bundle:
    """Write a base, or take it from an earlier save if that is still there.

    module (Module): The base, frozen.
    target (Path): A folder that does not exist yet.
    earlier (Bundle | None): The bundle that was last written or read.
    link (bool): Whether files may be hard links to those of the earlier one.
    RETURNS (Bundle): What lies in the target.
    """
    if earlier is None or _file_states(earlier.folder) != earlier.states:
        if has_int8_products(module):
            where = "was not a bundle" if earlier is None else "is gone or changed"
            raise ValueError(
                "The base is in memory in int8 alone, and the save that it was loaded from "
                f"{where}: it cannot be bundled. Load the pipeline with products = 'exact' "
                "to save it, or set base_weights = 'reference'."
            )
        decoder: Any = module  # transformers gives its models their methods at run time
        decoder.save_pretrained(str(target), safe_serialization=True)
        return Bundle.at(target, fingerprint_folder(target, full=True))
    target.mkdir()
    for file in earlier.folder.iterdir():
        if not (link and _link(file, target / file.name)):
            shutil.copy2(file, target / file.name)  # keeps the time of change
    return Bundle.at(target, earlier.files)


def _link(file: Path, target: Path) -> bool:
    """RETURNS (bool): False where the file system has no hard links."""
    try:
        os.link(file, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return False
    return True


def _file_states(folder: Path) -> dict[str, tuple[int, int]]:
    """RETURNS (dict): See Bundle; empty if there is no such folder."""
    if not folder.is_dir():
        return {}
    stats = {file.name: file.stat() for file in folder.iterdir()}
    return {n: (s.st_size, s.st_mtime_ns) for n, s in stats.items()}
