"""Which files are to be annotated, and under which names their shards are written."""

import glob
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..compressed import SUFFIXES, check_suffix
from ..inputs import named_path

# Formats by what follows the name. Lines may be compressed.
KINDS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".txt": "text",
    ".parquet": "parquet",
    ".spacy": "spacy",
}
_LINES = ("jsonl", "text")
_WILDCARD = re.compile(r"[*?\[]")
_KNOWN = "Known are .jsonl, .ndjson and .txt (also with .gz, .xz or .zst), .parquet and .spacy."


@dataclass(frozen=True)
class InputFile:
    """A file to be annotated.

    path (Path): Where it is.
    name (str): Its path below the folder or pattern that was given, with slashes: the beginning of
        the names of its shards.
    kind (str): jsonl, text, parquet or spacy.
    """

    path: Path
    name: str
    kind: str


def find_inputs(inputs: Sequence[str], output: Path) -> tuple[list[InputFile], list[Path]]:
    """The files that a command names.

    inputs (Sequence[str]): Files, patterns such as data/**/*.jsonl, and folders, of which all files
        of known formats are meant. What is hidden is left out, and what a pattern finds in output.
    output (Path): Folder for what is annotated; must not lie in a folder that is read.
    RETURNS (tuple[list[InputFile], list[Path]]): The files in the order in which they were named,
        those of a folder sorted, and the files of folders that have no known format. Raises
        FileNotFoundError, or ValueError for a file that has none, or two files of one name.
    """
    found: dict[str, InputFile] = {}
    others: list[Path] = []
    for given in inputs:
        n_before = len(found)
        for path, name in _list_files(given, output):
            kind = find_kind(path)
            if kind is None and named_path(given).is_dir():
                others.append(path)
                continue
            if kind is None:
                raise ValueError(
                    f"Expected a file of a known format, but got {str(path)!r}. {_KNOWN}"
                )
            if name in found:
                raise ValueError(
                    f"The shards of {str(found[name].path)!r} and {str(path)!r} would have the "
                    f"same names, {name}-... Name the folder above them, a pattern in quotes, or "
                    "another output for each."
                )
            if kind in _LINES:
                check_suffix(path.suffix)
            found[name] = InputFile(path.absolute(), name, kind)
        if len(found) == n_before:
            raise FileNotFoundError(f"There is nothing to annotate at {given!r}. {_KNOWN}")
    return list(found.values()), others


def find_kind(path: Path) -> str | None:
    """RETURNS (str | None): jsonl, text, parquet or spacy by the name of a file; None: unknown."""
    suffixes = path.suffixes
    if suffixes and suffixes[-1] in SUFFIXES:
        kind = KINDS.get(suffixes[-2]) if len(suffixes) > 1 else None
        return kind if kind in _LINES else None
    return KINDS.get(path.suffix)


def _list_files(given: str, output: Path) -> Iterator[tuple[Path, str]]:
    path = named_path(given)
    if path.is_dir():
        resolved = output.resolve()
        if resolved.is_relative_to(path.resolve()):
            raise ValueError(
                f"The output {str(output)!r} lies in {given!r}, which is to be read: a later run "
                "would annotate it again. Name a folder outside of it."
            )
        yield from _below(path, path.rglob("*"))
    elif path.is_file():
        yield path, path.name
    elif _WILDCARD.search(given):
        parts = path.parts
        first = next(i for i, part in enumerate(parts) if _WILDCARD.search(part))
        matches = map(Path, glob.glob(str(path), recursive=True))
        written = output.resolve()
        # What an earlier run wrote there is no input of this one.
        others = (match for match in matches if not match.resolve().is_relative_to(written))
        yield from _below(Path(*parts[:first]), others)
    else:
        raise FileNotFoundError(f"There is no file, folder or pattern {given!r}.")


def _below(folder: Path, paths: Iterator[Path]) -> Iterator[tuple[Path, str]]:
    for path in sorted(paths):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith(".") for part in parts):
            yield path, "/".join(parts)
