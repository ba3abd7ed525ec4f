"""Whether spacy-transformers is here and works: found out once, by importing it."""

from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

_STOCK = "spacy_transformers"
# Raised by the import of a library that does not fit another one.
BROKEN = (ImportError, OSError, AttributeError, RuntimeError, TypeError, ValueError)


def uses_stock() -> bool:
    """RETURNS (bool): Whether spacy-transformers is installed and can be imported, so that its
    classes are the ones in use: its own layers accept no others."""
    return is_installed() and find_fault() is None


def is_installed() -> bool:
    """RETURNS (bool): Whether spacy-transformers is installed, fit to be imported or not."""
    return find_spec(_STOCK) is not None


@cache
def find_fault() -> str | None:
    """RETURNS (str | None): Why spacy-transformers cannot be imported though it is installed, and
    what to do. None if it can be, or is not installed."""
    if not is_installed():
        return None
    try:
        import_module(f"{_STOCK}.pipeline_component")  # the factory that spaCy loads
    except BROKEN as error:
        return (
            f"spacy-transformers {_version('spacy-transformers')} is installed, but cannot be "
            f"imported with transformers {_version('transformers')} ({type(error).__name__}: "
            f"{str(error)[:200]}). spaCy loads every factory that is installed, so that "
            "spacy.blank and spacy.load fail as well. Uninstall it (pip uninstall "
            "spacy-transformers), which spacy-lgu does not need, or install what it needs "
            '(pip install "transformers<4.53.3").'
        )
    return None


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # on the path, but not installed by pip
        return "of an unknown version"
