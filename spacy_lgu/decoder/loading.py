"""The base decoder: found, checked before a weight is read, loaded, quantized and shared."""

import copy
import hashlib
import logging
import os
import re
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError
from transformers import (
    MODEL_MAPPING,
    AutoModel,
    AutoTokenizer,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
)
from transformers.utils import hub as transformers_hub

from ..inputs import shorten
from ..replacing import finished_folder
from .attention import ATTENTION, register_attention
from .checkpoint import decoder_shapes, match_weights, read_headers, staged
from .config import MODEL_ERRORS, make_config
from .locking import LOADING
from .reading import damaged, find_inside, read_json, take

TORCH_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
CONFIG = "config.json"
_INDEX, _WEIGHTS = "model.safetensors.index.json", "model.safetensors"
_ADAPTER = "adapter_config.json"
_TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
# Keys of tokenizer_config.json that lead to other files, or to the network.
_TOKENIZER_FILES = ("tokenizer_file", "fast_tokenizer_files")


@dataclass(frozen=True)
class Source:
    """Where a base decoder comes from, after its name was resolved.

    name (str): Hub name, or the folder as the user gave it.
    folder (Path | None): The folder, for a local decoder.
    commit (str | None): The commit the revision stands for, for a decoder from the hub.
    """

    name: str
    folder: Path | None
    commit: str | None

    @property
    def location(self) -> str:
        """What transformers' from_pretrained takes."""
        return self.name if self.folder is None else str(self.folder)


def find_source(name: str, revision: str | None = None) -> Source:
    """Resolve a name to a folder, or to a commit on the hub (or in its local cache).

    name (str): Hub name or folder.
    revision (str | None): Branch, tag or commit; hub only.
    RETURNS (Source): Raises ValueError or OSError saying what was tried and what to do, for a
        missing folder or repository, a missing revision, a gated repository without access,
        and a name that is not cached while the network is off.
    """
    folder = finished_folder(Path(name).expanduser())
    if folder.is_dir():
        if revision is not None:
            raise ValueError(
                f"revision = {revision!r} was given for the folder {name!r}, which has no "
                "revisions. Set revision = null, or name a repository on the Hugging Face hub."
            )
        if not (folder / CONFIG).is_file():
            if (folder / _ADAPTER).is_file():
                raise ValueError(
                    f"The folder {name!r} holds an adapter, not a decoder. Name the decoder that "
                    "it was trained on, and set lora.path to this folder."
                )
            raise ValueError(
                f"The folder {name!r} has no config.json: expected a decoder as transformers' "
                "save_pretrained writes it."
            )
        return Source(name, folder.resolve(), None)
    is_path = folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1
    if is_path or (os.sep != "/" and os.sep in name):
        raise ValueError(
            f"There is no folder {name!r} (looked in {Path.cwd()}). Give the folder of a decoder, "
            "or its name on the Hugging Face hub, such as 'mistralai/Mistral-7B-v0.3'."
        )
    return Source(name, None, _find_commit(name, revision))


def _find_commit(name: str, revision: str | None) -> str:
    at = f"{name!r}" if revision is None else f"{name!r} at revision {revision!r}"
    try:
        path = hf_hub_download(
            name, "config.json", revision=revision, cache_dir=transformers_hub.TRANSFORMERS_CACHE
        )
    except HFValidationError as error:
        raise ValueError(
            f"{name!r} is neither a folder here nor a valid name on the Hugging Face hub: {error}"
        ) from error
    except GatedRepoError as error:
        raise OSError(
            f"The decoder {at} is gated: accept its licence on its page at the Hugging Face hub, "
            "then log in with `huggingface-cli login` or set HF_TOKEN to a token with access."
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
    # .../snapshots/<commit>/config.json
    return Path(path).parent.name


def read_config(source: Source) -> PretrainedConfig:
    """The decoder's config; no weight is read.

    source (Source): From find_source.
    RETURNS (PretrainedConfig): Raises ValueError when it is no decoder-only model, and as
        make_config.
    """
    config = make_config(local_folder(source) / CONFIG)
    architectures = config.architectures or []
    is_encoder = any("MaskedLM" in name or "PreTraining" in name for name in architectures)
    if config.is_encoder_decoder or is_encoder or config.model_type in _ENCODER_FAMILIES:
        raise ValueError(
            f"{source.name!r} ({config.model_type}) is not a decoder-only language model, so that "
            "it has no causal mask to remove. Name a decoder such as 'mistralai/Mistral-7B-v0.3'; "
            "for encoders use the factory 'transformer' of spacy-transformers."
        )
    return config


_ENCODER_FAMILIES = ("bert", "roberta", "xlm-roberta", "distilbert", "electra", "deberta-v2")


def load_tokenizer(source: Source, tokenizer_config: dict[str, Any]) -> PreTrainedTokenizerFast:
    """The decoder's fast tokenizer.

    source (Source): From find_source.
    tokenizer_config (dict): Passed to AutoTokenizer.
    RETURNS (PreTrainedTokenizerFast): Raises ValueError when there is no fast tokenizer.
    """
    if source.folder is not None:
        _check_tokenizer_settings(source.folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
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
            f"tokenizer.json, copy or download that and {_TOKENIZER_SETTINGS[0]} again; else save "
            "it as a fast tokenizer, with "
            "`AutoTokenizer.from_pretrained(...).save_pretrained(...)`."
        ) from error
    if source.folder is None:
        _check_tokenizer_settings(local_folder(source))
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(
            f"The tokenizer of {source.name!r} is {type(tokenizer).__name__}, a slow tokenizer "
            "without character offsets, which alignment with spaCy's tokens needs. Use a decoder "
            "with a tokenizer.json, and leave `use_fast` out of tokenizer_config."
        )
    # Both may be saved in a tokenizer.json; nothing is to be cut off, and packing needs no padding.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def _check_tokenizer_settings(folder: Path) -> None:
    """Raise ValueError for a damaged file, and where one names files, whose tokenizer transformers
    would take from wherever they are."""
    for name in _TOKENIZER_SETTINGS:
        if (folder / name).is_file():
            values = read_json(folder / name)
            for key in _TOKENIZER_FILES:
                if values.get(key) not in (None, []):
                    raise ValueError(
                        f"{str(folder / name)!r}: {key} is {shorten(values[key])}, but a tokenizer "
                        "is read from the tokenizer.json beside it alone. Put the right one there, "
                        "and take the key out."
                    )


def resolve_dtype(dtype: str, device: torch.device) -> str:
    """ "auto" as bfloat16 where the device computes it fast, else float32.

    dtype (str): As in DecoderSettings.
    device (torch.device): Where the decoder runs.
    RETURNS (str): "float32", "bfloat16" or "float16".
    """
    if dtype != "auto":
        return dtype
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if fast else "float32"


class SharedBase:
    """A loaded, frozen base decoder whose tensors several pipelines may use.

    module (Module): The decoder as loaded; never changed. Use fork() to work with it.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module.eval().requires_grad_(False)

    def fork(self) -> torch.nn.Module:
        """A module tree of its own over the same tensors.

        PEFT keeps adapters as state of the modules, so pipelines cannot share those.
        """
        return copy.deepcopy(self.module, memo=shared_tensors(self.module))


def shared_tensors(module: torch.nn.Module) -> dict[int, Any]:
    """A deepcopy memo under which copies of a module keep its frozen tensors.

    module (Module): Any module; bitsandbytes' quantization state counts as frozen.
    RETURNS (dict): id(object) -> object for every object that copies shall share.
    """
    shared: list[Any] = list(module.buffers())
    for parameter in module.parameters():
        if not parameter.requires_grad:
            shared += [parameter, *(getattr(parameter, n, None) for n in ("CB", "SCB"))]
            shared.append(getattr(parameter, "quant_state", None))
    for child in module.modules():
        state = getattr(child, "state", None)
        shared += [getattr(child, "quant_state", None)]
        shared += [getattr(state, name, None) for name in ("CB", "SCB")]
    return {id(value): value for value in shared if value is not None}


_shared_bases: "weakref.WeakValueDictionary[tuple[str, ...], SharedBase]" = (
    weakref.WeakValueDictionary()
)


def load_shared_base(
    source: Source, *, identity: str, dtype: str, quantization: str, device: torch.device
) -> SharedBase:
    """Load a frozen base decoder, or find it among those this process has in memory.

    source (Source): Where the weights are.
    identity (str): The commit or hash that makes two bases the same.
    dtype (str): "float32", "bfloat16" or "float16".
    quantization (str): "none", "nf4" or "int8".
    device (torch.device): Where the tensors go.
    RETURNS (SharedBase): Kept in memory as long as any pipeline uses it.
    """
    key = (identity, dtype, quantization, str(device))
    with LOADING:
        base = _shared_bases.get(key)
        if base is None:
            base = SharedBase(
                load_decoder(source, dtype=dtype, quantization=quantization, device=device)
            )
            _shared_bases[key] = base
        return base


def load_decoder(
    source: Source, *, dtype: str, quantization: str, device: torch.device
) -> torch.nn.Module:
    """Load a base decoder without LM head, with packed attention. Every weight is the file's.

    source (Source): Where the weights are; those on the hub are downloaded.
    dtype (str): "float32", "bfloat16" or "float16".
    quantization (str): "none", "nf4" (double quantization) or "int8". Weights that were saved
        quantized stay as they are.
    device (torch.device): Where the tensors go.
    RETURNS (Module): The decoder, in evaluation mode. Raises ValueError for damaged files and, as
        match_weights, for weights that are not those of the decoder.
    """
    register_attention()
    files = fetch_weights(source)
    with LOADING:
        config = make_config(files[0].with_name(CONFIG))
        options: dict[str, Any] = {}
        if quantization != "none":
            # bitsandbytes quantizes while it loads, straight onto the device.
            options["device_map"] = {"": device}
            if getattr(config, "quantization_config", None) is None:
                options["quantization_config"] = quantization_config(quantization, dtype)
        expected = weight_shapes(source, config)
        prefix = match_weights(read_headers(files), expected, where=source.name)
        known: Any = MODEL_MAPPING[type(config)]
        if prefix not in ("", f"{known.base_model_prefix}."):
            options["key_mapping"] = {f"^{re.escape(prefix)}": ""}
        try:
            is_sharded = files[0].name != _WEIGHTS
            with staged([*files, files[0].with_name(_INDEX)] if is_sharded else files) as folder:
                decoder, info = AutoModel.from_pretrained(
                    folder,
                    config=config,
                    use_safetensors=True,
                    trust_remote_code=False,
                    torch_dtype=TORCH_DTYPES[dtype],
                    attn_implementation=ATTENTION,
                    output_loading_info=True,
                    **options,
                )
        except SafetensorError as error:
            raise ValueError(
                f"The weights of {source.name!r} are damaged: {error}. Delete them from the cache "
                "(`huggingface-cli delete-cache`) and download them again."
            ) from error
        if lost := sorted({*info["missing_keys"], *map(str, info["mismatched_keys"])}):
            raise ValueError(
                f"transformers did not load {len(lost)} weights of {source.name!r}, which it would "
                f"draw at random: {', '.join(lost[:3])}. Its files hold them: please report this "
                "decoder and the version of transformers."
            )
        decoder.config._name_or_path = source.name  # instead of the staged folder
        if quantization == "none":
            decoder.to(device)
    prepare_quantized_layers(decoder, TORCH_DTYPES[dtype])
    return decoder.eval()


def quantization_config(quantization: str, dtype: str) -> BitsAndBytesConfig:
    """How transformers quantizes weights while it loads them.

    quantization (str): "nf4", with double quantization, or "int8".
    dtype (str): Name of the dtype to compute in.
    """
    skip = ["lm_head"]  # Absent here; naming it keeps transformers from skipping a last layer.
    if quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skip)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=TORCH_DTYPES[dtype],
        llm_int8_skip_modules=skip,
    )


def prepare_quantized_layers(decoder: torch.nn.Module, dtype: torch.dtype) -> None:
    """Take from bitsandbytes' layers what they would otherwise change at their first call."""
    import bitsandbytes

    has_int8 = False
    for module in decoder.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            # On AVX512-bf16 CPUs the first evaluation would repack the weights in place: not
            # undone for training (no gradient below the layer) and not safe under threads.
            module.support_avx512bf16_for_cpu = False
            module.compute_dtype = dtype
            module.compute_type_is_set = True
        elif isinstance(module, bitsandbytes.nn.Linear8bitLt):
            has_int8 = True
            weight: Any = module.weight
            if weight.CB is not None:
                module.init_8bit_state()
    if has_int8:
        # Each layer warns at each call that it casts its input to float16. That cast is how
        # LLM.int8() is defined, nothing a user can or should change.
        logging.getLogger("bitsandbytes.autograd._functions").addFilter(_drop_cast_warning)


def _drop_cast_warning(record: logging.LogRecord) -> bool:
    return "inputs will be cast from" not in record.getMessage()


def _drop_kernel_warning(record: logging.LogRecord) -> bool:
    return "pip install kernels" not in record.getMessage()


# When it is imported, bitsandbytes asks for a kernel that it would download from the hub. The
# compiled one that it ships is used instead.
logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(_drop_kernel_warning)


def check_weights(source: Source, config: PretrainedConfig) -> None:
    """Find missing, damaged or other weights, before anything is loaded or downloaded.

    source (Source): From find_source.
    config (PretrainedConfig): From read_config.
    RETURNS (None): Raises ValueError for a decoder without safetensors weights, for damaged files
        and, as match_weights, for weights that are not those of the decoder; OSError when the
        network is off and weights are missing from the local cache.
    """
    snapshot = local_folder(source)
    if (snapshot / _ADAPTER).is_file():
        raise ValueError(
            f"Beside the weights of {source.name!r} lies an {_ADAPTER}, with which transformers "
            "would load another decoder, or these weights changed by the adapter. Keep the two in "
            "folders of their own, and set lora.path to that of the adapter."
        )
    if source.folder is None and not any((snapshot / n).is_file() for n in (_INDEX, _WEIGHTS)):
        if constants.HF_HUB_OFFLINE:
            raise OSError(
                f"The local cache holds no safetensors weights of the decoder {source.name!r} at "
                f"commit {source.commit}, and HF_HUB_OFFLINE is set. Connect once to download "
                "them, or name a decoder with safetensors weights."
            )
        _find_on_hub(source)
        return
    if source.folder is not None:
        weight_files(source.folder)  # raises for a missing one
    files = _named_files(snapshot)
    missing = [file.name for file in files if not file.is_file()]
    if missing and constants.HF_HUB_OFFLINE:
        raise OSError(
            f"Of the decoder {source.name!r}, {', '.join(missing)} cannot be found in the local "
            "cache, and HF_HUB_OFFLINE is set. Connect once to download the rest."
        )
    tensors = read_headers(file for file in files if file.name not in missing)
    if not missing:
        match_weights(tensors, weight_shapes(source, config), where=source.name)


def weight_shapes(source: Source, config: PretrainedConfig) -> dict[str, tuple[int, ...]]:
    """As decoder_shapes. Raises ValueError that names config.json when it describes no decoder."""
    try:
        return decoder_shapes(config)
    except MODEL_ERRORS as error:
        raise damaged(
            local_folder(source) / CONFIG,
            f"transformers makes no decoder of it ({type(error).__name__}: {str(error)[:200]})",
        ) from error


def fetch_weights(source: Source) -> list[Path]:
    """The files that make up a decoder's weights, downloaded where they are on the hub only.

    source (Source): From find_source.
    RETURNS (list[Path]): As weight_files.
    """
    if source.folder is not None:
        return weight_files(source.folder)
    snapshot = local_folder(source)
    if not any((snapshot / name).is_file() for name in (_INDEX, _WEIGHTS)):
        _download(source, _find_on_hub(source))
    for file in _named_files(snapshot):
        _download(source, file.name)
    return weight_files(snapshot)


def _find_on_hub(source: Source) -> str:
    """RETURNS (str): The file that holds the weights or names their files."""
    names = HfApi().list_repo_files(source.name, revision=source.commit)
    for name in (_WEIGHTS, _INDEX):  # in transformers' order
        if name in names:
            return name
    raise ValueError(
        f"The repository {source.name!r} has no safetensors weights, only other formats, which "
        "may run code when they are read. Name another decoder, or convert it: "
        "`save_pretrained(..., safe_serialization=True)`."
    )


def _download(source: Source, name: str) -> Path:
    """RETURNS (Path): The file in the local cache, where it may have been before."""
    cache = transformers_hub.TRANSFORMERS_CACHE
    return Path(hf_hub_download(source.name, name, revision=source.commit, cache_dir=cache))


def local_folder(source: Source) -> Path:
    """The folder on this machine that holds a decoder's files, as far as they were downloaded.

    source (Source): From find_source, which has put at least the config into the cache.
    RETURNS (Path): The user's folder, or the commit's snapshot in the local cache.
    """
    return _download(source, CONFIG).parent if source.folder is None else source.folder


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that make up the weights in a folder.

    folder (Path): A folder as save_pretrained writes it.
    RETURNS (list[Path]): Sorted. Raises ValueError when there are none, one that the index names
        is missing, or the index is damaged or names files elsewhere.
    """
    files = _named_files(folder)
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise ValueError(
            f"The weights in {str(folder)!r} are incomplete: {', '.join(missing)} missing. "
            "Expected safetensors files as save_pretrained writes them; convert older .bin files "
            "with `save_pretrained(..., safe_serialization=True)`."
        )
    return files


def _named_files(folder: Path) -> list[Path]:
    # In transformers' order: an index may be left over from an earlier save.
    index = folder / _INDEX
    if (folder / _WEIGHTS).is_file() or not index.is_file():
        return [folder / _WEIGHTS]
    weight_map = take(read_json(index), "weight_map", (dict,), index)
    names = {take(weight_map, weight, (str,), index) for weight in weight_map}
    return sorted(find_inside(folder, name, named_in=index) for name in names)


def fingerprint(file: Path, *, full: bool) -> dict[str, Any]:
    """Size and header of a safetensors file, and on demand a hash of all of it.

    file (Path): A safetensors file.
    full (bool): Whether to read and hash the whole file.
    RETURNS (dict): "bytes", "header_sha256" and, if full, "sha256".
    """
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = stream.read(min(length, 100_000_000))
        result: dict[str, Any] = {
            "bytes": file.stat().st_size,
            "header_sha256": hashlib.sha256(header).hexdigest(),
        }
        if full:
            stream.seek(0)
            result["sha256"] = hashlib.file_digest(stream, "sha256").hexdigest()
    return result


def fingerprint_weights(folder: Path, *, full: bool) -> dict[str, dict[str, Any]]:
    """The fingerprint of every weights file in a folder, by file name."""
    return {file.name: fingerprint(file, full=full) for file in weight_files(folder)}


def fingerprint_folder(folder: Path, *, full: bool) -> dict[str, dict[str, Any]]:
    """The fingerprints of a decoder's weights and of its config, without which they are others."""
    if not (folder / CONFIG).is_file():
        raise ValueError(
            f"The decoder in {str(folder)!r} is incomplete: {CONFIG} is missing. Copy it again "
            "from where it was saved."
        )
    config = (folder / CONFIG).read_bytes()
    digest = hashlib.sha256(config).hexdigest()
    return {
        CONFIG: {"bytes": len(config), "config_sha256": digest},
        **fingerprint_weights(folder, full=full),
    }
