"""Fetches a pipeline from the hub, at one commit, complete or not at all."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..decoder.description import read_description
from ..decoder.verification import list_unknown
from ..replacing import replace_folder
from . import hub
from .checking import check_output, decoder_folders, find_pipeline, verify_folders
from .packed import unpacked_decoders
from .pushing import BESIDE, README

# Formats whose reading may run code. spaCy's own lookups.bin are msgpack.
_PICKLES = re.compile(r".*\.(pkl|pickle|pt|pth|ckpt|joblib|dill|npz|bin)", re.IGNORECASE)
_LOOKUPS = "lookups.bin"
# What repositories hold besides a pipeline.
_NO_PART = re.compile(r"(.*/)?(\.[^/]*|[^/]*\.(py|whl|gz|zip))", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """What was fetched.

    commit (str): The commit.
    bases (list[str]): Base decoders on the hub that the pipeline needs, as NAME at COMMIT.
    left_out (list[str]): Files of the repository that were not fetched.
    unknown (list[str]): Files that nothing was recorded of.
    """

    commit: str
    bases: list[str]
    left_out: list[str]
    unknown: list[str]


def pull_pipeline(
    repo_id: str, output: Path, *, revision: str | None = None, force: bool = False
) -> Pulled:
    """Fetch a pipeline and check every byte of it. No code that is in it is run, or kept.

    repo_id (str): OWNER/NAME.
    output (Path): The folder to write.
    revision (str | None): Branch, tag or commit. None: the default branch.
    force (bool): Whether an earlier output is replaced.
    RETURNS (Pulled): Raises ValueError for a repository that holds no pipeline of this package, or
        files in a format that may run code, and for files that are not what was saved; OSError if
        the hub cannot be reached.
    """
    hub.check_repo_id(repo_id)
    check_output(output, force=force)
    commit, names = hub.find_commit(repo_id, revision)
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            raise ValueError(f"The repository {repo_id!r} has a file {name!r}, outside of itself.")
    if missing := [name for name in ("config.cfg", "meta.json") if name not in names]:
        raise ValueError(
            f"The repository {repo_id!r} holds no pipeline of spaCy: {', '.join(missing)} is "
            "missing. For a decoder, use `python -m spacy lgu fetch`."
        )
    left_out = [name for name in names if _NO_PART.fullmatch(name)]
    wanted = [name for name in names if name not in left_out]
    pickles = [n for n in wanted if _PICKLES.fullmatch(n) and PurePosixPath(n).name != _LOOKUPS]
    if pickles:
        raise ValueError(
            f"The repository {repo_id!r} holds {len(pickles)} files in formats that may run code "
            f"when they are read, such as {pickles[0]!r}: nothing of it was fetched. Ask its "
            "owners for safetensors."
        )
    bases: list[str] = []
    unknown: set[str] = set()

    def write(hidden: Path) -> None:
        for name in wanted:
            target = hidden / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(hub.fetch(repo_id, name, commit), target)
        find_pipeline(hidden)
        with unpacked_decoders(hidden) as folders:
            if not folders:
                raise ValueError(f"The pipeline {repo_id!r} has no decoder of this package.")
            verify_folders(list(folders.values()))
            for folder in folders.values():
                saved = read_description(folder)
                if saved.base_weights == "reference":
                    bases.append(f"{saved.base.name} at {saved.base.commit}")
        for folder in decoder_folders(hidden):
            for name in list_unknown(folder):
                path = name[3:] if name.startswith("../") else f"{folder.name}/{name}"
                if path not in (README, *BESIDE):
                    unknown.add(path)

    replace_folder(output, write)
    return Pulled(
        commit=commit,
        bases=sorted(set(bases)),
        left_out=left_out,
        unknown=sorted(unknown),
    )
