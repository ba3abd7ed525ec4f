"""Copies a pipeline with other base weights in it; all else stays as it is, byte for byte.

Besides the base, what says where it is must change: lgu.json, base_weights in config.cfg (so that
later saves hold what this one does), and the record of the pipeline's files in each lgu.json.
"""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spacy.util import dict_to_dot, load_config

from ..decoder.adapter_config import ADAPTER_CONFIG
from ..decoder.description import (
    DESCRIPTION,
    Base,
    Description,
    dump_description,
    read_description,
)
from ..decoder.fingerprints import hash_files, list_files
from ..inputs import naming
from ..replacing import finish_subfolders, replace_folder
from .checking import (
    check_output,
    component_of,
    decoder_folders,
    find_pipeline,
    verify_folders,
)
from .packed import PackedModel, packed_models

# Architectures that hold a decoder, and those of them that say what a save holds of its base.
_DECODERS = ("spacy-lgu.LGUTransformer.v1", "spacy-lgu.Tok2VecLGU.v1")
_FACTORY = "lgu_transformer"


@dataclass(frozen=True, kw_only=True)
class Change:
    """What happens to the decoders of a pipeline.

    base_weights (str): What their saves hold afterwards, "bundle" or "reference".
    check (Callable): Gets the folder of a decoder and its description. RETURNS (bool): Whether it
        changes. Raises ValueError or OSError if it would have to and cannot; no weight is read.
    convert (Callable): Gets the folder of a decoder, that of its copy without `base`, and the
        description; puts into the copy what has to be there. RETURNS (Description): The new one.
    """

    base_weights: str
    check: Callable[[Path, Description], bool]
    convert: Callable[[Path, Path, Description], Description]


def rewrite_pipeline(
    pipeline: Path, output: Path, change: Change, *, force: bool = False
) -> list[str]:
    """Write a copy of a pipeline in which decoders are changed, complete or not at all.

    pipeline (Path): Folder of a saved pipeline, which stays as it is.
    output (Path): The copy.
    change (Change): What to do to which of its decoders.
    force (bool): Whether an earlier output is replaced.
    RETURNS (list[str]): The components whose decoders were changed; empty, and nothing is
        written, if none has to be. Raises ValueError or OSError for a pipeline without decoders or
        with damaged files, an output that is there, and as `check` and `convert` do.
    """
    source = find_pipeline(pipeline)
    check_output(output, force=force, apart_from=source)
    folders, models = decoder_folders(source), packed_models(source)
    if not folders and not models:
        raise ValueError(
            f"There is no decoder of this package in {str(pipeline)!r}, neither an lgu_transformer "
            "nor one inside another component."
        )
    verify_folders(folders)
    chosen = [folder for folder in folders if change.check(folder, read_description(folder))]
    with ExitStack() as stack:
        packed: list[tuple[PackedModel, list[Path], list[Path]]] = []
        for model in models:
            inner = stack.enter_context(model.unpacked())
            with naming(model.file):  # for what is said of the temporary folders
                verify_folders(inner)
                wanted = [place for place in inner if change.check(place, read_description(place))]
            if wanted:
                packed.append((model, inner, wanted))
        if not chosen and not packed:
            return []
        names = {folder: component_of(folder, source) for folder in chosen}

        def write(hidden: Path) -> None:
            left_out = {str(folder) for folder in chosen}
            shutil.copytree(
                source,
                hidden,
                dirs_exist_ok=True,
                ignore=lambda place, _: {"base"} if place in left_out else set(),
            )
            finish_subfolders(hidden)
            bases: dict[str, list[tuple[Base, Base]]] = {}
            changed = ["config.cfg"]
            for folder, name in names.items():
                bases[name] = [_convert(folder, hidden / name, change)]
            for model, inner, wanted in packed:
                name = component_of(model.file, source)
                file = hidden / model.file.relative_to(source)
                with naming(model.file):
                    bases[name] = [_convert(place, place, change) for place in wanted]
                file.write_bytes(model.pack(inner))
                changed.append(file.relative_to(hidden).as_posix())
            _edit_config(hidden / "config.cfg", change.base_weights, bases)
            for folder in decoder_folders(hidden):
                _record_again(folder, changed)
            verify_folders(decoder_folders(hidden))

        replace_folder(output, write)
        return sorted({*names.values(), *(component_of(m.file, source) for m, _, _ in packed)})


def exact_products(components: dict[str, Any]) -> dict[str, str]:
    """What to give to spacy.load so that no decoder is rounded to int8 where it is loaded.

    components (dict): That section of a config.
    RETURNS (dict[str, str]): Values by their places in the config; none if all are exact.
    """
    values = dict_to_dot({"components": components})
    return {
        place: "exact"
        for place, value in values.items()
        if place.endswith(".products")
        and value != "exact"
        and values.get(f"{place.rpartition('.')[0]}.@architectures") in _DECODERS
    }


def _convert(folder: Path, target: Path, change: Change) -> tuple[Base, Base]:
    """RETURNS (tuple[Base, Base]): The base as it was described before, and now."""
    before = read_description(folder)
    after = change.convert(folder, target, before)
    in_part = {f"{after.part}/{name}" for name in after.bundle or ()}
    if before.files is None:  # saved by a version without hashes
        names = [n for n in list_files(target) if n not in in_part and n != DESCRIPTION]
        files = hash_files(target, names)
    else:
        files = {**before.files, **hash_files(target, [f"adapter/{ADAPTER_CONFIG}"])}
    described = dump_description(replace(after, files=files))
    (target / DESCRIPTION).write_bytes(described)
    return before.base, after.base


def _edit_config(file: Path, base_weights: str, bases: dict[str, list[tuple[Base, Base]]]) -> None:
    config = load_config(file, interpolate=False)
    for name, found in bases.items():
        moved = next(((before, after) for before, after in found if before != after), None)
        for section in _sections(config["components"][name]):
            architecture = section.get("@architectures")
            if section.get("factory") == _FACTORY or architecture == _DECODERS[1]:
                section["base_weights"] = base_weights
            if moved is not None and architecture in _DECODERS:
                section["name"], section["revision"] = moved[1].name, moved[1].commit
    config.to_disk(file)


def _sections(section: Any) -> list[dict[str, Any]]:
    """RETURNS (list[dict]): A section of a config and all below it."""
    if not isinstance(section, dict):
        return []
    return [section, *(inner for value in section.values() for inner in _sections(value))]


def _record_again(folder: Path, changed: list[str]) -> None:
    """Put the hashes of files that were changed here into the record of the pipeline's files."""
    saved = read_description(folder)
    if saved.pipeline is None:
        return
    names = [name for name in changed if name in saved.pipeline]
    pipeline = {**saved.pipeline, **hash_files(folder.absolute().parent, names)}
    if pipeline != saved.pipeline:
        described = dump_description(replace(saved, pipeline=pipeline))
        (folder / DESCRIPTION).write_bytes(described)
