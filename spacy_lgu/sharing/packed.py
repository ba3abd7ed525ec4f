"""Decoders inside the file of a model, where spaCy puts them when listeners are replaced.

thinc writes a model as msgpack, and in it the bytes of each shim: those of a decoder are once more
msgpack, of its files by their paths (decoder_to_files).
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import srsly

from ..decoder.description import DESCRIPTION
from ..decoder.fingerprints import list_files
from ..decoder.restoring import unpack_files
from .checking import component_of, decoder_folders, list_components

MODEL = "model"
# msgpack ends at 4 GiB per object.
_MAX_BYTES = 2**32 - 2**20


class PackedModel:
    """The file of a model with decoders in it.

    file (Path): The file.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._content = srsly.msgpack_loads(file.read_bytes())

    @contextmanager
    def unpacked(self) -> Iterator[list[Path]]:
        """The decoders as folders, which may be changed; `pack` reads them.

        YIELDS (list[Path]): Temporary folders, in the order of the model's layers.
        """
        with tempfile.TemporaryDirectory(prefix="spacy-lgu-") as name:
            folders = []
            for i, (_, _, files) in enumerate(self._decoders()):
                folder = Path(name, str(i)).resolve()
                unpack_files(
                    files,
                    folder,
                    where=f"{str(self.file)!r} holds",
                    advice="It is damaged: copy it again from where it was saved.",
                )
                folders.append(folder)
            yield folders

    def pack(self, folders: list[Path]) -> bytes:
        """RETURNS (bytes): The model with these decoders in the place of its own. Raises
        ValueError beyond 4 GiB."""
        n_bytes = sum((f / name).stat().st_size for f in folders for name in list_files(f))
        if n_bytes > _MAX_BYTES:
            raise ValueError(
                f"The decoders in {str(self.file)!r} take {n_bytes:,} bytes with their base, but "
                "the file of a model cannot hold more than 4 GiB (a limit of msgpack). Keep the "
                "base by reference, or use a pipeline whose listeners were not replaced."
            )
        for (shims, i, _), folder in zip(self._decoders(), folders, strict=True):
            files = {name: (folder / name).read_bytes() for name in list_files(folder)}
            shims[i] = srsly.msgpack_dumps({"files": files})
        return srsly.msgpack_dumps(self._content)

    def _decoders(self) -> Iterator[tuple[list[bytes], int, dict[str, bytes]]]:
        """The list that holds a decoder's bytes, their place there, and its files."""
        for shims in self._content.get("shims", ()):
            for i, data in enumerate(shims):
                if DESCRIPTION.encode() in data:
                    found: Any = srsly.msgpack_loads(data)
                    if isinstance(found, dict) and DESCRIPTION in (found.get("files") or ()):
                        yield shims, i, found["files"]


def packed_models(pipeline: Path) -> list[PackedModel]:
    """RETURNS (list[PackedModel]): The models of a pipeline that have decoders in them, by the
    order of their paths."""
    components = list_components(pipeline)
    return [
        PackedModel(file)
        for file in sorted(pipeline.rglob(MODEL))
        if component_of(file, pipeline) in components
        and file.is_file()
        and DESCRIPTION.encode() in file.read_bytes()
    ]


@contextmanager
def unpacked_decoders(pipeline: Path) -> Iterator[dict[str, Path]]:
    """The folders of all decoders of a pipeline, those inside models in temporary ones.

    pipeline (Path): The pipeline's folder.
    YIELDS (dict[str, Path]): By component; of several inside one, the first has its name, and the
        others this and a number.
    """
    found = {component_of(folder, pipeline): folder for folder in decoder_folders(pipeline)}
    with ExitStack() as stack:
        for model in packed_models(pipeline):
            component = component_of(model.file, pipeline)
            for folder in stack.enter_context(model.unpacked()):
                n = sum(name.partition(" ")[0] == component for name in found)
                found[f"{component} ({n + 1})" if n else component] = folder
        yield found
