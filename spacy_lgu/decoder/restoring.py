"""Loads a saved decoder; what is missing, damaged or of another save is reported first."""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import PretrainedConfig

from ..inputs import named_path
from ..replacing import finished_folder
from ..unmasking import unmask_layers
from .adapter import check_adapter, find_targets
from .adapter_origin import compare_lora
from .building import BuiltDecoder, CheckedDecoder, assemble
from .bundle import Bundle
from .description import DESCRIPTION, Description, read_description
from .fingerprints import FingerprintsT, differing_files, fingerprint_folder, list_files
from .loading import resolve_products
from .locking import one_at_a_time
from .mixers import layer_kinds
from .reading import damaged, find_inside
from .saved_with import check_newer, check_saved_with
from .settings import DecoderSettings
from .source import CONFIG, Source, find_source, load_tokenizer, read_config
from .weights import check_weights, place_experts

_PARTS = ("adapter", "base", "tokenizer", "weights")


class FoundWeights(NamedTuple):
    """The weights of a saved decoder, without its adapter.

    source (Source): Where they are.
    config (PretrainedConfig): The config beside them, of the layers that are used.
    prefix (str | None): From check_weights, if they are those of a reference.
    bundle (Bundle | None): If they are a frozen base inside the save.
    identity (str): What makes two frozen bases the same.
    """

    source: Source
    config: PretrainedConfig
    prefix: str | None
    bundle: Bundle | None
    identity: str


@one_at_a_time
def load_decoder_folder(
    folder: Path, settings: DecoderSettings, *, device: torch.device, full: bool = False
) -> BuiltDecoder:
    """Read a decoder from a folder that save_decoder wrote.

    folder (Path): The folder.
    settings (DecoderSettings): From the pipeline's config. A dtype other than "auto" overrides
        the saved one, and products count as they are; pattern, depth, reading, quantization and
        tuning must agree with what was saved.
    device (torch.device): Where the weights go.
    full (bool): Whether to hash the base weights as well.
    RETURNS (BuiltDecoder): The decoder, in evaluation mode. Raises ValueError or OSError that says
        what is missing, damaged or different, and what to do.
    """
    products = resolve_products(settings, device)
    folder = finished_folder(folder)
    saved = read_description(folder)
    check_newer(saved.libraries, str(folder))
    _compare_settings(folder, saved, settings)
    _check_files(folder, saved)
    place = folder / "tokenizer"
    tokenizer = load_tokenizer(Source(str(place), place, None), {}, as_saved=True)
    adapter = folder / "adapter" if settings.tuning == "lora" else None
    adapter_config = None if adapter is None else check_adapter(adapter)
    found = find_weights(folder, saved, full=full)
    source, config = found.source, found.config
    check_saved_with(saved.libraries, config, str(folder))
    config = place_experts(source, config, settings.quantization)
    if config.hidden_size != saved.width:
        raise damaged(
            folder / DESCRIPTION,
            f"the width is {saved.width}, but that of the decoder is {config.hidden_size}",
        )
    if adapter_config is not None and settings.lora.path is None:
        # Otherwise the adapter came with settings of its own.
        compare_lora(adapter_config, settings.lora, *find_targets(settings.lora, config))
    return assemble(
        CheckedDecoder(
            settings=settings,
            source=source,
            config=config,
            tokenizer=tokenizer,
            unmasked=unmask_layers(saved.unmasking, config.num_hidden_layers, layer_kinds(config)),
            prefix=found.prefix,
            adapter=adapter,
        ),
        saved.base,
        identity=found.identity,
        dtype=saved.dtype if settings.dtype == "auto" else settings.dtype,
        device=device,
        bundle=found.bundle,
        subtokens=saved.subtokens,
        products=products,
    )


def find_weights(folder: Path, saved: Description, *, full: bool = False) -> FoundWeights:
    """Find the weights of a saved decoder, in the save or where its base is; none is read.

    folder (Path): A folder that save_decoder wrote.
    saved (Description): Its description.
    full (bool): Whether to hash the weights that the save holds.
    RETURNS (FoundWeights): Raises ValueError or OSError that says what is missing, damaged or
        different, and what to do.
    """
    if saved.base_weights == "reference":
        return _find_reference(folder, saved)
    part = folder / saved.part
    bundle, identity = None, saved.base.identity
    if saved.bundle is not None:
        files = _compare_base(part, saved.bundle, full=full)
        bundle = Bundle.at(part, files) if saved.part == "base" else None
        identity = replace(saved.base, files=files).identity
    source = find_source(str(part.absolute()))
    config = read_config(source)
    if saved.n_layers not in (None, config.num_hidden_layers):
        raise damaged(
            folder / DESCRIPTION,
            f"'n_layers' is {saved.n_layers}, but the decoder in {saved.part} has "
            f"{config.num_hidden_layers} layers",
        )
    return FoundWeights(source, config, None, bundle, identity)


def read_identity(folder: Path) -> tuple[str | None, str, int | None]:
    """Which base a saved decoder needs, before any weight is read.

    folder (Path): A folder that save_decoder wrote.
    RETURNS (tuple): What makes two frozen bases the same, quantization included, and None if all
        weights were trained; the base's name; and n_layers, None for all. Raises ValueError as
        read_description does.
    """
    folder = finished_folder(folder)
    saved = read_description(folder)
    if saved.tuning == "full":
        return None, saved.base.name, saved.n_layers
    identity = saved.base.identity
    if saved.base_weights == "bundle" and saved.bundle is not None:
        found = fingerprint_folder(folder / saved.part, full=False)
        identity = replace(saved.base, files={CONFIG: found[CONFIG], **saved.bundle}).identity
    return f"{identity} {saved.quantization}", saved.base.name, saved.n_layers


def decoder_from_files(
    files: dict[str, bytes], settings: DecoderSettings, *, device: torch.device
) -> BuiltDecoder:
    """The inverse of decoder_to_files.

    files (dict[str, bytes]): Content by path relative to the decoder's folder.
    settings (DecoderSettings): From the pipeline's config.
    device (torch.device): Where the weights go.
    RETURNS (BuiltDecoder): As load_decoder_folder, with every file hashed.
    """
    with tempfile.TemporaryDirectory(prefix="spacy-lgu-") as name:
        folder = Path(name)
        unpack_files(
            files, folder, where="The bytes hold", advice="Load bytes that came from to_bytes."
        )
        built = load_decoder_folder(folder, settings, device=device, full=True)
    built.bundle = None  # its folder is gone
    return built


def unpack_files(files: Mapping[str, bytes], folder: Path, *, where: str, advice: str) -> None:
    """Write the files of a decoder that was packed into bytes.

    files (Mapping[str, bytes]): By path relative to the decoder's folder.
    folder (Path): The folder.
    where (str): What held them, and the verb, for the message.
    advice (str): What to do, for the message.
    RETURNS (None): Raises ValueError for a path that leads out of the folder.
    """
    folder = folder.resolve()
    for path, content in files.items():
        file = (folder / path).resolve()
        if not file.is_relative_to(folder):
            raise ValueError(f"{where} a file {path!r}, outside the decoder's folder. {advice}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def _compare_settings(folder: Path, saved: Description, settings: DecoderSettings) -> None:
    for name in ("unmasking", "n_layers", "repeat", "read_previous", "quantization", "tuning"):
        if getattr(saved, name) != getattr(settings, name):
            raise ValueError(
                f"The decoder in {str(folder)!r} was trained with {name} = "
                f"{getattr(saved, name)!r}, but the config says {getattr(settings, name)!r}. Leave "
                "the saved config as it is, or train again with the other value."
            )


def _check_files(folder: Path, saved: Description) -> None:
    """Check all but the base weights: loading reads all of it, so that hashing costs little."""
    expected = saved.files or {}
    bundled = [f"{saved.part}/{name}" for name in saved.bundle or ()]
    for name in (*_PARTS, *bundled, *expected):
        find_inside(folder, name, named_in=folder / DESCRIPTION)
    if not (folder / "tokenizer").is_dir():
        raise ValueError(
            f"The decoder in {str(folder)!r} is incomplete: the folder tokenizer is missing. Copy "
            "the pipeline again from where it was saved."
        )
    if saved.files is None:  # saved in format 1
        return
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


def _find_reference(folder: Path, saved: Description) -> FoundWeights:
    base = saved.base
    if base.files is not None and not named_path(base.name).is_dir():
        raise ValueError(
            f"The base decoder of {str(folder)!r} was the folder {base.name!r}, which is not "
            "here. Put it back, or save the pipeline with base_weights = 'bundle'."
        )
    if base.files is None and base.commit is None:
        raise damaged(folder / DESCRIPTION, "'base' has neither 'commit' nor 'files'")
    try:
        source = find_source(base.name, base.commit, n_layers=saved.n_layers)
        config = read_config(source)
        prefix = check_weights(source, config)
    except (ValueError, OSError) as error:
        raise OSError(
            f"The pipeline part {str(folder)!r} holds only an adapter and needs its base decoder "
            f"{base.name!r}, which cannot be read: {error} To make a pipeline that needs no "
            "base, save it with base_weights = 'bundle'."
        ) from error
    if source.is_local and base.files is not None:
        _compare_base(source.folder, base.files, full=False, n_layers=saved.n_layers)
    return FoundWeights(source, config, prefix, None, base.identity)


def _compare_base(
    folder: Path, expected: FingerprintsT, *, full: bool, n_layers: int | None = None
) -> FingerprintsT:
    """Compare sizes and headers; hashing gigabytes at each load is left to verify_decoder.

    RETURNS (dict): What was expected, with the config, which older versions did not record.
    """
    found = fingerprint_folder(folder, full=full, n_layers=n_layers)
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
