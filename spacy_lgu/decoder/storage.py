"""A decoder on disk.

lgu.json      format version, base identity, pattern, quantization, dtype, width
adapter/      adapter_config.json + adapter_model.safetensors, loadable by PEFT alone
tokenizer/    tokenizer.json ...
weights/      instead of adapter/ and base/ when all weights are trained
base/         only when bundled: config.json + model*.safetensors, quantized as in training
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch

from ..replacing import finished_folder, replace_file, replace_folder
from ..unmasking import unmask_layers
from .adapter import check_adapter, find_lora_modules, load_adapter, save_adapter
from .building import BuiltDecoder, Bundle, assemble, base_identity, compare_lora
from .description import (
    DESCRIPTION,
    Base,
    Description,
    FingerprintsT,
    differing_files,
    dump_description,
    hash_files,
    list_files,
    read_description,
)
from .families import find_layers
from .loading import (
    CONFIG,
    Source,
    check_weights,
    find_source,
    fingerprint_folder,
    load_decoder,
    load_shared_base,
    load_tokenizer,
    read_config,
)
from .locking import one_at_a_time
from .reading import damaged, find_inside
from .settings import DecoderSettings

BASE_WEIGHTS = ("auto", "bundle", "link", "reference")
_PARTS = ("adapter", "base", "tokenizer", "weights")
_ALWAYS = ("config.cfg", "meta.json")  # whatever a save leaves out
# msgpack, in which spaCy's to_bytes packs everything, ends at 4 GiB per object.
_MAX_BYTES = 2**32 - 2**20
# What file systems without hard links, or links between two of them, answer.
_NO_LINKS = (
    errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS
)  # fmt: skip


@one_at_a_time
def load_decoder_folder(
    folder: Path, settings: DecoderSettings, *, device: torch.device, full: bool = False
) -> BuiltDecoder:
    """Read a decoder from a folder that save_decoder wrote.

    folder (Path): The folder.
    settings (DecoderSettings): From the pipeline's config. A dtype other than "auto" overrides
        the saved one; pattern, quantization and tuning must agree with what was saved.
    device (torch.device): Where the weights go.
    full (bool): Whether to hash the base weights as well.
    RETURNS (BuiltDecoder): The decoder, in evaluation mode. Raises ValueError or OSError saying
        what is missing, damaged or different, and what to do.
    """
    folder = finished_folder(folder)
    saved = read_description(folder)
    _compare_settings(folder, saved, settings)
    for part in (*_PARTS, *(f"{_bundle_name(saved)}/{name}" for name in saved.bundle or ())):
        find_inside(folder, part, named_in=folder / DESCRIPTION)
    if not (folder / "tokenizer").is_dir():
        raise ValueError(
            f"The decoder in {str(folder)!r} is incomplete: the folder tokenizer is missing. Copy "
            "the pipeline again from where it was saved."
        )
    if saved.files is not None:
        _compare_files(folder, saved.files)
    dtype = saved.dtype if settings.dtype == "auto" else settings.dtype
    tokenizer = load_tokenizer(Source(str(folder / "tokenizer"), folder / "tokenizer", None), {})
    shared, adapter, written_base, bundle = None, None, None, None
    if settings.tuning == "lora":
        saved_lora = check_adapter(folder / "adapter")
    if settings.tuning == "full":
        weights = folder / "weights"
        if saved.bundle is not None:
            _compare_base(weights, saved.bundle, full=full)
        source = Source(str(weights), weights, None)
        base = load_decoder(source, dtype="float32", quantization="none", device=device)
        base.requires_grad_(True)
    else:
        if saved.bundle is not None:
            written_base = folder / "base"
            files = _compare_base(written_base, saved.bundle, full=full)
            bundle = Bundle(files, _file_states(written_base))
            base_source = Source(str(written_base), written_base, None)
            identity = base_identity(base_source, files)
        else:
            base_source = _find_reference(folder, saved.base)
            identity = base_identity(base_source, saved.base.files)
        shared = load_shared_base(
            base_source,
            identity=identity,
            dtype=dtype,
            quantization=settings.quantization,
            device=device,
        )
        base = shared.fork()
    if settings.tuning == "lora":
        if settings.lora.path is None:  # else the adapter brought settings of its own
            modules = find_lora_modules(settings.lora, cast(Any, base.config))
            compare_lora(folder / "adapter", saved_lora, settings.lora, modules)
        adapter = load_adapter(base, folder / "adapter", trainable=True)
    unmasked = unmask_layers(saved.unmasking, len(find_layers(base)))
    decoder = assemble(base, settings, unmasked=unmasked, dtype=dtype, adapter=adapter)
    if decoder.width != saved.width:
        raise damaged(
            folder / DESCRIPTION, f"the width is {saved.width}, but the decoder's {decoder.width}"
        )
    return BuiltDecoder(
        decoder,
        tokenizer,
        settings,
        Source(saved.base.name, None, saved.base.commit),
        saved.base.files,
        shared,
        written_base,
        bundle,
        saved.subtokens,
    )


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


def decoder_from_files(
    files: dict[str, bytes], settings: DecoderSettings, *, device: torch.device
) -> BuiltDecoder:
    """The inverse of decoder_to_files; arguments as in load_decoder_folder."""
    with tempfile.TemporaryDirectory(prefix="spacy-lgu-") as name:
        folder = Path(name).resolve()
        for path, content in files.items():
            file = (folder / path).resolve()
            if not file.is_relative_to(folder):
                raise ValueError(
                    f"The bytes hold a file {path!r}, outside of the decoder's folder."
                )
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        built = load_decoder_folder(folder, settings, device=device, full=True)
    built.written_base, built.bundle = None, None
    return built


def save_decoder(
    built: BuiltDecoder,
    folder: Path,
    *,
    base_weights: str,
    write_more: Callable[[Path], None] | None = None,
    pipeline: FingerprintsT | None = None,
    heads: Sequence[str] = (),
) -> None:
    """Save a decoder. A save that fails leaves an earlier one in its place whole.

    built (BuiltDecoder): The decoder.
    folder (Path): Its folder.
    base_weights (str): What to save of a frozen base: "bundle" (all), "reference" (its name),
        "link" (all, as hard links to another bundle of it where the file system can), "auto"
        (bundle if it came from a local folder, else reference).
    write_more (Callable | None): Gets the folder that is filled, before the decoder is.
    pipeline (dict | None): Fingerprints of the files around the folder, see description.py.
    heads (Sequence[str]): The components among them that listen to the decoder.
    """
    place = folder.resolve()
    # A bundle that is replaced goes away: only its successor is linked to it unasked.
    is_successor = built.written_base is not None and built.written_base.resolve().parent == place

    def write(hidden: Path) -> None:
        if write_more is not None:
            write_more(hidden)
        link = is_successor or base_weights == "link"
        _write_decoder(
            built, hidden, base_weights=base_weights, link=link, pipeline=pipeline, heads=heads
        )

    replace_folder(folder, write)
    if (folder / "base").is_dir():
        built.written_base = folder / "base"


def _write_decoder(
    built: BuiltDecoder,
    folder: Path,
    *,
    base_weights: str,
    link: bool,
    pipeline: FingerprintsT | None = None,
    heads: Sequence[str] = (),
) -> None:
    kind = resolve_base_weights(built, base_weights)
    settings = built.settings
    tokenizer: Any = built.tokenizer  # transformers' base class is partly typed
    tokenizer.save_pretrained(str(folder / "tokenizer"))
    bundle: FingerprintsT | None = None
    if kind == "weights":
        built.decoder.base.save_pretrained(str(folder / "weights"), safe_serialization=True)
        bundle = fingerprint_folder(folder / "weights", full=True)
    elif kind == "bundle":
        bundle = _write_base(built, folder / "base", link=link).files
    if built.decoder.adapter is not None:
        save_adapter(built.decoder.adapter, folder / "adapter")
    in_bundle = {f"{kind.replace('bundle', 'base')}/{name}" for name in bundle or ()}
    names = [name for name in list_files(folder) if name not in in_bundle]
    description = Description(
        # A relative path would mean another folder in another working directory.
        base=Base(name=built.source.location, commit=built.source.commit, files=built.files),
        base_weights=kind,
        bundle=bundle,
        unmasking=settings.unmasking,
        quantization=settings.quantization,
        dtype=built.decoder.dtype,
        tuning=settings.tuning,
        width=built.decoder.width,
        subtokens=built.subtokens,
        files=hash_files(folder, names),
        pipeline=pipeline,
        heads=list(heads),
    )
    (folder / DESCRIPTION).write_bytes(dump_description(description))


def check_base_weights(base_weights: str) -> None:
    """Raises ValueError for an unknown value."""
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
        return "reference" if built.files is None else "bundle"
    return "bundle" if base_weights == "link" else base_weights


def _write_base(built: BuiltDecoder, target: Path, *, link: bool) -> Bundle:
    written, bundle = built.written_base, built.bundle
    if written is None or bundle is None or _file_states(written) != bundle.states:
        module: Any = built.shared.module  # type: ignore[union-attr]  # a bundle is frozen
        module.save_pretrained(str(target), safe_serialization=True)
        files = fingerprint_folder(target, full=True)
        built.bundle = Bundle(files, _file_states(target))
        return built.bundle
    target.mkdir()
    for file in written.iterdir():
        if not (link and _link(file, target / file.name)):
            shutil.copy2(file, target / file.name)  # with its time of change
    return bundle


def _link(file: Path, target: Path) -> bool:
    """RETURNS (bool): False where the file system has no hard links."""
    try:
        os.link(file, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return False
    return True


def _file_states(folder: Path) -> dict[str, tuple[int, int]]:
    """RETURNS (dict): See Bundle; empty if there is no such folder."""
    if not folder.is_dir():
        return {}
    stats = {file.name: file.stat() for file in folder.iterdir()}
    return {n: (s.st_size, s.st_mtime_ns) for n, s in stats.items()}


def _compare_settings(folder: Path, saved: Description, settings: DecoderSettings) -> None:
    for name in ("unmasking", "quantization", "tuning"):
        if getattr(saved, name) != getattr(settings, name):
            raise ValueError(
                f"The decoder in {str(folder)!r} was trained with {name} = "
                f"{getattr(saved, name)!r}, but the config says {getattr(settings, name)!r}. Leave "
                "the saved config as it is, or train again with the other value."
            )


def _find_reference(folder: Path, base: Base) -> Source:
    if base.files is not None and not Path(base.name).expanduser().is_dir():
        raise ValueError(
            f"The base decoder of {str(folder)!r} was the folder {base.name!r}, which is not "
            "here. Put it back, or save the pipeline with base_weights = 'bundle'."
        )
    if base.files is None and base.commit is None:
        raise damaged(folder / DESCRIPTION, "'base' has neither 'commit' nor 'files'")
    try:
        source = find_source(base.name, base.commit)
        check_weights(source, read_config(source))
    except (ValueError, OSError) as error:
        raise OSError(
            f"The pipeline part {str(folder)!r} holds an adapter only and needs its base decoder "
            f"{base.name!r}, which cannot be had: {error} To make a pipeline that needs no "
            "base, save it with base_weights = 'bundle'."
        ) from error
    if source.folder is not None and base.files is not None:
        _compare_base(source.folder, base.files, full=False)
    return source


def _compare_base(folder: Path, expected: FingerprintsT, *, full: bool) -> FingerprintsT:
    """Sizes and headers; hashing gigabytes at each load is left to verify_decoder.

    RETURNS (dict): What was expected, with the config that older versions did not look at.
    """
    found = fingerprint_folder(folder, full=full)
    expected = {CONFIG: found[CONFIG], **expected}
    compared = {
        name: {key: value for key, value in file.items() if full or key != "sha256"}
        for name, file in expected.items()
    }
    differing = sorted(n for n in {*found, *compared} if found.get(n) != compared.get(n))
    if differing:
        raise ValueError(
            f"The weights in {str(folder)!r} are not those the pipeline was saved with: "
            f"{', '.join(differing)} {'differs' if len(differing) == 1 else 'differ'}. Restore the "
            "original files; an adapter is worthless on another base."
        )
    return expected


def _compare_files(folder: Path, expected: FingerprintsT) -> None:
    """Everything but the base weights: all of it is read at a load, so that hashes cost little."""
    named_in = folder / DESCRIPTION
    for name in expected:
        find_inside(folder, name, named_in=named_in)
    if differing := differing_files(folder, expected):
        raise ValueError(
            f"{', '.join(differing)} in {str(folder)!r} {'is' if len(differing) == 1 else 'are'} "
            "missing or not what was saved. Copy the pipeline again from where it was saved."
        )
    # Tokenizers look for more files than they write.
    for name in list_files(folder / "tokenizer"):
        if f"tokenizer/{name}" not in expected and not name.startswith("."):
            raise ValueError(
                f"The file {name!r} in {str(folder / 'tokenizer')!r} was not saved with the "
                "decoder, but would be read with it. Remove it."
            )


def verify_decoder(folder: Path) -> list[str] | None:
    """Hash every file of a saved decoder, and of the pipeline that was saved with it.

    folder (Path): A folder written by save_decoder.
    RETURNS (list[str] | None): The files whose content differs or that are missing, as paths
        relative to the folder; empty if all is well. None if there is nothing to compare with, in
        saves of versions that recorded no hashes. Left out is a base on the hub, whose files the
        hub's client checks.
    """
    folder = finished_folder(folder)
    recorded = _recorded(folder, read_description(folder))
    if recorded is None:
        return None
    return [
        f"{prefix}{name}"
        for prefix, (place, files) in recorded.items()
        for name in differing_files(place, files)
    ]


def list_unknown(folder: Path) -> list[str]:
    """Files of a saved decoder and its pipeline that verify_decoder has nothing to compare with.

    folder (Path): A folder written by save_decoder.
    RETURNS (list[str]): Paths relative to the folder.
    """
    folder = finished_folder(folder)
    recorded = _recorded(folder, read_description(folder)) or {}
    known = {f"{prefix}{name}" for prefix, (_, files) in recorded.items() for name in files}
    own = {name for name in list_files(folder) if name != DESCRIPTION}
    root = folder.absolute().parent
    # Another transformer keeps a record of its own.
    decoders = {place.parent.name for place in root.glob(f"*/{DESCRIPTION}")}
    around = [name for name in list_files(root) if name.partition("/")[0] not in decoders]
    return sorted({*own, *(f"../{name}" for name in around if "../" in recorded)} - known)


def _recorded(folder: Path, saved: Description) -> dict[str, tuple[Path, FingerprintsT]] | None:
    """Where there are files to compare: their folder and fingerprints, by its path from here."""
    found: dict[str, tuple[Path, FingerprintsT]] = {}
    if saved.files is not None:
        found[""] = folder, saved.files
    if saved.bundle is not None:
        part = _bundle_name(saved)
        found[f"{part}/"] = folder / part, saved.bundle
    elif saved.base_weights == "reference" and saved.base.files is not None:
        place = Path(saved.base.name).expanduser()
        found[f"{place}/"] = place, saved.base.files
    if saved.pipeline is not None:
        root = folder.absolute().parent
        # What was left out of the save (nlp.to_disk with exclude) is not there at all.
        there = {
            name: file
            for name, file in saved.pipeline.items()
            if name in _ALWAYS or finished_folder(root / name.partition("/")[0]).exists()
        }
        found["../"] = root, there
    return found or None


def _bundle_name(saved: Description) -> str:
    return "weights" if saved.base_weights == "weights" else "base"


def record_decoder(folder: Path) -> None:
    """Take the files of a saved decoder and of its pipeline for right as they are, after they were
    changed on purpose.

    folder (Path): A folder written by save_decoder.
    """
    folder = finished_folder(folder)
    saved = read_description(folder, changed=True)
    bundle, root, part = saved.bundle, folder.absolute().parent, _bundle_name(saved)
    if bundle is not None:
        bundle = fingerprint_folder(folder / part, full=True)
    part_files = {f"{part}/{name}" for name in bundle or ()}
    names = [n for n in list_files(folder) if n not in part_files and n != DESCRIPTION]
    pipeline = None if saved.pipeline is None else hash_files(root, list(saved.pipeline))
    changed = replace(saved, bundle=bundle, files=hash_files(folder, names), pipeline=pipeline)
    replace_file(folder / DESCRIPTION, dump_description(changed))


def _expected_bytes(built: BuiltDecoder, base_weights: str) -> int:
    kind = resolve_base_weights(built, base_weights)
    total = sum(p.numel() * 4 for _, p in built.decoder.trainable())
    if kind == "bundle" and built.shared is not None:
        module = built.shared.module
        total += sum(p.numel() * p.element_size() for p in module.parameters())
    return total
