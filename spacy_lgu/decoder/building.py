"""From settings to a decoder ready for training: all checks first, then the weights."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedTokenizerFast

from ..unmasking import describe_layers, unmask_layers
from .adapter import add_adapter, check_adapter, find_lora_modules, load_adapter
from .adapter_config import AdapterConfig, BaseReference
from .decoder import LGUDecoder
from .families import check_family
from .loading import (
    SharedBase,
    Source,
    check_weights,
    find_source,
    fingerprint_folder,
    load_decoder,
    load_shared_base,
    load_tokenizer,
    read_config,
    resolve_dtype,
    weight_shapes,
)
from .locking import one_at_a_time
from .reading import find_inside, read_json, take
from .self_test import check_decoder
from .settings import DecoderSettings, LoraSettings

logger = logging.getLogger("spacy_lgu")

CheckT = Callable[[PretrainedConfig, PreTrainedTokenizerFast], None]


@dataclass(frozen=True)
class Bundle:
    """A base on disk.

    files (dict): Fingerprints of its files, by file name.
    states (dict): Size and time of change (ns) of every file, by file name. Where these differ,
        something else was saved in the same place since.
    """

    files: dict[str, dict[str, Any]]
    states: dict[str, tuple[int, int]]


@dataclass
class BuiltDecoder:
    """A decoder in memory, with all it takes to save it and to load it again.

    decoder (LGUDecoder): The decoder, perhaps with an adapter.
    tokenizer (PreTrainedTokenizerFast): Its tokenizer.
    settings (DecoderSettings): What the user asked for.
    source (Source): Where the base came from.
    files (dict | None): Fingerprints of a local base's files; None for one from the hub.
    shared (SharedBase | None): The frozen base; None when all weights are trained.
    written_base (Path | None): A folder that already holds the base as a bundle keeps it.
    bundle (Bundle | None): What was in that folder when it was written or read.
    subtokens (str): "split", or "shared" for a decoder that was trained when tokens could share
        a subtoken, and so a vector.
    """

    decoder: LGUDecoder
    tokenizer: PreTrainedTokenizerFast
    settings: DecoderSettings
    source: Source
    files: dict[str, dict[str, Any]] | None
    shared: SharedBase | None
    written_base: Path | None = None
    bundle: Bundle | None = None
    subtokens: str = "split"

    def describe(self) -> list[str]:
        """The layer map, parameters and memory, a line each, for the log."""
        decoder, settings = self.decoder, self.settings
        trainable = sum(p.numel() for _, p in decoder.trainable())
        total = sum(n_weights(p) for p in decoder.parameters())
        n_bytes = sum(_n_bytes(t) for t in [*decoder.parameters(), *decoder.buffers()])
        return [
            f"Decoder {self.source.name} ({settings.quantization}, {decoder.dtype}, "
            f"{settings.tuning}): {settings.unmasking} = {describe_layers(decoder.unmasked)}",
            f"{trainable:,} of {total:,} parameters are trained ({trainable / total:.2%}); "
            f"weights take {n_bytes / 2**20:,.1f} MiB on {decoder.device}",
            f"Subtokens over several tokens are {self.subtokens}",
        ]


@one_at_a_time
def check_settings(
    settings: DecoderSettings, tokenizer_config: dict[str, Any]
) -> tuple[Source, PretrainedConfig, PreTrainedTokenizerFast]:
    """Everything that can be wrong with a decoder, found without reading a weight.

    settings (DecoderSettings): The settings.
    tokenizer_config (dict): Passed to AutoTokenizer.
    RETURNS (tuple): The source, the decoder's config and its tokenizer.
    """
    if settings.dtype == "float16" and settings.tuning != "frozen":
        raise ValueError(
            "dtype = 'float16' cannot train: gradients would underflow. Use 'bfloat16', "
            "'float32' or 'auto'; a trained pipeline may be loaded with 'float16'."
        )
    source = find_source(settings.name, settings.revision)
    config = read_config(source)
    check_family(config)
    weight_shapes(source, config)
    _check_prequantized(config, settings)
    unmask_layers(settings.unmasking, config.num_hidden_layers)
    if settings.tuning == "lora":
        modules = find_lora_modules(settings.lora, config)
        if settings.lora.path is not None:
            folder = Path(settings.lora.path).expanduser()
            adapter = check_adapter(folder, base=_reference(source), decoder=config)
            compare_lora(folder, adapter, settings.lora, modules)
            _compare_pattern(folder, settings.unmasking)
    tokenizer = load_tokenizer(source, tokenizer_config)
    check_weights(source, config)
    return source, config, tokenizer


@one_at_a_time
def build_decoder(
    settings: DecoderSettings,
    tokenizer_config: dict[str, Any],
    *,
    device: torch.device,
    check: CheckT | None = None,
) -> BuiltDecoder:
    """Check the settings, then load, quantize and adapt the decoder.

    settings (DecoderSettings): The settings.
    tokenizer_config (dict): Passed to AutoTokenizer.
    device (torch.device): Where the weights go.
    check (Callable | None): The caller's own check of config and tokenizer, run before a weight
        is read.
    RETURNS (BuiltDecoder): The decoder, in evaluation mode.
    """
    source, config, tokenizer = check_settings(settings, tokenizer_config)
    if check is not None:
        check(config, tokenizer)
    dtype = resolve_dtype(settings.dtype, device)
    files = None if source.folder is None else fingerprint_folder(source.folder, full=True)
    unmasked = unmask_layers(settings.unmasking, config.num_hidden_layers)
    shared, adapter = None, None
    if settings.tuning == "full":
        base = load_decoder(source, dtype="float32", quantization="none", device=device)
        base.requires_grad_(True)
    else:
        shared = load_shared_base(
            source,
            identity=base_identity(source, files),
            dtype=dtype,
            quantization=settings.quantization,
            device=device,
        )
        base = shared.fork()
    if settings.tuning == "lora":
        if settings.lora.path is not None:
            folder = Path(settings.lora.path).expanduser()
            adapter = load_adapter(base, folder, trainable=True)
        else:
            modules = find_lora_modules(settings.lora, config)
            adapter = add_adapter(base, settings.lora, modules=modules, base=_reference(source))
    decoder = assemble(base, settings, unmasked=unmasked, dtype=dtype, adapter=adapter)
    return BuiltDecoder(decoder, tokenizer, settings, source, files, shared)


def assemble(
    base: torch.nn.Module,
    settings: DecoderSettings,
    *,
    unmasked: tuple[bool, ...],
    dtype: str,
    adapter: Any,
) -> LGUDecoder:
    """Put a loaded base, its directions and its adapter together, and see that they work.

    base (Module): The base decoder, with the adapter's layers in it.
    settings (DecoderSettings): The settings.
    unmasked (tuple[bool, ...]): One flag per decoder layer, input side first.
    dtype (str): Computing dtype.
    adapter (PeftModel | None): PEFT's view of the base, when it has an adapter.
    RETURNS (LGUDecoder): In evaluation mode. Raises ValueError as check_decoder.
    """
    if settings.gradient_checkpointing:
        enable_gradient_checkpointing(base)
    decoder = LGUDecoder(base, unmasked=unmasked, dtype=dtype, adapter=adapter).eval()
    if settings.self_test:
        check_decoder(decoder)
    return decoder


def base_identity(source: Source, files: dict[str, dict[str, Any]] | None) -> str:
    """What makes two bases the same: the hub's commit, or a hash over the local files, the config
    among them.

    source (Source): Where the base comes from.
    files (dict | None): Its fingerprints, when it is local.
    RETURNS (str): A key.
    """
    if files is None:
        return f"{source.name}@{source.commit}"
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode("utf8")).hexdigest()


def enable_gradient_checkpointing(base: torch.nn.Module) -> None:
    """Recompute each layer in the backward pass instead of keeping its activations."""
    base.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]


def compare_lora(
    folder: Path, adapter: AdapterConfig, lora: LoraSettings, modules: Iterable[str]
) -> None:
    """Say so when the settings of an adapter, which are kept, are not those of the config."""
    wanted = AdapterConfig(
        file=adapter.file,
        base=adapter.base,
        rank=lora.rank,
        alpha=lora.alpha,
        dropout=lora.dropout,
        modules=adapter.modules if adapter.modules == (lora.modules,) else tuple(modules),
    )
    own, other = (
        {**vars(config), "modules": sorted(config.modules)} for config in (adapter, wanted)
    )
    differing = [name for name in own if own[name] != other[name]]
    if differing:
        logger.warning(
            "The adapter in %r keeps its own %s; the config's [lora] says %s.",
            str(folder),
            ", ".join(f"{name} = {own[name]}" for name in differing),
            ", ".join(f"{name} = {other[name]}" for name in differing),
        )


def _compare_pattern(folder: Path, unmasking: str) -> None:
    """Say so when an adapter was adapted under another pattern than it will be trained under."""
    record = find_inside(folder, "training.json", named_in=folder)
    adapted = read_json(record) if record.is_file() else {}
    pattern = take(adapted, "unmasking", (str, None), record)
    if pattern not in (None, unmasking):
        logger.warning(
            "The adapter in %r was adapted under the pattern %s, but will be trained under %s.",
            str(folder),
            pattern,
            unmasking,
        )


def _reference(source: Source) -> BaseReference:
    # A relative path would mean another folder in another working directory.
    return BaseReference(source.location, source.commit)


def _check_prequantized(config: PretrainedConfig, settings: DecoderSettings) -> None:
    stored = getattr(config, "quantization_config", None)
    if stored is None:
        return
    stored = stored if isinstance(stored, dict) else stored.to_dict()
    kinds = {
        "nf4": stored.get("load_in_4bit") and stored.get("bnb_4bit_quant_type") == "nf4",
        "int8": stored.get("load_in_8bit"),
    }
    if stored.get("quant_method") != "bitsandbytes" or not kinds.get(settings.quantization):
        raise ValueError(
            f"The weights of {settings.name!r} are already quantized "
            f"({stored.get('quant_method')}), which does not go with quantization = "
            f"{settings.quantization!r}. Name the unquantized decoder, or set the quantization "
            "it was saved with (bitsandbytes only)."
        )


def n_weights(parameter: torch.nn.Parameter) -> int:
    """Weights in a parameter; a quantized one holds several per element."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else state.shape.numel()


def _n_bytes(tensor: torch.Tensor) -> int:
    state = getattr(tensor, "quant_state", None)
    extra = 0 if state is None else state.absmax.numel() * state.absmax.element_size()
    return tensor.numel() * tensor.element_size() + extra
