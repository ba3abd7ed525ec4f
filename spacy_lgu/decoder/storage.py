"""A decoder on disk.

lgu.json      format version, base identity, pattern, depth, quantization, dtype, width
adapter/      adapter_config.json + adapter_model.safetensors, loadable by PEFT alone
tokenizer/    tokenizer.json ...
weights/      instead of adapter/ and base/ when all weights are trained
base/         only when bundled: config.json + model*.safetensors, quantized as in training
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..replacing import replace_folder
from .adapter import save_adapter
from .building import BuiltDecoder
from .bundle import Bundle, write_bundle
from .description import BASE_FOLDERS, DESCRIPTION, Description, dump_description
from .fingerprints import FingerprintsT, fingerprint_folder, hash_files, list_files
from .saved_with import library_versions
from .verification import verify_decoder as verify_decoder  # part of this path's API

BASE_WEIGHTS = ("auto", "bundle", "link", "reference")
# msgpack, in which spaCy's to_bytes packs everything, ends at 4 GiB per object.
_MAX_BYTES = 2**32 - 2**20


def save_decoder(
    built: BuiltDecoder,
    folder: Path,
    *,
    base_weights: str,
    write_more: Callable[[Path], None] | None = None,
    pipeline: FingerprintsT | None = None,
    heads: Sequence[str] = (),
) -> None:
    """Save a decoder. A save that fails leaves an earlier one intact.

    built (BuiltDecoder): The decoder.
    folder (Path): Its folder.
    base_weights (str): What to save of a frozen base: "bundle" (all), "reference" (its name),
        "link" (all, as hard links to another bundle of it where the file system can), "auto"
        (bundle if it came from a local folder, else reference).
    write_more (Callable | None): Called with the folder that is filled, before the decoder is
        written.
    pipeline (dict | None): Fingerprints of the files around the folder; see description.py.
    heads (Sequence[str]): The components among them that listen to the decoder.
    """
    earlier, written = built.bundle, None
    # A bundle that is replaced goes away: only its successor is linked to it without being asked.
    is_successor = earlier is not None and earlier.folder.resolve().parent == folder.resolve()

    def write(hidden: Path) -> None:
        nonlocal written
        if write_more is not None:
            write_more(hidden)
        link = is_successor or base_weights == "link"
        written = _write_decoder(
            built, hidden, base_weights=base_weights, link=link, pipeline=pipeline, heads=heads
        )

    replace_folder(folder, write)
    if written is not None:
        built.bundle = replace(written, folder=folder / written.folder.name)


def decoder_to_files(built: BuiltDecoder, *, base_weights: str = "auto") -> dict[str, bytes]:
    """The files of save_decoder in memory, by path relative to the folder.

    built (BuiltDecoder): The decoder.
    base_weights (str): As in save_decoder.
    RETURNS (dict[str, bytes]): Raises ValueError beyond 4 GiB, before any weight is copied.
    """
    with tempfile.TemporaryDirectory(prefix="spacy-lgu-") as name:
        folder = Path(name)
        if (n_bytes := _expected_bytes(built, base_weights)) > _MAX_BYTES:
            raise ValueError(
                f"The decoder takes {n_bytes:,} bytes, but to_bytes cannot hold more than 4 GiB "
                "(a limit of msgpack). Save with to_disk instead, or set base_weights = "
                "'reference' in the component lgu_transformer, so that only the adapter is saved."
            )
        _write_decoder(built, folder, base_weights=base_weights, link=True)
        return {
            str(file.relative_to(folder).as_posix()): file.read_bytes()
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }


def check_base_weights(base_weights: str) -> None:
    """Raise ValueError for an unknown value."""
    if base_weights not in BASE_WEIGHTS:
        raise ValueError(
            f"base_weights is {base_weights!r}: expected 'auto', 'bundle', 'link' or 'reference'."
        )


def resolve_base_weights(built: BuiltDecoder, base_weights: str) -> str:
    """What a save of this decoder holds: "bundle", "reference" or "weights" (all trained)."""
    check_base_weights(base_weights)
    if built.settings.tuning == "full":
        return "weights"
    if base_weights == "auto":
        return "reference" if built.base.files is None else "bundle"
    return "bundle" if base_weights == "link" else base_weights


def _write_decoder(
    built: BuiltDecoder,
    folder: Path,
    *,
    base_weights: str,
    link: bool,
    pipeline: FingerprintsT | None = None,
    heads: Sequence[str] = (),
) -> Bundle | None:
    """Fill a folder. RETURNS (Bundle | None): The base in it, if it is there."""
    kind = resolve_base_weights(built, base_weights)
    settings = built.settings
    tokenizer: Any = built.tokenizer  # transformers' base class is partly typed
    tokenizer.save_pretrained(str(folder / "tokenizer"))
    bundle, files = None, None
    if kind == "weights":
        built.decoder.base.save_pretrained(str(folder / "weights"), safe_serialization=True)
        files = fingerprint_folder(folder / "weights", full=True)
    elif kind == "bundle":
        base: Any = built.shared  # all that is not "weights" is frozen
        bundle = write_bundle(base.module, folder / "base", earlier=built.bundle, link=link)
        files = bundle.files
    if built.decoder.adapter is not None:
        save_adapter(built.decoder.adapter, folder / "adapter")
    in_bundle = {f"{BASE_FOLDERS.get(kind)}/{name}" for name in files or ()}
    names = [name for name in list_files(folder) if name not in in_bundle]
    description = Description(
        base=built.base,
        base_weights=kind,
        bundle=files,
        unmasking=settings.unmasking,
        quantization=settings.quantization,
        dtype=built.decoder.dtype,
        tuning=settings.tuning,
        width=built.decoder.width,
        subtokens=built.subtokens,
        n_layers=settings.n_layers,
        repeat=settings.repeat,
        read_previous=settings.read_previous,
        files=hash_files(folder, names),
        pipeline=pipeline,
        heads=list(heads),
        libraries=library_versions(),
    )
    (folder / DESCRIPTION).write_bytes(dump_description(description))
    return bundle


def _expected_bytes(built: BuiltDecoder, base_weights: str) -> int:
    kind = resolve_base_weights(built, base_weights)
    total = sum(p.numel() * 4 for _, p in built.decoder.trainable())
    if kind == "bundle" and built.bundle is not None:
        total += sum(file.stat().st_size for file in built.bundle.folder.glob("*"))
    elif kind == "bundle" and built.shared is not None:
        module = built.shared.module
        total += sum(p.numel() * p.element_size() for p in module.parameters())
    return total
