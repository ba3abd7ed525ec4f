"""Which versions of the libraries are installed, and whether they can be imported."""

from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from ..listeners.availability import BROKEN

LIBRARIES = (
    "spacy-lgu",
    "spacy",
    "spacy-transformers",
    "thinc",
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "accelerate",
    "safetensors",
    "huggingface-hub",
)
OPTIONAL = ("spacy-transformers",)  # used where it is installed


def find_version(name: str) -> str | None:
    """RETURNS (str | None): The installed version of a library; None: not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def list_versions() -> dict[str, str | None]:
    """RETURNS (dict[str, str | None]): Installed versions by name; None: not installed."""
    return {name: find_version(name) for name in LIBRARIES}


def find_broken(names: Iterable[str]) -> dict[str, str]:
    """Import libraries that are needed, and find out what is wrong with them.

    names (Iterable[str]): As in LIBRARIES.
    RETURNS (dict[str, str]): For each that cannot be imported, why.
    """
    found = {}
    for name in names:
        try:
            import_module(name.replace("-", "_"))
        except BROKEN as error:
            what = "is not installed" if find_version(name) is None else "cannot be imported"
            found[name] = f"{name} {what}: {type(error).__name__}: {str(error)[:200]}"
    return found
