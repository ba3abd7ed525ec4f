"""Where a decoder comes from: a folder, or a commit on the hub, with its config and tokenizer.

No weight is read here.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from transformers import AutoTokenizer, PretrainedConfig, PreTrainedTokenizerFast

from ..inputs import named_path, shorten
from ..replacing import finished_folder
from .adapter_config import ADAPTER_CONFIG
from .config import make_config
from .depth import cut_config
from .reading import read_json
from .versions import hub_cache, set_prefix_space, without_class_warning

# What the client raises when it reaches nobody: of requests before version 1, then of httpx, whose
# package has another name by now.
_HTTP_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]
NO_ANSWER: Any = _HTTP_ERROR.__bases__[0] if issubclass(_HTTP_ERROR, OSError) else _HTTP_ERROR

CONFIG = "config.json"
_ENCODER_FAMILIES = ("bert", "roberta", "xlm-roberta", "distilbert", "electra", "deberta-v2")
_TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
# Keys of tokenizer_config.json that point to other files, or to the network.
_TOKENIZER_FILES = ("tokenizer_file", "fast_tokenizer_files")


@dataclass(frozen=True)
class Source:
    """Where a base decoder comes from, after its name was resolved.

    name (str): Hub name, or the folder as the user gave it.
    folder (Path): The folder on this machine that holds its files; for a decoder from the hub the
        commit's snapshot in the local cache, which has the config and what was downloaded since.
    commit (str | None): The commit the revision stands for. None: a local decoder.
    n_layers (int | None): How many of its layers are used, input side first. None: all.
    """

    name: str
    folder: Path
    commit: str | None
    n_layers: int | None = None

    @property
    def is_local(self) -> bool:
        return self.commit is None

    @property
    def location(self) -> str:
        """RETURNS (str): What transformers' from_pretrained takes."""
        return str(self.folder) if self.is_local else self.name


def find_source(name: str, revision: str | None = None, *, n_layers: int | None = None) -> Source:
    """Resolve a name to a folder, or to a commit on the hub (or in its local cache).

    name (str): Hub name or folder.
    revision (str | None): Branch, tag or commit; hub only.
    n_layers (int | None): As in Source.
    RETURNS (Source): Raises ValueError or OSError that says what was tried and what to do, for a
        missing folder or repository, a missing revision, a gated repository without access,
        and a name that is not cached while the network is off.
    """
    folder = finished_folder(named_path(name))
    if folder.is_dir():
        if revision is not None:
            raise ValueError(
                f"revision = {revision!r} was given for the folder {name!r}, which has no "
                "revisions. Set revision = null, or name a repository on the Hugging Face hub."
            )
        if not (folder / CONFIG).is_file():
            if (folder / ADAPTER_CONFIG).is_file():
                raise ValueError(
                    f"The folder {name!r} holds an adapter, not a decoder. Name the decoder that "
                    "it was trained on, and set lora.path to this folder."
                )
            raise ValueError(
                f"The folder {name!r} has no config.json: expected a decoder as transformers' "
                "save_pretrained writes it."
            )
        return Source(name, folder.resolve(), None, n_layers)
    if folder.is_file():
        raise ValueError(
            f"{name!r} is a file. Give the folder of a decoder, or its name on the Hugging Face "
            "hub, such as 'mistralai/Mistral-7B-v0.3'."
        )
    is_path = folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1
    if is_path or (os.sep != "/" and os.sep in name):
        raise ValueError(
            f"There is no folder {name!r} (looked in {Path.cwd()}). Give the folder of a decoder, "
            "or its name on the Hugging Face hub, such as 'mistralai/Mistral-7B-v0.3'."
        )
    snapshot = _find_snapshot(name, revision)
    return Source(name, snapshot, snapshot.name, n_layers)


def download(name: str, file: str, *, revision: str | None) -> Path:
    """A file of a repository on the hub.

    name (str): The repository.
    file (str): The file's name in it.
    revision (str | None): Branch, tag or commit.
    RETURNS (Path): The file in the local cache, where it may have been before. Raises the errors of
        hf_hub_download.
    """
    return Path(hf_hub_download(name, file, revision=revision, cache_dir=hub_cache()))


def _find_snapshot(name: str, revision: str | None) -> Path:
    """RETURNS (Path): .../snapshots/<commit>, with the config in it."""
    at = f"{name!r}" if revision is None else f"{name!r} at revision {revision!r}"
    try:
        return download(name, CONFIG, revision=revision).parent
    except HFValidationError as error:
        raise ValueError(
            f"{name!r} is neither a folder here nor a valid name on the Hugging Face hub: {error}"
        ) from error
    except GatedRepoError as error:
        raise OSError(
            f"The decoder {at} is gated: accept its licence on its page at the Hugging Face hub, "
            "then log in with `hf auth login` or set HF_TOKEN to a token with access."
        ) from error
    except RevisionNotFoundError as error:
        raise ValueError(
            f"The decoder {name!r} has no revision {revision!r}: expected a branch, tag or commit "
            "of its repository on the Hugging Face hub."
        ) from error
    except RepositoryNotFoundError as error:
        raise ValueError(
            f"There is no decoder {name!r}: neither a folder here (looked in {Path.cwd()}) nor a "
            "repository on the Hugging Face hub that this account may see. Check the name; for a "
            "private repository set HF_TOKEN."
        ) from error
    except LocalEntryNotFoundError as error:
        raise OSError(
            f"The decoder {at} is not in the local cache and the Hugging Face hub cannot be "
            "reached (no network, or HF_HUB_OFFLINE is set). Connect once to fill the cache, set "
            "HF_HOME to a cache that has it, or give the decoder's folder."
        ) from error
    except EntryNotFoundError as error:
        raise ValueError(
            f"The repository {at} has no config.json: it holds no decoder for transformers."
        ) from error
    except HfHubHTTPError as error:
        raise OSError(f"The Hugging Face hub refused the decoder {at}: {error}") from error


def read_config(source: Source) -> PretrainedConfig:
    """The decoder's config; no weight is read.

    source (Source): From find_source.
    RETURNS (PretrainedConfig): Of the layers that are used. Raises ValueError when it is not that
        of a decoder-only model, and as make_config and cut_config do.
    """
    config = make_config(source.folder / CONFIG)
    architectures = config.architectures or []
    is_encoder = any("MaskedLM" in name or "PreTraining" in name for name in architectures)
    if config.is_encoder_decoder or is_encoder or config.model_type in _ENCODER_FAMILIES:
        raise ValueError(
            f"{source.name!r} ({config.model_type}) is not a decoder-only language model, so "
            "it has no causal mask to remove. Name a decoder such as 'mistralai/Mistral-7B-v0.3'; "
            "for encoders use the factory 'transformer' of spacy-transformers."
        )
    return cut_config(config, source.n_layers, where=source.name)


def check_prequantized(source: Source, config: PretrainedConfig, quantization: str) -> None:
    """Refuse weights that were saved with another quantization than the settings ask for.

    source (Source): From find_source.
    config (PretrainedConfig): From read_config.
    quantization (str): As in DecoderSettings.
    """
    stored = read_quantization(config)
    if not stored:
        return
    kinds = {
        "nf4": stored.get("load_in_4bit") and stored.get("bnb_4bit_quant_type") == "nf4",
        "int8": stored.get("load_in_8bit"),
    }
    if stored.get("quant_method") != "bitsandbytes" or not kinds.get(quantization):
        raise ValueError(
            f"The weights of {source.name!r} are already quantized "
            f"({stored.get('quant_method')}), which does not go with quantization = "
            f"{quantization!r}. Name the unquantized decoder, or set the quantization "
            "it was saved with (bitsandbytes only)."
        )


def read_quantization(config: PretrainedConfig) -> dict[str, Any]:
    """RETURNS (dict[str, Any]): How a decoder's weights were quantized before they were saved;
    empty if they were not."""
    stored = getattr(config, "quantization_config", None) or {}
    return stored if isinstance(stored, dict) else stored.to_dict()


def load_tokenizer(
    source: Source, tokenizer_config: dict[str, Any], *, as_saved: bool = False
) -> PreTrainedTokenizerFast:
    """The decoder's fast tokenizer.

    source (Source): From find_source.
    tokenizer_config (dict): Passed to AutoTokenizer.
    as_saved (bool): Whether tokenizer.json alone says how text is split, as in a save. Otherwise
        the class that tokenizer_config.json names may change it, and transformers 5 builds some
        normalizers and splitting rules of such classes anew.
    RETURNS (PreTrainedTokenizerFast): Raises ValueError when there is no fast tokenizer.
    """
    if source.is_local:
        _check_tokenizer_settings(source.folder)
    kind: Any = PreTrainedTokenizerFast if as_saved else AutoTokenizer
    try:
        with without_class_warning():
            tokenizer = kind.from_pretrained(
                source.location, revision=source.commit, trust_remote_code=False, **tokenizer_config
            )
    except Exception as error:
        # The tokenizers library raises Exception itself. Where protobuf is missing, transformers
        # then raises an ImportError that asks for it, whatever was wrong.
        cause = error.__context__ if isinstance(error, ImportError) else error
        if isinstance(error, OSError) or cause is None:
            raise
        raise ValueError(
            f"The tokenizer of {source.name!r} cannot be read: {str(cause)[:200]}. If it has a "
            f"tokenizer.json, copy or download that and {_TOKENIZER_SETTINGS[0]} again; otherwise "
            "save it as a fast tokenizer, with "
            "`AutoTokenizer.from_pretrained(...).save_pretrained(...)`."
        ) from error
    if not source.is_local:  # only now are its files in the cache
        _check_tokenizer_settings(source.folder)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ValueError(
            f"The tokenizer of {source.name!r} is {type(tokenizer).__name__}, a slow tokenizer "
            "without character offsets, which alignment with spaCy's tokens needs. Use a decoder "
            "with a tokenizer.json, and leave `use_fast` out of tokenizer_config."
        )
    # Both may be saved in a tokenizer.json; nothing is to be cut off, and packing needs no padding.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    set_prefix_space(tokenizer, tokenizer_config)
    return tokenizer


def _check_tokenizer_settings(folder: Path) -> None:
    """Raise ValueError for a damaged file, and for one that names other files, from which
    transformers would read the tokenizer, wherever they are."""
    for name in _TOKENIZER_SETTINGS:
        if (folder / name).is_file():
            values = read_json(folder / name)
            for key in _TOKENIZER_FILES:
                if values.get(key) not in (None, []):
                    raise ValueError(
                        f"{str(folder / name)!r}: {key} is {shorten(values[key])}, but a tokenizer "
                        "is only read from the tokenizer.json beside it. Put the right one there, "
                        "and remove the key."
                    )
