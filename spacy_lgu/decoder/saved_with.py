"""Which versions of libraries a decoder was saved with, and whether those here compute the same."""

from importlib.metadata import version
from pathlib import Path

from packaging.version import Version
from transformers import PretrainedConfig

from ..inputs import shorten
from . import versions
from .reading import read_json, take_versions

# What a base that was quantized and stored by itself says of itself.
RECORD = "quantized.json"
RECORD_FORMAT = 1
# Their code decides what vectors a decoder gives.
_LIBRARIES = ("transformers", "peft", "bitsandbytes", "torch")


def library_versions() -> dict[str, str]:
    """RETURNS (dict[str, str]): The installed versions by name, for the record in a save."""
    return {name: str(Version(version(name))) for name in _LIBRARIES}


def check_saved_with(libraries: dict[str, str], config: PretrainedConfig, where: str) -> None:
    """Refuse a save that would silently compute other vectors under this version of transformers.

    libraries (dict[str, str]): From lgu.json; empty for saves of 4.53 that do not say it.
    config (PretrainedConfig): The config of its decoder.
    where (str): The save, for the message.
    RETURNS (None): Raises ValueError that says which versions compute what.
    """
    saved_with = libraries.get("transformers", "4.53")
    if (Version(saved_with).major >= 5) == versions.IS_5:
        return
    if contradiction := versions.find_contradiction(config):
        raise ValueError(
            f"{where!r} was saved with transformers {saved_with}, and under the installed "
            f"{versions.TRANSFORMERS} its vectors would differ: {contradiction}. Install the "
            "version it was saved with, or write the number that was used into both fields of its "
            "config.json and accept that with `python -m spacy lgu verify PIPELINE --record`."
        )


def check_record(folder: Path) -> None:
    """Refuse a stored base as check_newer does, or in a format that is not known; one without a
    record is taken as it is.

    folder (Path): The folder of a base decoder.
    """
    file = folder / RECORD
    if not file.is_file():
        return
    values = read_json(file)
    if values.get("format") != RECORD_FORMAT:
        raise ValueError(
            f"{str(folder)!r} was stored in format {shorten(values.get('format'))} by spacy-lgu "
            f"{shorten(values.get('spacy_lgu'))}, but this version ({version('spacy-lgu')}) reads "
            f"format {RECORD_FORMAT}. Store it again with `python -m spacy lgu fetch`, or install "
            "the version that stored it."
        )
    check_newer(take_versions(values, "libraries", (dict,), file), str(folder))


def check_newer(libraries: dict[str, str], where: str) -> None:
    """Refuse a save of transformers 5 under 4.53, which reads neither its tokenizer nor the
    rotary settings of its decoder.

    libraries (dict[str, str]): From lgu.json.
    where (str): The save, for the message.
    RETURNS (None): Raises ValueError that says what to install.
    """
    saved_with = libraries.get("transformers", versions.TRANSFORMERS)
    if Version(saved_with).major >= 5 and not versions.IS_5:
        raise ValueError(
            f"{where!r} was saved with transformers {saved_with}, whose tokenizers and rotary "
            f"settings the installed {versions.TRANSFORMERS} does not read. Load it with "
            "transformers>=5, or train it again with this version."
        )
