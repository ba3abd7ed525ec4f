"""A base decoder that is quantized once and stored, so that later loads need not read all of it.

    config.json, model*.safetensors    as a bundled save holds them (bundle.py)
    tokenizer.json, ...                the decoder's own files
    quantized.json                     what it was made from, how many layers of it, in which dtype,
                                       with which libraries

A decoder that is named by such a folder has the vectors that it has when it is quantized while it
is loaded, in the same dtype and on the same kind of device.
"""

import json
import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ..replacing import replace_folder
from .building import CheckedDecoder, check_settings
from .description import describe_base
from .loading import load_decoder, resolve_dtype
from .reading import read_json
from .saved_with import RECORD, RECORD_FORMAT, library_versions
from .settings import DecoderSettings
from .source import read_quantization

# All that AutoTokenizer reads of one.
_TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
)  # fmt: skip


def check_place(folder: Path) -> None:
    """Refuse to write where something is.

    folder (Path): Where a decoder is to be stored. Raises ValueError unless there is nothing, or a
        decoder that store_quantized wrote.
    """
    if folder.exists() and not (folder / RECORD).is_file():
        raise _is_there(folder)


def store_quantized(
    checked: CheckedDecoder, folder: Path, *, dtype: str, device: torch.device
) -> bool:
    """Load a decoder, quantize it and write it to a folder. Whatever ends this leaves no folder, or
    a complete one.

    checked (CheckedDecoder): From check_settings, with the quantization that is wanted.
    folder (Path): Where it goes.
    dtype (str): In which it is to compute; "auto" as in a config.
    device (device): Where it is quantized.
    RETURNS (bool): False: the folder holds this very decoder already. Raises ValueError for a
        decoder that is quantized already, and if the folder holds anything else.
    """
    source, config, settings = checked.source, checked.config, checked.settings
    if read_quantization(config):
        raise ValueError(
            f"The weights of {source.name!r} are already quantized. Name the folder itself as the "
            "decoder, or give the unquantized decoder."
        )
    check_place(folder)
    dtype = resolve_dtype(dtype, device)
    record = {
        "base": asdict(describe_base(source, remember=True)),
        "n_layers": config.num_hidden_layers,
        "quantization": settings.quantization,
        "dtype": dtype,
    }
    if folder.exists():
        _compare(folder, record)
        return False
    module: Any = load_decoder(
        source,
        config,
        dtype=dtype,
        quantization=settings.quantization,
        device=device,
        prefix=checked.prefix,
    )

    def write(hidden: Path) -> None:
        module.save_pretrained(str(hidden), safe_serialization=True)
        _write_tokenizer(checked, hidden)
        made_with = {"spacy_lgu": version("spacy-lgu"), "libraries": library_versions()}
        values = {"format": RECORD_FORMAT, **made_with, "device": device.type, **record}
        text = json.dumps(values, indent=2) + "\n"
        (hidden / RECORD).write_text(text, encoding="utf8")
        _check_written(checked, hidden)
        if folder.exists():  # another process was faster
            raise _is_there(folder)

    replace_folder(folder, write)
    return True


def _is_there(folder: Path) -> ValueError:
    return ValueError(
        f"{str(folder)!r} is there already and would be overwritten. Name a folder that does not "
        "exist yet."
    )


def _compare(folder: Path, record: dict[str, Any]) -> None:
    found = read_json(folder / RECORD)
    differing = [name for name, value in record.items() if found.get(name) != value]
    if differing:
        raise ValueError(
            f"{str(folder)!r} holds a decoder that was quantized before, of another "
            f"{', '.join(differing)}, and would be overwritten. Name another folder, or remove it."
        )


def _write_tokenizer(checked: CheckedDecoder, folder: Path) -> None:
    """The tokenizer's own files where it has them: transformers writes some of them otherwise than
    it reads them."""
    source = checked.source.folder
    if (source / _TOKENIZER[0]).is_file():
        for name in _TOKENIZER:
            if (source / name).is_file():
                shutil.copyfile(source / name, folder / name)
    else:
        tokenizer: Any = checked.tokenizer  # transformers' base class is partly typed
        tokenizer.save_pretrained(str(folder))


def _check_written(checked: CheckedDecoder, folder: Path) -> None:
    """Raise ValueError unless what was written can be loaded, as far as is known without reading
    weights."""
    settings = DecoderSettings(
        name=str(folder),
        unmasking=checked.settings.unmasking,
        quantization=checked.settings.quantization,
        tuning="frozen",
    )
    written = check_settings(settings, {})
    before, after = (
        load.backend_tokenizer.to_str() for load in (checked.tokenizer, written.tokenizer)
    )
    if before != after:
        raise ValueError(
            f"The tokenizer of {checked.source.name!r} is not the same once it is stored: this "
            "decoder can only be quantized while it is loaded. Please report its name."
        )
