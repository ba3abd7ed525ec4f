"""Which base a saved pipeline needs, read before its weights."""

from configparser import Error as ConfigError
from pathlib import Path
from typing import NamedTuple

from spacy.util import get_package_path, is_package, load_config

from ..decoder.restoring import read_identity
from ..inputs import named_path
from ..pipeline.opening import check_pipeline
from ..replacing import finished_folder


class MisfitError(ValueError):
    """A pipeline has another base than the fleet: it needs a fleet of its own."""


class RecordedBase(NamedTuple):
    """The base of a saved pipeline.

    identity (str | None): What makes two bases the same. None: all weights were trained.
    name (str): How it was called.
    n_layers (int | None): How many of its layers the pipeline runs. None: all.
    """

    identity: str | None
    name: str
    n_layers: int | None


def read_base(name: str) -> RecordedBase | None:
    """The base of a saved pipeline.

    name (str): Its folder, or the name of an installed package.
    RETURNS (RecordedBase | None): None: it has not exactly one component lgu_transformer, or it is
        not there, which loading it will tell. Raises ValueError that names a damaged file.
    """
    folder = finished_folder(named_path(name))
    if not folder.is_dir() and is_package(name):
        found = sorted(get_package_path(name).glob("*/config.cfg"))
        folder = found[0].parent if found else folder
    if not (folder / "config.cfg").is_file():
        return None
    try:
        check_pipeline(folder)
        components = load_config(folder / "config.cfg").get("components", {})
    except ConfigError as error:
        raise ValueError(f"{folder / 'config.cfg'} is damaged: {error}") from error
    owners = [
        component
        for component, values in components.items()
        if isinstance(values, dict) and values.get("factory") == "lgu_transformer"
    ]
    if len(owners) != 1:
        return None
    return RecordedBase(*read_identity(Path(folder) / owners[0]))


def check_same(name: str, base: RecordedBase, other: RecordedBase) -> None:
    """Compare the bases of two pipelines.

    name (str): The pipeline that has the first base.
    base, other (RecordedBase): The bases.
    RETURNS (None): Raises MisfitError that names both if they differ.
    """
    if None in (base.identity, other.identity) or base.identity == other.identity:
        return
    hint = ""
    if base.name == other.name:
        hint = (
            " They have one name: what differs is the revision, the files, how they are quantized, "
            "or which layers a bundle holds. Save such pipelines with base_weights = 'reference'."
        )
    raise misfit(name, f"its base is {base.name!r}, not the fleet's {other.name!r}.{hint}")


def misfit(name: str, reason: str) -> MisfitError:
    """RETURNS (MisfitError): A pipeline does not fit a fleet, why, and what to do."""
    return MisfitError(
        f"The pipeline {name!r} does not fit this fleet: {reason} Put it into a fleet of its own, "
        "or train it on the base of this one."
    )


def depth(base: RecordedBase | None) -> float:
    """RETURNS (float): How many layers a pipeline runs, for comparisons."""
    return float("inf") if base is None or base.n_layers is None else base.n_layers
