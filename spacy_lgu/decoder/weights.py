"""The files of a decoder's weights: named, checked and, where they are on the hub, downloaded.

Of a model that reads more than text, only the files that hold weights of its decoder are meant, and
of a decoder of which the first layers are used, those that hold weights of these: the index says
which. What the others hold does not matter, nor whether they are there.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants
from transformers import PretrainedConfig

from ..inputs import shorten
from .adapter_config import ADAPTER_CONFIG
from .adapter_parameters import expert_parameters
from .checkpoint import (
    Expected,
    build_skeleton,
    decoder_shapes,
    find_decoder,
    match_weights,
    read_headers,
    staged,
)
from .config import MODEL_ERRORS, is_part, make_config
from .depth import cut_config, find_unused
from .experts import with_separate_experts
from .reading import damaged, find_inside, read_json, take
from .source import CONFIG, NO_ANSWER, Source, download
from .stored_quantized import holds_quantized_experts
from .versions import IS_5

INDEX, WEIGHTS = "model.safetensors.index.json", "model.safetensors"


def check_weights(source: Source, config: PretrainedConfig) -> str | None:
    """Find missing, damaged or foreign weights, before anything is loaded or downloaded.

    source (Source): From find_source.
    config (PretrainedConfig): From read_config.
    RETURNS (str | None): The prefix under which the weights are stored; see match_weights. None:
        some of them are yet to be downloaded. Raises ValueError for a decoder without safetensors
        weights, for damaged files and, as match_weights does, for weights that are not those of
        the decoder; OSError when the network is off and the local cache lacks weights.
    """
    if (source.folder / ADAPTER_CONFIG).is_file():
        raise ValueError(
            f"There is an {ADAPTER_CONFIG} beside the weights of {source.name!r}, with which "
            "transformers would load another decoder, or these weights changed by the adapter. "
            "Keep the two in folders of their own, and set lora.path to that of the adapter."
        )
    if not source.is_local and not _has_weights(source.folder):
        if constants.HF_HUB_OFFLINE:
            raise OSError(
                f"The local cache holds no safetensors weights of the decoder {source.name!r} at "
                f"commit {source.commit}, and HF_HUB_OFFLINE is set. Connect once to download "
                "them, or name a decoder with safetensors weights."
            )
        _find_on_hub(source)
        return None
    depth = source.n_layers
    files = (weight_files if source.is_local else _named_files)(source.folder, n_layers=depth)
    missing = [file.name for file in files if not file.is_file()]
    if missing and constants.HF_HUB_OFFLINE:
        raise OSError(
            f"The local cache lacks {', '.join(missing)} of the decoder {source.name!r}, and "
            "HF_HUB_OFFLINE is set. Connect once to download the rest."
        )
    tensors = read_headers(file for file in files if file.name not in missing)
    if missing:
        return None
    return match_weights(tensors, weight_shapes(source, config), where=source.name)


def place_experts(source: Source, config: PretrainedConfig, quantization: str) -> PretrainedConfig:
    """How the decoder in memory has its experts: one by one where they are quantized.

    source (Source): From find_source.
    config (PretrainedConfig): From read_config.
    quantization (str): "none", "nf4" or "int8".
    RETURNS (PretrainedConfig): The config, or a copy from with_separate_experts.
    """
    if not IS_5 or quantization == "none" or not expert_parameters(build_skeleton(config)):
        return config
    if getattr(config, "quantization_config", None) is not None and _has_weights(source.folder):
        # Saved by transformers 5 itself, they may be joined and not quantized.
        names = _named_files(source.folder, n_layers=source.n_layers)
        files = [file for file in names if file.is_file()]
        if not holds_quantized_experts(read_headers(files)):
            return config
    return with_separate_experts(config)


def weight_shapes(source: Source, config: PretrainedConfig) -> Expected:
    """Names and shapes of a decoder's weights, from its config alone.

    source (Source): Where the config comes from, for the message.
    config (PretrainedConfig): From read_config.
    RETURNS (Expected): As decoder_shapes. Raises ValueError that names config.json when it does
        not describe a decoder.
    """
    try:
        expected = decoder_shapes(config)
    except MODEL_ERRORS as error:
        raise damaged(
            source.folder / CONFIG,
            "transformers cannot build a decoder from it "
            f"({type(error).__name__}: {str(error)[:200]})",
        ) from error
    if source.n_layers is None:
        return expected
    n_all: int = make_config(source.folder / CONFIG).num_hidden_layers
    names = [name for form in expected.stored.forms for name in form]
    return expected._replace(unused=find_unused(names, source.n_layers, n_all))


def fetch_weights(source: Source) -> list[Path]:
    """The files that make up a decoder's weights, downloaded if they are only on the hub.

    source (Source): From find_source.
    RETURNS (list[Path]): As weight_files does.
    """
    if not source.is_local:
        if not _has_weights(source.folder):
            download(source.name, _find_on_hub(source), revision=source.commit)
        for file in _named_files(source.folder, n_layers=source.n_layers):
            download(source.name, file.name, revision=source.commit)
    return weight_files(source.folder, n_layers=source.n_layers)


@contextlib.contextmanager
def stage_weights(files: Sequence[Path]) -> Iterator[Path]:
    """A temporary folder with a decoder's weights alone; see staged.

    files (Sequence[Path]): From fetch_weights.
    YIELDS (Path): The folder, with an index of these files if there is one.
    """
    with staged(files) as folder:
        if files[0].name != WEIGHTS:
            values = read_json(files[0].with_name(INDEX))
            names = {file.name for file in files}
            values["weight_map"] = {k: v for k, v in values["weight_map"].items() if v in names}
            (folder / INDEX).write_text(json.dumps(values), encoding="utf8")
        yield folder


def find_tensor(source: Source, name: str) -> tuple[Path, str] | None:
    """A weight that is not the decoder's, such as that of a head, downloaded if it is on the hub.

    source (Source): From find_source.
    name (str): What its name ends with, in whole parts: "lm_head.weight" is also found as
        "language_model.lm_head.weight".
    RETURNS (tuple[Path, str] | None): Its file and its name there. None: there is none. Raises
        ValueError when there are several.
    """
    files = fetch_weights(source)
    index = files[0].with_name(INDEX)
    if files[0].name == WEIGHTS:
        where = {name: tensor.file for name, tensor in read_headers(files).items()}
    else:
        where = take(read_json(index), "weight_map", (dict,), index)
    found = [stored for stored in where if stored == name or stored.endswith(f".{name}")]
    if len(found) > 1:
        raise ValueError(
            f"The checkpoint {source.name!r} holds {len(found)} weights {name!r}: "
            f"{', '.join(found)}. Expected one: save the right one by itself."
        )
    if not found:
        return None
    file = find_inside(source.folder, take(where, found[0], (str,), index), named_in=index)
    if not source.is_local:
        file = download(source.name, file.name, revision=source.commit)
    return file, found[0]


def weight_files(folder: Path, *, n_layers: int | None = None) -> list[Path]:
    """The safetensors files that make up the weights in a folder.

    folder (Path): A folder as save_pretrained writes it.
    n_layers (int | None): As in Source.
    RETURNS (list[Path]): Sorted. Raises ValueError when there are none, one that the index names
        is missing, or the index is damaged or names files elsewhere.
    """
    files = _named_files(folder, n_layers=n_layers)
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise ValueError(
            f"The weights in {str(folder)!r} are incomplete: {', '.join(missing)} missing. "
            "Expected safetensors files as save_pretrained writes them; convert older .bin files "
            "with `save_pretrained(..., safe_serialization=True)`."
        )
    return files


def _has_weights(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (INDEX, WEIGHTS))


def _find_on_hub(source: Source) -> str:
    """RETURNS (str): The file that holds the weights or names their files."""
    try:
        names = HfApi().list_repo_files(source.name, revision=source.commit)
    except NO_ANSWER as error:
        if getattr(error, "response", None) is not None:
            raise
        raise OSError(
            f"The weights of {source.name!r} are not in the hub's cache, and the Hugging Face hub "
            f"does not answer ({error}). Connect to the network, or put them into the cache."
        ) from error
    for name in (WEIGHTS, INDEX):  # in transformers' order
        if name in names:
            return name
    raise ValueError(
        f"The repository {source.name!r} has no safetensors weights, only other formats, which "
        "may run code when they are read. Name another decoder, or convert it: "
        "`save_pretrained(..., safe_serialization=True)`."
    )


def _named_files(folder: Path, *, n_layers: int | None) -> list[Path]:
    # In transformers' order: an index may be left over from an earlier save.
    index = folder / INDEX
    if (folder / WEIGHTS).is_file() or not index.is_file():
        return [folder / WEIGHTS]
    weight_map = take(read_json(index), "weight_map", (dict,), index)
    names = {
        take(weight_map, weight, (str,), index) for weight in _needed(weight_map, folder, n_layers)
    }
    files = sorted(find_inside(folder, name, named_in=index) for name in names)
    if nested := sorted(name for name in names if "/" in name):
        raise ValueError(
            f"{str(index)!r} names weights in a folder, {shorten(nested[0])}: expected files "
            "beside it, as save_pretrained writes them. Move them there, and name them so."
        )
    return files


def _needed(weight_map: dict[str, Any], folder: Path, n_layers: int | None) -> list[str]:
    """RETURNS (list[str]): The weights of the decoder, and of a plain one with all layers all."""
    source = Source(str(folder), folder, None, n_layers)
    config = cut_config(make_config(folder / CONFIG), n_layers, where=source.name)
    if n_layers is None and not is_part(folder / CONFIG, config):
        return list(weight_map)
    expected = weight_shapes(source, config)
    prefix, form = find_decoder(weight_map, expected, where=str(folder), fits=None)
    children = {name.split(".")[0] for name in form}
    found = [
        name
        for name in weight_map
        if name.startswith(prefix) and name[len(prefix) :].split(".")[0] in children
        if not (expected.unused and expected.unused.fullmatch(name[len(prefix) :]))
    ]
    return found or list(weight_map)  # what is missing is reported by name later
