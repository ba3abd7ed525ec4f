"""The pipeline around a saved transformer: what all its files are to hold.

nlp.to_disk writes one component after the other. The transformer, which comes first, notes in its
lgu.json what those behind it will write, so that a save which was killed between two components is
noticed: their files are then of the save before.
"""

import tempfile
import weakref
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
    """The components behind a transformer, as long as they live."""

    def __init__(self) -> None:
        self._found: dict[str, weakref.WeakSet[Any]] = {}

    def add(self, component: Any) -> None:
        """Remember a component."""
        self._found.setdefault(getattr(component, "name", ""), weakref.WeakSet()).add(component)

    def find(self, name: str) -> Any:
        """RETURNS (Any): The component of this name. None if there is none that can be saved, or if
        several pipelines that share the transformer have one."""
        found = list(self._found.get(name, ()))
        return found[0] if len(found) == 1 and hasattr(found[0], "to_disk") else None

    def __getstate__(self) -> dict[str, Any]:
        return {"_found": {}}  # weak references do not go to other processes


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
    written = [_CONFIG, _META]
    for part in ("tokenizer", *names[:position]):
        if (root / part).is_file():
            written.append(part)
        elif (root / part).is_dir():
            written += [f"{part}/{name}" for name in list_files(root / part)]
    fingerprints = hash_files(root, written)
    heads = []
    with tempfile.TemporaryDirectory(prefix="spacy-lgu-") as place:
        to_come = Path(place)
        for name in names[position + 1 :]:
            component = transformer.neighbours.find(name)
            if component is not None:
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
