"""Fetch the public corpora that the tasks of a study need.

    python benchmarks/fetch_corpora.py benchmark_data --task wnut17,litbank-nested

The corpora are the assets of project.yml (`python -m spacy project assets` fetches all of them);
those in archives are unpacked where the study looks for them. What is in place already is only
checked; for what cannot be downloaded freely, a message says where to put it.
"""

import hashlib
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated
from zipfile import ZipFile

import typer
from weasel.cli.assets import check_private_asset, fetch_asset
from weasel.util.config import load_project_config
from weasel.util.hashing import get_checksum

from spacy_lgu.replacing import replace_folder
from spacy_lgu.study.plan import Task, read_study

ROOT = Path(__file__).parents[1]
ARCHIVES = Path("benchmark_archives")


@dataclass(frozen=True)
class Corpus:
    """Files of one folder.

    archive (str): Name of the archive.
    members (str): Pattern of their names in it.
    folder (str): Where they go.
    files (str): Pattern of their names there, since other files may lie beside them.
    checksum (str): MD5 of their contents in order of their names, as spaCy computes it for folders.
    """

    archive: str
    members: str
    folder: str
    files: str
    checksum: str


CORPORA = [
    Corpus("conll2000.zip", "*/t*.txt", "conll2000", "t*.txt", "d3422d21f3b434d93713fa7241bd7066"),
    Corpus(
        "litbank.zip",
        "*/entities/tsv/*.tsv",
        "litbank/entities_tsv",
        "*.tsv",
        "9a2a7c791fc10e9b3deae906e6f98c3e",
    ),
    Corpus(
        "litbank.zip",
        "*/events/tsv/*.tsv",
        "litbank/events_tsv",
        "*.tsv",
        "d473843bfa5cfc6f50b5e5e1bb51e034",
    ),
]


def unpack(corpus: Corpus, archives: Path, data: Path) -> bool:
    """Unpack the files of a corpus unless they are there.

    corpus (Corpus): The corpus.
    archives (Path): Folder of the archives.
    data (Path): Folder in which each corpus has its own.
    RETURNS (bool): False if there are neither the files nor the archive. Raises ValueError if the
        files are not those that the results were made with.
    """
    folder, archive = data / corpus.folder, archives / corpus.archive
    if not is_there(corpus, data):
        if not archive.is_file():
            return False

        def write(hidden: Path) -> None:
            with ZipFile(archive) as stream:
                for name in stream.namelist():
                    if fnmatch(name, corpus.members):
                        (hidden / Path(name).name).write_bytes(stream.read(name))

        replace_folder(folder, write, keep_others=True)
    digest = hashlib.md5()
    for file in sorted(folder.glob(corpus.files)):
        digest.update(file.read_bytes())
    if digest.hexdigest() != corpus.checksum:
        raise ValueError(
            f"The files {folder / corpus.files} have the checksum {digest.hexdigest()}, but the "
            f"benchmark's have {corpus.checksum}. Remove them, so that they are unpacked from "
            f"{archive} again, or give another folder."
        )
    return True


def is_there(corpus: Corpus, data: Path) -> bool:
    """Whether a corpus has files."""
    return any((data / corpus.folder).glob(corpus.files))


def find_folders(tasks: list[Task]) -> set[str]:
    """The folders of the tasks' files, as they are named in the folder of all corpora."""
    files = [f for task in tasks for f in _as_dict(task.files).values()]
    return {Path(file).parts[0] for file in files}


def _as_dict(files: dict[str, str] | str) -> dict[str, str]:
    return files if isinstance(files, dict) else {"all": files}


def _check_content(file: Path, checksum: str | None) -> None:
    if checksum and file.is_file() and get_checksum(file) != checksum:
        raise ValueError(
            f"{file} has the checksum {get_checksum(file)}, but the benchmark's has {checksum}. "
            "Replace the file, or give another folder."
        )


def main(
    data: Annotated[Path, typer.Argument(help="Folder of the corpora, from the project's")],
    study: Annotated[Path, typer.Option(help="YAML")] = ROOT / "benchmarks" / "study.yml",
    task: Annotated[str, typer.Option(help="Names with commas, or all")] = "all",
) -> None:
    """Fetch, check and unpack."""
    folders = find_folders(list(read_study(study).choose(tasks=task).tasks.values()))
    corpora = [corpus for corpus in CORPORA if Path(corpus.folder).parts[0] in folders]
    archives = {
        ARCHIVES / corpus.archive for corpus in corpora if not is_there(corpus, ROOT / data)
    }
    for asset in load_project_config(ROOT, overrides={"vars.data": str(data)})["assets"]:
        path = Path(asset["dest"])
        if path.parent == ARCHIVES:
            is_wanted = path in archives
        else:
            is_wanted = path.relative_to(data).parts[0] in folders
        if not is_wanted:
            continue
        checksum = asset.get("checksum")
        if asset.get("url"):
            fetch_asset(ROOT, asset["url"], path, checksum)
        else:
            check_private_asset(ROOT / path, checksum)
        _check_content(ROOT / path, checksum)
    for corpus in corpora:
        found = unpack(corpus, ROOT / ARCHIVES, ROOT / data)
        state = "in place" if found else f"left out, there is no {ARCHIVES / corpus.archive}"
        print(f"{data / corpus.folder}: {state}")


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(main)
    app()
