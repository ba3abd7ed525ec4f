"""What is asked of a pipeline before it travels, and of the place that it goes to."""

from collections.abc import Sequence
from pathlib import Path

from spacy.util import load_config

from ..decoder.description import DESCRIPTION, read_description
from ..decoder.verification import verify_decoder
from ..pipeline.opening import check_pipeline
from ..replacing import finished_folder, finished_subfolders

# Packaging writes it again, and nothing in it changes a prediction.
META = "../meta.json"


def find_pipeline(pipeline: Path) -> Path:
    """The folder of a saved pipeline.

    pipeline (Path): As the user names it.
    RETURNS (Path): Where to read it. Raises ValueError unless it has a config and a meta.json that
        can be read.
    """
    folder = finished_folder(pipeline)
    for name in ("config.cfg", "meta.json"):
        if not (folder / name).is_file():
            raise ValueError(
                f"There is no saved pipeline in {str(pipeline)!r}: {name} is missing. Give the "
                "folder of a pipeline, as nlp.to_disk or `spacy train` writes it."
            )
    check_pipeline(folder)
    return folder


def list_components(pipeline: Path) -> set[str]:
    """RETURNS (set[str]): The components of a pipeline. Its folder may hold others, which were
    removed from it after an earlier save."""
    return set(load_config(pipeline / "config.cfg", interpolate=False)["components"])


def component_of(path: Path, pipeline: Path) -> str:
    """RETURNS (str): The component that a folder or file of a pipeline belongs to; a save that was
    killed left another name."""
    name = path.relative_to(pipeline).parts[0]
    return name.removeprefix(".").removesuffix(".previous") if name.startswith(".") else name


def decoder_folders(pipeline: Path) -> list[Path]:
    """RETURNS (list[Path]): The folders of the decoders in a pipeline that have one of their own;
    others are inside the file of a model: see packed.py."""
    components = list_components(pipeline)
    return [
        path
        for path in finished_subfolders(pipeline)
        if component_of(path, pipeline) in components and (path / DESCRIPTION).exists()
    ]


def verify_folders(folders: Sequence[Path]) -> None:
    """Hash every file of decoders and of the pipeline around them.

    folders (Sequence[Path]): Of the decoders. Raises ValueError that names the files which are not
        what was saved; saves of versions that recorded no hashes are taken as they are.
    """
    for folder in folders:
        read_description(folder)
        refuse_changed(folder, verify_decoder(folder) or ())


def refuse_changed(folder: Path, changed: Sequence[str]) -> None:
    """Raise ValueError if a file other than META is not what was saved.

    folder (Path): Of a decoder.
    changed (Sequence[str]): From verify_decoder.
    """
    names = [name for name in changed if name != META]
    if names:
        raise ValueError(
            f"{folder}: {', '.join(names)} {'is' if len(names) == 1 else 'are'} missing or not "
            "what was saved. Copy the pipeline again from where it was saved. If these files were "
            "changed on purpose, `python -m spacy lgu verify PIPELINE --record` accepts them."
        )


def check_output(output: Path, *, force: bool, apart_from: Path | None = None) -> None:
    """Refuse a place that would be overwritten.

    output (Path): A folder to write.
    force (bool): Whether it may be replaced.
    apart_from (Path | None): A folder that is read meanwhile. Raises FileExistsError for what is
        there, and ValueError if one of the two folders lies in the other.
    """
    if apart_from is not None:
        read, written = apart_from.resolve(), output.resolve()
        if read == written or read in written.parents or written in read.parents:
            raise ValueError(
                f"{str(output)!r} is, contains or lies in {str(apart_from)!r}, which stays as it "
                "is. Name a folder beside it."
            )
    if output.exists() and not force:
        raise FileExistsError(f"{str(output)!r} exists already. Use --force to replace it.")
