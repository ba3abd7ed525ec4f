"""The pipeline around a saved transformer: what all its files should hold.

nlp.to_disk writes one component after the other. The transformer, which comes first, notes in its
lgu.json what those after it will write, so that a save that was killed between two components is
noticed: their files are then from the save before.
"""

import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinc.api import Config

from ..decoder.description import DESCRIPTION, read_description
from ..decoder.fingerprints import FingerprintsT, differing_files, hash_files, list_files
from ..replacing import finished_folder
from ..replacing.system import hidden_folder

if TYPE_CHECKING:
    from .transformer import LGUTransformer

HeadsT = dict[str, FingerprintsT]

_CONFIG, _META = "config.cfg", "meta.json"
# Seconds that the components after a transformer may need to follow it to the disk.
_SAVING = 2.0


class Neighbours:
    """The components after a transformer in a pipeline. A transformer may have been in pipelines
    that are gone: this keeps alive only what cannot be referred to otherwise."""

    def __init__(self) -> None:
        # Each returns a component, None if that is gone.
        self._known: list[Callable[[], Any]] = []
        self._in_order: list[Callable[[], Any]] = []

    def begin(self) -> None:
        """Start a list: from here on, all components are added in the order of their pipeline."""
        self._in_order = []

    def add(self, component: Any) -> None:
        """Remember a component."""
        reference = _refer(component)
        self._in_order.append(reference)
        self._known = [known for known in self._known if known() is not None]
        if not any(component is known() for known in self._known):
            self._known.append(reference)

    def find(self, names: list[str]) -> dict[str, Any]:
        """The components of a pipeline that can be saved.

        names (list[str]): Names of all components after the transformer.
        RETURNS (dict): Components by name, as far as they are known.
        """
        found = {}
        for name in names:
            named = [c for known in self._known if getattr(c := known(), "name", None) == name]
            # Several may have one name, in pipelines that share the transformer or that had it one
            # after the other. Which of them is being saved cannot be known.
            if len(named) == 1:
                found[name] = named[0]
        if len(names) == len(self._in_order):  # none is disabled
            for name, reference in zip(names, self._in_order, strict=True):
                component = reference()
                if component is not None and getattr(component, "name", None) is None:
                    found[name] = component
        return {name: c for name, c in found.items() if hasattr(c, "to_disk")}

    def __getstate__(self) -> dict[str, Any]:
        # Other processes get the components from the pipeline.
        return {"_known": [], "_in_order": []}


def _refer(component: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(component)
    except TypeError:  # a class of Cython's, such as spaCy's entity recognizer
        return lambda: component


def fingerprint_pipeline(
    transformer: "LGUTransformer", root: Path
) -> tuple[FingerprintsT | None, list[str]]:
    """Fingerprints of a pipeline that is being saved: of the files that are there, and of those
    that will be.

    transformer (LGUTransformer): The component whose turn it is.
    root (Path): The pipeline's folder.
    RETURNS (tuple): The fingerprints by path, and the names of the components after it that
        listen to it; None and an empty list if no pipeline is being saved.
    """
    if not ((root / _CONFIG).is_file() and (root / _META).is_file()):
        return None, []
    try:
        config = Config().from_disk(root / _CONFIG, interpolate=False)
    except ValueError:  # half-written: another process is saving here
        return None, []
    names = config.get("nlp", {}).get("pipeline", [])
    if transformer.name not in names:
        return None, []
    position = names.index(transformer.name)
    before = {"tokenizer", *names[:position]}
    written = [_CONFIG, _META]
    for place in root.iterdir():
        if (place / DESCRIPTION).exists():
            continue  # another transformer, which keeps a record of its own
        if {place.name, place.stem} & before:  # some write a file, with or without a suffix
            inside = list_files(place) if place.is_dir() else [""]
            written += [f"{place.name}/{name}".removesuffix("/") for name in inside]
    fingerprints = hash_files(root, written)
    heads = []
    # Beside what is saved, where there is room for it.
    with hidden_folder(root / "components") as to_come:
        for name, component in transformer.neighbours.find(names[position + 1 :]).items():
            if isinstance(component, type(transformer)):
                continue
            component.to_disk(to_come / name, exclude=["vocab"])
            if name in transformer.listening_components:
                heads.append(name)
        transformer.vocab.to_disk(to_come / "vocab")
        fingerprints |= hash_files(to_come, list_files(to_come))
    return fingerprints, heads


def check_heads(folder: Path) -> HeadsT:
    """Compare the components that listen to a saved transformer with what was saved with it. If
    another process is about to save them, wait for it.

    folder (Path): The transformer's folder in that of the pipeline.
    RETURNS (dict): Fingerprints of their files, by component. Raises ValueError naming the
        files that are from another save.
    """
    root = folder.absolute().parent
    while True:
        saved = read_description(folder)
        heads = {
            head: {
                name.removeprefix(f"{head}/"): file
                for name, file in (saved.pipeline or {}).items()
                if name.startswith(f"{head}/")
            }
            for head in saved.heads
        }
        differing = differing_heads(root, heads)
        if not differing:
            return heads
        if not 0 <= time.time() - (folder / DESCRIPTION).stat().st_mtime < _SAVING:
            raise ValueError(
                f"{', '.join(differing)} in {str(root)!r} {'is' if len(differing) == 1 else 'are'} "
                f"not what was saved with the decoder in {folder.name!r}: the save was "
                "interrupted, or the file is damaged. Save the whole pipeline again, or copy it "
                "from where it was saved. If it was changed on purpose, `python -m spacy lgu "
                f"verify {root} --record` accepts that."
            )
        time.sleep(0.05)


def differing_heads(root: Path, heads: HeadsT) -> list[str]:
    """Files that changed, of those components that are there.

    root (Path): The pipeline's folder.
    heads (dict): From check_heads.
    RETURNS (list[str]): Their paths relative to it.
    """
    places = {head: finished_folder(root / head) for head in heads}
    return [
        f"{head}/{name}"
        for head, place in places.items()
        if place.is_dir()
        for name in differing_files(place, heads[head])
    ]
