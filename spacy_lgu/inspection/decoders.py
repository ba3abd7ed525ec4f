"""Decoders on this machine or on the hub, looked at through their config; no weight is read."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id
from torch.nn import Linear
from transformers import PretrainedConfig
from transformers.utils import hub as transformers_hub

from ..decoder.checkpoint import build_skeleton
from ..decoder.description import DESCRIPTION, Description
from ..decoder.families import check_family
from ..decoder.reading import find_inside
from ..decoder.source import CONFIG, Source, find_source, load_tokenizer, read_config
from ..decoder.weights import weight_shapes
from ..replacing import finished_folder
from .sizes import DecoderShape

_TOKENIZER = "tokenizer.json"
_WEIGHTS = ".safetensors"


@dataclass(frozen=True, kw_only=True)
class LocalDecoder:
    """A decoder whose config is on this machine.

    source (Source): Where it comes from, and where its config lies.
    config (PretrainedConfig): Its config.
    shape (DecoderShape): Its sizes.
    """

    source: Source
    config: PretrainedConfig
    shape: DecoderShape


def read_local(name: str, revision: str | None = None) -> LocalDecoder | None:
    """Read a decoder's config without asking the network.

    name (str): Folder, or name on the Hugging Face hub.
    revision (str | None): Branch, tag or commit on the hub.
    RETURNS (LocalDecoder | None): None for a name on the hub that the local cache does not have.
        Raises ValueError for a folder that is missing or holds no decoder, and for a config that is
        damaged or no decoder's.
    """
    folder = finished_folder(Path(name).expanduser())
    if folder.is_dir() or not _is_hub_name(name):
        return _read(find_source(name, revision))
    cache = transformers_hub.TRANSFORMERS_CACHE
    found = try_to_load_from_cache(name, CONFIG, cache_dir=cache, revision=revision)
    if not isinstance(found, str):
        return None
    snapshot = Path(found).parent  # .../snapshots/<commit>
    return _read(Source(name, snapshot, snapshot.name))


def read_usable(name: str, revision: str | None = None) -> LocalDecoder | None:
    """As read_local. Raises ValueError also for a family that cannot be unmasked."""
    found = read_local(name, revision)
    if found is not None:
        check_family(found.config)
    return found


def read_decoder(name: str, revision: str | None = None) -> LocalDecoder:
    """Read a decoder's config, which is downloaded where the local cache lacks it.

    name, revision (str): As in read_local.
    RETURNS (LocalDecoder): Raises ValueError or OSError as read_local and find_source.
    """
    return read_local(name, revision) or _read(find_source(name, revision))


def read_saved_base(folder: Path, saved: Description) -> LocalDecoder | None:
    """Read the config of a saved decoder's base.

    folder (Path): The component's folder.
    saved (Description): Its lgu.json.
    RETURNS (LocalDecoder | None): None where the base is kept by reference and not on this machine.
        Raises ValueError as read_local.
    """
    if saved.base_weights == "reference":
        is_gone = saved.base.files is not None and not Path(saved.base.name).expanduser().is_dir()
        return None if is_gone else read_local(saved.base.name, saved.base.commit)
    name = "weights" if saved.base_weights == "weights" else "base"
    part = find_inside(folder, name, named_in=folder / DESCRIPTION)
    return read_local(str(part.absolute()))


def measure_shape(config: PretrainedConfig) -> DecoderShape:
    """RETURNS (DecoderShape): The sizes of a decoder with this config."""
    skeleton = build_skeleton(config)
    n_heads = config.num_attention_heads
    return DecoderShape(
        family=config.model_type,
        n_layers=config.num_hidden_layers,
        n_parameters=sum(parameter.numel() for parameter in skeleton.parameters()),
        width=config.hidden_size,
        inner_width=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
        n_heads=n_heads,
        n_key_value_heads=getattr(config, "num_key_value_heads", None) or n_heads,
        head_width=getattr(config, "head_dim", None) or config.hidden_size // n_heads,
        vocab_size=config.vocab_size,
        context=config.max_position_embeddings,
        linear={
            name: (module.in_features, module.out_features)
            for name, module in skeleton.named_modules()
            if isinstance(module, Linear)
        },
    )


def match_modules(shape: DecoderShape, names: Iterable[str], rank: int) -> dict[str, int]:
    """The rank of every module that a new adapter has LoRA weights for.

    shape (DecoderShape): Of the decoder.
    names (Iterable[str]): Last parts of the modules' names, from find_lora_modules.
    rank (int): Of all of them.
    RETURNS (dict[str, int]): By name.
    """
    wanted = set(names)
    return {module: rank for module in shape.linear if module.rpartition(".")[2] in wanted}


def stored_bytes(decoder: LocalDecoder, *, offline: bool) -> dict[str, int | None]:
    """Sizes of a decoder's weights files.

    decoder (LocalDecoder): The decoder.
    offline (bool): Whether the hub must not be asked.
    RETURNS (dict[str, int | None]): Bytes "here" and, of one of the hub, "on_hub"; None: unknown.
    """
    here = sum(
        file.stat().st_size for file in decoder.source.folder.glob(f"*{_WEIGHTS}") if file.is_file()
    )
    if decoder.source.is_local:
        return {"here": here}
    return {"here": here, "on_hub": None if offline else _ask_sizes(decoder.source)}


def describe_tokenizer(folder: Path) -> dict[str, Any] | None:
    """A tokenizer's class, vocabulary and whether it puts a BOS first.

    folder (Path): Where its files lie.
    RETURNS (dict | None): None where there is none. Raises ValueError for a damaged one.
    """
    if not (folder / _TOKENIZER).is_file():
        return None
    tokenizer: Any = load_tokenizer(Source(str(folder), folder, None), {})
    ids = tokenizer("a")["input_ids"]
    return {
        "class": type(tokenizer).__name__,
        "vocabulary": len(tokenizer),
        "bos": tokenizer.bos_token,
        "puts_bos_first": bool(ids) and ids[0] == tokenizer.bos_token_id,
    }


def _read(source: Source) -> LocalDecoder:
    config = read_config(source)
    weight_shapes(source, config)  # raises for a config that transformers makes nothing of
    return LocalDecoder(source=source, config=config, shape=measure_shape(config))


def _ask_sizes(source: Source) -> int | None:
    try:
        info = HfApi().model_info(source.name, revision=source.commit, files_metadata=True)
    except (HfHubHTTPError, OSError):  # no network
        return None
    files = info.siblings or []
    return sum(file.size or 0 for file in files if file.rfilename.endswith(_WEIGHTS))


def _is_hub_name(name: str) -> bool:
    if name.startswith((".", "~", "/")) or name.count("/") > 1:
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True
