"""Which pipelines are to be served, by name."""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from spacy.util import is_package

from ..inputs import named_path
from ..replacing import finished_folder
from ..replacing.folders import finished_targets

logger = logging.getLogger("spacy_lgu")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Source:
    """Where a pipeline comes from.

    path (str): Its folder, or the name of an installed package.
    state (tuple): Differs when another pipeline was saved there since.
    """

    path: str
    state: tuple[tuple[int, int, int], ...] = ()

    @classmethod
    def read(cls, path: str | Path) -> "Source":
        """RETURNS (Source): As it is now. Raises ValueError where there is no pipeline."""
        folder = finished_folder(named_path(path))
        if not (folder / "config.cfg").is_file():
            if is_package(str(path)):
                return cls(str(path))
            raise ValueError(
                f"There is no pipeline {str(path)!r}: neither a folder with a config.cfg, nor an "
                "installed package."
            )
        stats = [(folder / name).stat() for name in ("config.cfg", "meta.json")
                 if (folder / name).is_file()]  # fmt: skip
        return cls(str(path), tuple((s.st_ino, s.st_size, s.st_mtime_ns) for s in stats))


def parse_pipelines(arguments: Iterable[str]) -> dict[str, Source]:
    """Pipelines as the command gets them.

    arguments (Iterable[str]): NAME=PATH, or a path: of a folder, or the name of an installed
        package. The name is that of the folder or package then.
    RETURNS (dict[str, Source]): The pipelines by name. Raises ValueError for a name that occurs
        twice or cannot be one, and where there is no pipeline.
    """
    found: dict[str, Source] = {}
    for argument in arguments:
        name, sign, path = argument.partition("=")
        if not sign or named_path(argument).is_dir():
            path = argument
            is_folder = finished_folder(named_path(path)).is_dir()
            name = named_path(path).resolve().name if is_folder else path
        source = Source.read(path)
        check_name(name, argument)
        if name in found:
            raise ValueError(
                f"Two pipelines are named {name!r}: {found[name].path} and {path}. Name them: "
                f"{name}={found[name].path} {name}-2={path}"
            )
        found[name] = source
    return found


def find_pipelines(folder: Path | None, named: Mapping[str, Source]) -> dict[str, Source]:
    """All that is to be served now.

    folder (Path | None): Each pipeline in it is served under the name of its folder.
    named (Mapping[str, Source]): Those that the command named.
    RETURNS (dict[str, Source]): The pipelines by name. Raises ValueError for a name that is in both
        or cannot be one, and FileNotFoundError or NotADirectoryError without such a folder.
    """
    found = dict(named)
    for place in [] if folder is None else _list_folders(named_path(folder)):
        try:
            if not (finished_folder(place) / "config.cfg").is_file():
                continue
        except PermissionError:  # a volume has folders of its own, such as lost+found
            logger.warning("%s cannot be read, so that no pipeline is looked for in it.", place)
            continue
        check_name(place.name, str(place))
        if place.name in found:
            raise ValueError(
                f"Two pipelines are named {place.name!r}: {found[place.name].path} and {place}. "
                "Rename one of them."
            )
        found[place.name] = Source.read(place)
    return found


def _list_folders(folder: Path) -> list[Path]:
    """What is shown in a folder, and what was, where a save was killed that replaced it."""
    shown = [place for place in folder.iterdir() if not place.name.startswith(".")]
    return sorted({*shown, *finished_targets(folder)})


def check_name(name: str, where: str) -> None:
    """Raise ValueError for what cannot be a pipeline's name.

    name (str): The name.
    where (str): Where it was read, for the message.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"Expected a name of letters, digits, '.', '_' and '-', at most 100, but {where!r} "
            f"gives {name!r}. Name it: my-name=PATH."
        )
