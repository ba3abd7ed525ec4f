"""What can be said of a decoder and its files without reading a weight."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from ..decoder.config import make_config
from ..decoder.description import DESCRIPTION, Description
from ..decoder.families import check_family
from ..decoder.local import LocalDecoder, as_quantized, read_local
from ..decoder.reading import find_inside
from ..decoder.shape import DecoderShape
from ..decoder.source import (
    CONFIG,
    NO_ANSWER,
    Source,
    check_prequantized,
    load_tokenizer,
    read_quantization,
)
from ..decoder.weights import check_weights
from ..inputs import named_path

_TOKENIZER = "tokenizer.json"
_WEIGHTS = ".safetensors"


def read_saved_base(folder: Path, saved: Description) -> LocalDecoder | None:
    """Read the config of a saved decoder's base.

    folder (Path): The component's folder.
    saved (Description): Its lgu.json.
    RETURNS (LocalDecoder | None): None if the base is kept by reference and not on this machine.
        Raises ValueError as read_local does.
    """
    if saved.base_weights == "reference":
        is_gone = saved.base.files is not None and not named_path(saved.base.name).is_dir()
        if is_gone:
            return None
        found = read_local(saved.base.name, saved.base.commit, n_layers=saved.n_layers)
    else:
        name = "weights" if saved.base_weights == "weights" else "base"
        part = find_inside(folder, name, named_in=folder / DESCRIPTION)
        found = read_local(str(part.absolute()))
    return found and as_quantized(found, saved.quantization)


def find_problem(decoder: LocalDecoder) -> str | None:
    """Why a decoder cannot be used, as far as its config and the headers of its weights tell.

    decoder (LocalDecoder): The decoder.
    RETURNS (str | None): None if nothing is wrong, or its weights are on the hub alone.
    """
    try:
        check_family(decoder.config, whole=make_config(decoder.source.folder / CONFIG))
        if read_quantization(decoder.config).get("quant_method") not in (None, "bitsandbytes"):
            check_prequantized(decoder.source, decoder.config, "none")
        if decoder.source.is_local:
            check_weights(decoder.source, decoder.config)
    except ValueError as error:
        return str(error)
    return None


def match_modules(shape: DecoderShape, names: Iterable[str], rank: int) -> dict[str, int]:
    """The rank of every module and parameter that a new adapter has LoRA weights for.

    shape (DecoderShape): Of the decoder.
    names (Iterable[str]): From find_targets, of modules and of parameters.
    rank (int): Of all of them.
    RETURNS (dict[str, int]): By name.
    """
    endings = tuple(f".{name}" for name in names)
    return {n: rank for n in (*shape.linear, *shape.experts) if f".{n}".endswith(endings)}


def stored_bytes(decoder: LocalDecoder, *, offline: bool) -> dict[str, int | None]:
    """Sizes of a decoder's weights files.

    decoder (LocalDecoder): The decoder.
    offline (bool): Whether the hub must not be asked.
    RETURNS (dict[str, int | None]): Bytes "here" and, if it is from the hub, "on_hub"; None: not
        known.
    """
    here = sum(
        file.stat().st_size for file in decoder.source.folder.glob(f"*{_WEIGHTS}") if file.is_file()
    )
    if decoder.source.is_local:
        return {"here": here}
    return {"here": here, "on_hub": None if offline else _ask_sizes(decoder.source)}


def describe_tokenizer(folder: Path) -> dict[str, Any] | None:
    """Describe a tokenizer: its class, its vocabulary, and whether it puts a BOS first.

    folder (Path): Where its files lie.
    RETURNS (dict[str, Any] | None): None if there is none. Raises ValueError for a damaged one.
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


def _ask_sizes(source: Source) -> int | None:
    try:
        info = HfApi().model_info(source.name, revision=source.commit, files_metadata=True)
    except (HfHubHTTPError, NO_ANSWER, OSError):  # no network
        return None
    files = info.siblings or []
    return sum(file.size or 0 for file in files if file.rfilename.endswith(_WEIGHTS))
