"""A saved pipeline, read as data: nothing of it is imported, built or run."""

import configparser
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from ..decoder.description import DESCRIPTION, Description, read_description
from ..decoder.reading import damaged, read_json
from ..inputs import named_path
from ..replacing import finished_folder, finished_subfolders

_CONFIG, _META = "config.cfg", "meta.json"
_MAX_BYTES = 16 * 2**20  # of a config
_FACTORY = "lgu_transformer"
_LISTENERS = ("spacy-lgu.TransformerListener.", "spacy-transformers.TransformerListener.")
OptionT = TypeVar("OptionT", bool, int, str, dict[str, Any])
_OWN = ("spacy-lgu.LGUTransformer.", "spacy-lgu.Tok2VecLGU.")


@dataclass(frozen=True, kw_only=True)
class SavedDecoder:
    """A component with a decoder.

    name (str): Of the component.
    folder (Path): Where it lies.
    description (Description): Its lgu.json.
    version (str): Of spacy-lgu, when it was saved.
    options (dict[str, Any]): The component's section of the config.
    """

    name: str
    folder: Path
    description: Description
    version: str
    options: dict[str, Any]

    def option(self, name: str, default: OptionT) -> OptionT:
        """An option of the component or its model.

        name (str): Its name.
        default (OptionT): If it is not given, or is a variable.
        RETURNS (OptionT): Its value.
        """
        model = self.options.get("model", {})
        value = self.options.get(name, model.get(name) if isinstance(model, dict) else None)
        return value if type(value) is type(default) else default


@dataclass(frozen=True, kw_only=True)
class SavedPipeline:
    """A pipeline on disk.

    folder (Path): Where it lies.
    meta (dict[str, Any]): meta.json.
    config (dict[str, Any]): config.cfg, with variables as they stand there.
    decoders (list[SavedDecoder]): Components of lgu_transformer.
    """

    folder: Path
    meta: dict[str, Any]
    config: dict[str, Any]
    decoders: list[SavedDecoder]

    @property
    def pipes(self) -> list[str]:
        """RETURNS (list[str]): Names, in the order of the pipeline."""
        names = self.config.get("nlp", {}).get("pipeline")
        return [str(name) for name in names] if isinstance(names, list) else []

    def section(self, name: str) -> dict[str, Any]:
        """RETURNS (dict[str, Any]): The section of a component; empty if there is none."""
        section = self.config.get("components", {}).get(name)
        return section if isinstance(section, dict) else {}

    def listens_to(self, name: str) -> list[str]:
        """RETURNS (list[str]): Pipes that a component listens to; "*": to any before it."""
        return [
            str(section.get("upstream", "*"))
            for section in _sections(self.section(name))
            if str(section.get("@architectures", "")).startswith(_LISTENERS)
        ]

    def own_decoders(self) -> dict[str, dict[str, Any]]:
        """RETURNS (dict[str, dict[str, Any]]): Sections of decoders inside other pipes, by the
        pipe's name.
        """
        saved = {decoder.name for decoder in self.decoders}
        return {
            name: section
            for name in self.pipes
            if name not in saved
            for section in _sections(self.section(name))
            if str(section.get("@architectures", "")).startswith(_OWN)
        }


def find_pipeline(name: str) -> Path | None:
    """The folder of a saved pipeline.

    name (str): The folder, or the name of an installed package.
    RETURNS (Path | None): None if it is neither. The package is not imported.
    """
    folder = finished_folder(named_path(name))
    if folder.is_dir():
        return folder if (folder / _CONFIG).is_file() else None
    if not name.isidentifier():
        return None
    spec = find_spec(name)  # for a name without dots, this runs nothing of the package
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for data in sorted(Path(place).glob("*-*")):
            if (data / _CONFIG).is_file():
                return data
    return None


def read_pipeline(folder: Path) -> SavedPipeline:
    """Read a saved pipeline.

    folder (Path): From find_pipeline.
    RETURNS (SavedPipeline): Raises ValueError that names the file that is missing or damaged.
    """
    if not (folder / _META).is_file():
        raise ValueError(
            f"There is no saved pipeline in {str(folder)!r}: meta.json is missing. Give the folder "
            "of a pipeline, as nlp.to_disk or `spacy train` writes it."
        )
    meta = read_json(folder / _META)
    config = read_config_file(folder / _CONFIG)
    sections = config.get("components", {})
    # A save that was killed left the earlier one under another name.
    parts = {path.name.removeprefix("."): path for path in finished_subfolders(folder)}
    parts = {name.removesuffix(".previous"): path for name, path in parts.items()}
    # Those of the config must be there, and are an error if they are not.
    expected = {
        name
        for name, section in sections.items()
        if isinstance(section, dict) and section.get("factory") == _FACTORY
    }
    parts |= {name: folder / name for name in expected - set(parts)}
    decoders = [
        SavedDecoder(
            name=name,
            folder=part,
            description=read_description(part),
            version=str(read_json(part / DESCRIPTION).get("spacy_lgu")),
            options=sections[name] if isinstance(sections.get(name), dict) else {},
        )
        for name, part in parts.items()
        if name in expected or (part / DESCRIPTION).is_file()
    ]
    return SavedPipeline(folder=folder, meta=meta, config=config, decoders=decoders)


def read_config_file(file: Path) -> dict[str, Any]:
    """Read a config without looking up its functions or filling in its variables.

    file (Path): config.cfg.
    RETURNS (dict[str, Any]): Raises ValueError that names the file if it is too large or not a
        config.
    """
    from confection import Config

    if (n_bytes := file.stat().st_size) > _MAX_BYTES:
        raise damaged(file, f"it has {n_bytes:,} bytes, more than {_MAX_BYTES:,}")
    try:
        return dict(Config().from_str(file.read_text(encoding="utf8"), interpolate=False))
    except (ValueError, configparser.Error, RecursionError) as error:
        raise damaged(file, str(error).strip()[:300]) from error


def disk_bytes(folder: Path) -> dict[str, int]:
    """Bytes of what lies in a folder, by name; a folder counts with all that is in it.

    folder (Path): The folder.
    RETURNS (dict[str, int]): Links count as links, not as what they lead to.
    """
    return {
        path.name: sum(
            file.lstat().st_size
            for file in (path.rglob("*") if path.is_dir() and not path.is_symlink() else [path])
            if file.is_symlink() or not file.is_dir()
        )
        for path in sorted(folder.iterdir())
    }


def _sections(section: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield section
    for value in section.values():
        if isinstance(value, dict):
            yield from _sections(value)
