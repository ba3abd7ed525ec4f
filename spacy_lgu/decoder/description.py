"""lgu.json: what a saved decoder is, and what every file of the save holds.

    format, spacy_lgu     of the file, and the version that wrote it
    libraries             versions of those whose code computes the vectors
    base                  name, commit and, for a local one, files of the base decoder
    base_weights          "bundle", "reference" or, when all weights are trained, "weights"
    bundle                files of base/ or weights/: sizes, headers, hashes
    unmasking, quantization, dtype, tuning, width
    n_layers, repeat,
    read_previous         as in DecoderSettings; all layers, and none, before these fields existed
    subtokens             "split", or "shared" (by tokens), as before this field existed
    files                 all other files of the folder: sizes, hashes
    pipeline, heads       files of the pipeline around it, and the pipes among them that listen
    checksum              of all this

Loading compares what is small. A save killed between two components leaves the files of two saves
in one pipeline, and is noticed by a file that is not the one recorded here.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..inputs import shorten
from .fingerprints import FingerprintsT, fingerprint_folder
from .reading import damaged, read_json, take, take_versions
from .settings import DTYPES, QUANTIZATIONS, SUBTOKENS, TUNINGS
from .source import Source

DESCRIPTION = "lgu.json"
# Where the base's weights lie in a save, by what it holds of them.
BASE_FOLDERS = {"bundle": "base", "weights": "weights"}
FORMAT = 2
# Format 1 has neither files, pipeline, heads nor checksum.
_READABLE = (1, 2)


@dataclass(frozen=True, kw_only=True)
class Base:
    """The decoder as it was before training.

    name (str): Name on the hub, or folder.
    commit (str | None): On the hub.
    files (dict | None): Fingerprints of a local decoder's files; see fingerprint_folder.
    """

    name: str
    commit: str | None
    files: FingerprintsT | None

    @property
    def identity(self) -> str:
        """What makes two bases the same: the hub's commit, or a hash over the local files,
        including the config."""
        if self.files is None:
            return f"{self.name}@{self.commit}"
        return hashlib.sha256(json.dumps(self.files, sort_keys=True).encode("utf8")).hexdigest()


def describe_base(source: Source, *, remember: bool = False) -> Base:
    """What a decoder is called, and what is in its files.

    source (Source): From find_source.
    remember (bool): As in fingerprint_folder.
    RETURNS (Base): With the location, since a relative path would mean another folder in another
        working directory.
    """
    files = None
    if source.is_local:
        files = fingerprint_folder(
            source.folder, full=True, remember=remember, n_layers=source.n_layers
        )
    return Base(name=source.location, commit=source.commit, files=files)


@dataclass(frozen=True, kw_only=True)
class Description:
    """The content of lgu.json; see the head of this file.

    files (dict | None): By path relative to the decoder's folder. None: saved in format 1.
    pipeline (dict | None): By path relative to the pipeline's folder. None: saved by itself.
    heads (list[str]): Names of components.
    libraries (dict[str, str]): Versions by name. Empty: saved before they were recorded, with
        transformers 4.53.
    """

    base: Base
    base_weights: str
    bundle: FingerprintsT | None
    unmasking: str
    quantization: str
    dtype: str
    tuning: str
    width: int
    subtokens: str
    n_layers: int | None = None
    repeat: int = 0
    read_previous: bool = False
    files: FingerprintsT | None = None
    pipeline: FingerprintsT | None = None
    heads: list[str]
    libraries: dict[str, str] = field(default_factory=dict)

    @property
    def part(self) -> str:
        """RETURNS (str): Name of the subfolder for weights of the base, if the save has any."""
        return BASE_FOLDERS.get(self.base_weights, "base")


def dump_description(description: Description) -> bytes:
    """RETURNS (bytes): The content of lgu.json."""
    values = {"format": FORMAT, "spacy_lgu": version("spacy-lgu"), **asdict(description)}
    values["checksum"] = _checksum(values)
    return (json.dumps(values, indent=2) + "\n").encode("utf8")


def read_description(folder: Path, *, changed: bool = False) -> Description:
    """Read lgu.json.

    folder (Path): The decoder's folder.
    changed (bool): Whether it may have been changed by hand, so that its checksum is not compared.
    RETURNS (Description): Raises ValueError that names the file, and the field that is wrong.
    """
    file = folder / DESCRIPTION
    if not file.is_file():
        raise ValueError(
            f"There is no decoder in {str(folder)!r}: lgu.json is missing. Expected the folder of "
            "an lgu_transformer component, as nlp.to_disk writes it."
        )
    values = read_json(file)
    if values.get("format") not in _READABLE:
        raise ValueError(
            f"{str(folder)!r} was saved in format {shorten(values.get('format'))} by spacy-lgu "
            f"{shorten(values.get('spacy_lgu'))}, but this version ({version('spacy-lgu')}) reads "
            f"the formats {_READABLE}. Install the version that saved it: pip install "
            f"spacy-lgu=={values.get('spacy_lgu')}"
        )
    base = take(values, "base", (dict,), file)
    description = Description(
        base=Base(
            name=take(base, "name", (str,), file),
            commit=take(base, "commit", (str, None), file),
            files=_take_fingerprints(base, "files", file),
        ),
        base_weights=_take_choice(values, "base_weights", ("bundle", "reference", "weights"), file),
        bundle=_take_fingerprints(values, "bundle", file),
        unmasking=take(values, "unmasking", (str,), file),
        quantization=_take_choice(values, "quantization", QUANTIZATIONS, file),
        dtype=_take_choice(values, "dtype", DTYPES[1:], file),
        tuning=_take_choice(values, "tuning", TUNINGS, file),
        width=take(values, "width", (int,), file),
        subtokens=_take_choice({"subtokens": "shared", **values}, "subtokens", SUBTOKENS, file),
        n_layers=take(values, "n_layers", (int, None), file),
        repeat=take({"repeat": 0, **values}, "repeat", (int,), file),
        read_previous=take({"read_previous": False, **values}, "read_previous", (bool,), file),
        files=_take_fingerprints(values, "files", file),
        pipeline=_take_fingerprints(values, "pipeline", file),
        heads=[str(name) for name in take(values, "heads", (list, None), file) or ()],
        libraries=take_versions(values, "libraries", (dict, None), file),
    )
    if (description.tuning == "full") != (description.base_weights == "weights"):
        raise damaged(
            file,
            f"tuning = {description.tuning!r} does not go with base_weights = "
            f"{description.base_weights!r}",
        )
    if description.base_weights == "bundle" and description.bundle is None:
        raise damaged(file, "'bundle' is missing")
    if values["format"] > 1 and not changed:
        if description.files is None:
            raise damaged(file, "'files' is missing")
        if take(values, "checksum", (str,), file) != _checksum(values):
            raise damaged(
                file,
                "its checksum does not match its content. If it was changed on purpose, "
                "`python -m spacy lgu verify PIPELINE --record` accepts that",
            )
    return description


def _checksum(values: dict[str, Any]) -> str:
    content = {name: value for name, value in values.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("utf8")).hexdigest()


def _take_choice(values: dict[str, Any], field: str, choices: tuple[str, ...], file: Path) -> str:
    value = take(values, field, (str,), file)
    if value not in choices:
        raise damaged(
            file, f"expected one of {', '.join(choices)} in {field!r}, but found {shorten(value)}"
        )
    return value


def _take_fingerprints(values: dict[str, Any], field: str, file: Path) -> FingerprintsT | None:
    found = take(values, field, (dict, None), file)
    if found is not None:
        for name in found:
            if name.startswith("/") or ".." in name.split("/"):
                raise damaged(file, f"the file {shorten(name)} in {field!r} is outside the save")
            for key in take(found, name, (dict,), file):
                take(found[name], key, (int, str), file)
    return found
