"""A decoder on disk.

lgu.json      format version, base identity, pattern, quantization, dtype, width
adapter/      adapter_config.json + adapter_model.safetensors, loadable by PEFT alone
tokenizer/    tokenizer.json ...
weights/      instead of adapter/ and base/ when all weights are trained
base/         only when bundled: config.json + model*.safetensors, quantized as in training
"""

import errno
import json
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch

from ..replacing import finished_folder
from ..unmasking import unmask_layers
from .adapter import check_adapter, find_lora_modules, load_adapter, save_adapter
from .building import (
    BuiltDecoder,
    Bundle,
    base_identity,
    compare_lora,
    enable_gradient_checkpointing,
)
from .decoder import LGUDecoder
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
from .settings import DecoderSettings

FORMAT = 1
BASE_WEIGHTS = ("auto", "bundle", "reference")
# msgpack, in which spaCy's to_bytes packs everything, ends at 4 GiB per object.
_MAX_BYTES = 2**32 - 2**20
# What file systems without hard links, or links between two of them, answer.
_NO_LINKS = (
    errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS
)  # fmt: skip


def load_decoder_folder(
    folder: Path, settings: DecoderSettings, *, device: torch.device
) -> BuiltDecoder:
    """Read a decoder from a folder written by write_decoder.

    folder (Path): The folder.
    settings (DecoderSettings): From the pipeline's config. A dtype other than "auto" overrides
        the saved one; pattern, quantization and tuning must agree with what was saved.
    device (torch.device): Where the weights go.
    RETURNS (BuiltDecoder): The decoder, in evaluation mode. Raises ValueError or OSError saying
        what is missing, damaged or different, and what to do.
    """
    folder = finished_folder(folder)
    saved = _read_description(folder)
    _compare_settings(folder, saved, settings)
    dtype = saved["dtype"] if settings.dtype == "auto" else settings.dtype
    if not (folder / "tokenizer").is_dir():
        raise ValueError(
            f"The decoder in {str(folder)!r} is incomplete: the folder tokenizer is missing. Copy "
            "the pipeline again from where it was saved."
        )
    tokenizer = load_tokenizer(Source(str(folder / "tokenizer"), folder / "tokenizer", None), {})
    source = Source(saved["base"]["name"], None, saved["base"]["commit"])
    shared, adapter, written_base, bundle = None, None, None, None
    if settings.tuning == "lora":
        saved_lora = check_adapter(folder / "adapter")
    if settings.tuning == "full":
        weights = Source(str(folder / "weights"), folder / "weights", None)
        if saved["bundle"] is not None:
            _compare_files(folder / "weights", saved["bundle"])
        base = load_decoder(weights, dtype="float32", quantization="none", device=device)
        base.requires_grad_(True)
    else:
        if saved["base_weights"] == "bundle":
            written_base = folder / "base"
            files = _compare_files(written_base, saved["bundle"])
            bundle = Bundle(files, _file_states(written_base))
            base_source = Source(str(written_base), written_base, None)
            identity = base_identity(base_source, files)
        else:
            base_source = _find_reference(folder, saved["base"])
            identity = base_identity(base_source, saved["base"]["files"])
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
    if settings.gradient_checkpointing:
        enable_gradient_checkpointing(base)
    unmasked = unmask_layers(saved["unmasking"], len(find_layers(base)))
    decoder = LGUDecoder(base, unmasked=unmasked, dtype=dtype, adapter=adapter)
    return BuiltDecoder(
        decoder.eval(),
        tokenizer,
        settings,
        source,
        saved["base"]["files"],
        shared,
        written_base,
        bundle,
    )


def decoder_to_files(built: BuiltDecoder, *, base_weights: str = "auto") -> dict[str, bytes]:
    """The files of write_decoder in memory, by path relative to the folder.

    built (BuiltDecoder): The decoder.
    base_weights (str): As in write_decoder.
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
        write_decoder(built, folder, base_weights=base_weights)
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
        built = load_decoder_folder(folder, settings, device=device)
    built.written_base, built.bundle = None, None
    return built


def write_decoder(built: BuiltDecoder, folder: Path, *, base_weights: str) -> None:
    """Write a decoder's files into an empty folder; arguments as in write_decoder."""
    kind = resolve_base_weights(built, base_weights)
    settings = built.settings
    tokenizer: Any = built.tokenizer  # transformers' base class is partly typed
    tokenizer.save_pretrained(str(folder / "tokenizer"))
    files = None
    if kind == "weights":
        built.decoder.base.save_pretrained(str(folder / "weights"), safe_serialization=True)
        files = fingerprint_folder(folder / "weights", full=True)
    elif kind == "bundle":
        files = _write_base(built, folder / "base").files
    if built.decoder.adapter is not None:
        save_adapter(built.decoder.adapter, folder / "adapter")
    description = {
        "format": FORMAT,
        "spacy_lgu": version("spacy-lgu"),
        # A relative path would mean another folder in another working directory.
        "base": {
            "name": built.source.location,
            "commit": built.source.commit,
            "files": built.files,
        },
        "base_weights": kind,
        "bundle": files,
        "unmasking": settings.unmasking,
        "quantization": settings.quantization,
        "dtype": built.decoder.dtype,
        "tuning": settings.tuning,
        "width": built.decoder.width,
    }
    text = json.dumps(description, indent=2) + "\n"
    (folder / "lgu.json").write_text(text, encoding="utf8")


def check_base_weights(base_weights: str) -> None:
    """Raises ValueError for an unknown value."""
    if base_weights not in BASE_WEIGHTS:
        raise ValueError(
            f"base_weights is {base_weights!r}: expected 'auto', 'bundle' or 'reference'."
        )


def resolve_base_weights(built: BuiltDecoder, base_weights: str) -> str:
    """What a save of this decoder holds: "bundle", "reference" or "weights" (all trained)."""
    check_base_weights(base_weights)
    if built.settings.tuning == "full":
        return "weights"
    if base_weights == "auto":
        return "reference" if built.files is None else "bundle"
    return base_weights


def _write_base(built: BuiltDecoder, target: Path) -> Bundle:
    written, bundle = built.written_base, built.bundle
    if written is None or bundle is None or _file_states(written) != bundle.states:
        module: Any = built.shared.module  # type: ignore[union-attr]  # a bundle is frozen
        module.save_pretrained(str(target), safe_serialization=True)
        files = fingerprint_folder(target, full=True)
        built.bundle = Bundle(files, _file_states(target))
        return built.bundle
    target.mkdir()
    for file in written.iterdir():
        try:
            os.link(file, target / file.name)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            shutil.copy2(file, target / file.name)  # with its time of change
    return bundle


def _file_states(folder: Path) -> dict[str, tuple[int, int]]:
    """RETURNS (dict): See Bundle; empty if there is no such folder."""
    if not folder.is_dir():
        return {}
    stats = {file.name: file.stat() for file in folder.iterdir()}
    return {n: (s.st_size, s.st_mtime_ns) for n, s in stats.items()}


def _read_description(folder: Path) -> dict[str, Any]:
    file = folder / "lgu.json"
    if not file.is_file():
        raise ValueError(
            f"There is no decoder in {str(folder)!r}: lgu.json is missing. Expected the folder of "
            "an lgu_transformer component, as nlp.to_disk writes it."
        )
    try:
        saved = json.loads(file.read_text(encoding="utf8"))
        if not isinstance(saved, dict):
            raise ValueError("expected a JSON object")
    except ValueError as error:  # not JSON, or not UTF-8
        raise ValueError(
            f"{str(file)!r} is damaged: {error}. Copy the pipeline again from where it was saved."
        ) from error
    if saved.get("format") != FORMAT:
        raise ValueError(
            f"{str(folder)!r} was saved in format {saved.get('format')} by spacy-lgu "
            f"{saved.get('spacy_lgu')}, but this version ({version('spacy-lgu')}) reads format "
            f"{FORMAT}. Install the version that saved it: pip install "
            f"spacy-lgu=={saved.get('spacy_lgu')}"
        )
    return saved


def _compare_settings(folder: Path, saved: dict[str, Any], settings: DecoderSettings) -> None:
    for name in ("unmasking", "quantization", "tuning"):
        if saved[name] != getattr(settings, name):
            raise ValueError(
                f"The decoder in {str(folder)!r} was trained with {name} = {saved[name]!r}, but "
                f"the config says {getattr(settings, name)!r}. Leave the saved config as it is, or "
                "train again with the other value."
            )


def _find_reference(folder: Path, base: dict[str, Any]) -> Source:
    if base["files"] is not None and not Path(base["name"]).expanduser().is_dir():
        raise ValueError(
            f"The base decoder of {str(folder)!r} was the folder {base['name']!r}, which is not "
            "here. Put it back, or save the pipeline with base_weights = 'bundle'."
        )
    try:
        source = find_source(base["name"], base["commit"])
        check_weights(source, read_config(source))
    except (ValueError, OSError) as error:
        raise OSError(
            f"The pipeline part {str(folder)!r} holds an adapter only and needs its base decoder "
            f"{base['name']!r}, which cannot be had: {error} To make a pipeline that needs no "
            "base, save it with base_weights = 'bundle'."
        ) from error
    if source.folder is not None:
        _compare_files(source.folder, base["files"])
    return source


def _compare_files(folder: Path, expected: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Sizes and headers; hashing gigabytes at each load is left to verify_decoder.

    RETURNS (dict): What was expected, with the config that older versions did not look at.
    """
    found = fingerprint_folder(folder, full=False)
    expected = {CONFIG: found[CONFIG], **expected}
    short = {
        name: {key: value for key, value in file.items() if key != "sha256"}
        for name, file in expected.items()
    }
    if found != short:
        raise ValueError(
            f"The weights in {str(folder)!r} are not those the pipeline was saved with: expected "
            f"{short}, found {found}. Restore the original files; an adapter is worthless on "
            "another base."
        )
    return expected


def verify_decoder(folder: Path) -> list[str] | None:
    """Hash every weight of a saved decoder, but for its adapter, and compare with what was saved.

    folder (Path): A folder written by write_decoder.
    RETURNS (list[str] | None): The files whose content differs; empty if all is well. None if
        there is nothing to compare with: for a base on the hub, whose files the hub's client
        checks, and for all weights saved by a version that recorded no hashes.
    """
    folder = finished_folder(folder)
    saved = _read_description(folder)
    if saved["bundle"] is not None:
        place = folder / ("base" if saved["base_weights"] == "bundle" else "weights")
        expected = saved["bundle"]
    elif saved["base_weights"] == "reference" and saved["base"]["files"] is not None:
        place, expected = Path(saved["base"]["name"]).expanduser(), saved["base"]["files"]
    else:
        return None
    found = fingerprint_folder(place, full=True)
    return sorted(name for name in expected if found.get(name) != expected[name])


def _expected_bytes(built: BuiltDecoder, base_weights: str) -> int:
    kind = resolve_base_weights(built, base_weights)
    total = sum(p.numel() * 4 for _, p in built.decoder.trainable())
    if kind == "bundle" and built.shared is not None:
        module = built.shared.module
        total += sum(p.numel() * p.element_size() for p in module.parameters())
    return total
