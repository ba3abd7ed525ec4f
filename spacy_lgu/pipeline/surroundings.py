"""The pipeline around a saved transformer: what all its files are to hold.

nlp.to_disk writes one component after the other. The transformer, which comes first, notes in its
lgu.json what those behind it will write, so that a save which was killed between two components is
noticed: their files are then of the save before.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinc.api import Config

from ..decoder.description import (
    FingerprintsT,
    differing_files,
    hash_files,
    list_files,
    read_description,
)
from ..replacing import finished_folder

if TYPE_CHECKING:
    from .transformer import LGUTransformer

_CONFIG, _META = "config.cfg", "meta.json"


class Neighbours:
    """The components behind a transformer."""

    def __init__(self) -> None:
        # None: several had this name, in pipelines that share the transformer or one after the
        # other. Which of them is being saved cannot be known.
        self._by_name: dict[str, Any] = {}
        self._in_order: list[Any] = []

    def begin(self) -> None:
        """From here on, all are added in the order of their pipeline."""
        self._in_order = []

    def add(self, component: Any) -> None:
        """Remember a component."""
        self._in_order.append(component)
        name = getattr(component, "name", None)
        if name is not None and self._by_name.setdefault(name, component) is not component:
            self._by_name[name] = None

    def find(self, names: list[str]) -> dict[str, Any]:
        """The components of a pipeline that can be saved.

        names (list[str]): Of all components behind the transformer.
        RETURNS (dict): Components by name, as far as they are known.
        """
        found = {name: self._by_name.get(name) for name in names}
        if len(names) == len(self._in_order):  # none is disabled
            for name, component in zip(names, self._in_order, strict=True):
                if getattr(component, "name", None) is None:
                    found[name] = component
        return {name: c for name, c in found.items() if hasattr(c, "to_disk")}

    def __getstate__(self) -> dict[str, Any]:
        # Other processes get the components from the pipeline.
        return {"_by_name": {}, "_in_order": []}


def fingerprint_pipeline(
    transformer: "LGUTransformer", root: Path
) -> tuple[FingerprintsT | None, list[str]]:
    """Fingerprints of a pipeline that is being saved: of the files that are there, and of those
    that will be.

    transformer (LGUTransformer): Whose turn it is.
    root (Path): The pipeline's folder.
    RETURNS (tuple): The fingerprints by path, and the names of the components behind it that
        listen to it; None and nothing if no pipeline is being saved.
    """
    if not ((root / _CONFIG).is_file() and (root / _META).is_file()):
        return None, []
    names = Config().from_disk(root / _CONFIG, interpolate=False)["nlp"]["pipeline"]
    if transformer.name not in names:
        return None, []
    position = names.index(transformer.name)
    before = {"tokenizer", *names[:position]}
    written = [_CONFIG, _META]
    for place in root.iterdir():
        if {place.name, place.stem} & before:  # some write a file, with or without a suffix
            inside = list_files(place) if place.is_dir() else [""]
            written += [f"{place.name}/{name}".removesuffix("/") for name in inside]
    fingerprints = hash_files(root, written)
    heads = []
    with tempfile.TemporaryDirectory(prefix="spacy-lgu-") as hidden:
        to_come = Path(hidden)
        for name, component in transformer.neighbours.find(names[position + 1 :]).items():
            component.to_disk(to_come / name, exclude=["vocab"])
            if name in transformer.listening_components:
                heads.append(name)
        transformer.vocab.to_disk(to_come / "vocab")
        fingerprints |= hash_files(to_come, list_files(to_come))
    return fingerprints, heads


def check_heads(folder: Path) -> None:
    """Compare the components that listen to a saved transformer with what was saved with it.

    folder (Path): The transformer's folder in that of the pipeline.
    RETURNS (None): Raises ValueError that names the files that are of another save.
    """
    saved = read_description(folder)
    root = folder.absolute().parent
    for head in saved.heads:
        place = finished_folder(root / head)
        expected = {
            name.removeprefix(f"{head}/"): file
            for name, file in (saved.pipeline or {}).items()
            if name.startswith(f"{head}/")
        }
        if place.is_dir() and (differing := differing_files(place, expected)):
            raise ValueError(
                f"{', '.join(differing)} of the component {head!r} in {str(root)!r} is not what "
                f"was saved with the decoder in {folder.name!r}: the save was interrupted, or the "
                "file is damaged. Save the whole pipeline again, or copy it from where it was "
                "saved. If the component was changed on purpose, `python -m spacy lgu verify "
                f"{root} --record` accepts that."
            )
