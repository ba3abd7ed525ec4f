"""From settings to a decoder ready for training: all checks first, then the weights."""

import logging
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedTokenizerFast

from ..inputs import named_path
from ..unmasking import describe_layers, unmask_layers
from .adapter import LoraTargets, add_adapter, check_adapter, find_targets, load_adapter
from .adapter_config import BaseReference
from .adapter_origin import compare_lora, compare_pattern
from .bundle import Bundle
from .config import make_config
from .decoder import LGUDecoder
from .description import Base, describe_base
from .experts import describe_unquantized
from .families import check_family
from .loading import SharedBase, load_decoder, load_shared_base, resolve_dtype
from .local import measure_shape
from .locking import one_at_a_time
from .mixers import layer_kinds
from .products import use_onednn
from .refusals import FamilyError
from .saved_with import check_record
from .self_test import check_decoder
from .settings import DecoderSettings
from .source import (
    CONFIG,
    Source,
    check_prequantized,
    find_source,
    load_tokenizer,
    read_config,
)
from .stepping import check_dtype
from .versions import enable_checkpointing, find_contradiction
from .weights import check_weights, place_experts, weight_shapes

logger = logging.getLogger("spacy_lgu")


@dataclass(frozen=True, kw_only=True)
class CheckedDecoder:
    """A decoder that can be loaded: all that is known about it before a weight is read.

    settings (DecoderSettings): What the user asked for.
    source (Source): Where its weights are read.
    config (PretrainedConfig): Its config.
    tokenizer (PreTrainedTokenizerFast): Its tokenizer.
    unmasked (tuple[bool, ...]): One flag per decoder layer, input side first; False for those that
        have no mask to remove.
    prefix (str | None): What the names of its weights begin with. None: not checked yet.
    targets (LoraTargets): What a new adapter is put on.
    adapter (Path | None): Folder of a saved adapter, instead of a new one.
    """

    settings: DecoderSettings
    source: Source
    config: PretrainedConfig
    tokenizer: PreTrainedTokenizerFast
    unmasked: tuple[bool, ...]
    prefix: str | None = None
    targets: LoraTargets = field(default_factory=LoraTargets)
    adapter: Path | None = None

    def describe_layers(self) -> str:
        """RETURNS (str): The layer map in words."""
        return describe_layers(self.unmasked, layer_kinds(self.config))


@dataclass
class BuiltDecoder:
    """A decoder in memory, with all it takes to save it and to load it again.

    decoder (LGUDecoder): The decoder, perhaps with an adapter.
    tokenizer (PreTrainedTokenizerFast): Its tokenizer.
    settings (DecoderSettings): What the user asked for.
    base (Base): Which decoder it was before training.
    shared (SharedBase | None): The frozen base; None when all weights are trained.
    bundle (Bundle | None): Where the base was last written or read, as part of a save.
    subtokens (str): "split", or "shared" for a decoder that was trained when tokens could share
        a subtoken, and so a vector.
    """

    decoder: LGUDecoder
    tokenizer: PreTrainedTokenizerFast
    settings: DecoderSettings
    base: Base
    shared: SharedBase | None
    bundle: Bundle | None = None
    subtokens: str = "split"

    def describe(self) -> list[str]:
        """Lines for the log: layer map, parameters and memory, subtokens."""
        decoder, settings = self.decoder, self.settings
        trainable = sum(p.numel() for _, p in decoder.trainable())
        total = sum(n_weights(p) for p in decoder.parameters())
        n_bytes = sum(_n_bytes(t) for t in [*decoder.parameters(), *decoder.buffers()])
        layers = describe_layers(decoder.unmasked, layer_kinds(decoder.base.config))
        return [
            f"Decoder {self.base.name} ({settings.quantization}, {decoder.dtype}, "
            f"{settings.tuning}): {settings.unmasking} = {layers}",
            f"{trainable:,} of {total:,} parameters are trained ({trainable / total:.2%}); "
            f"weights take {n_bytes / 2**20:,.1f} MiB on {decoder.device}",
            f"Subtokens that span several tokens are {self.subtokens}",
        ]


@one_at_a_time
def check_settings(settings: DecoderSettings, tokenizer_config: dict[str, Any]) -> CheckedDecoder:
    """Find what is wrong with a decoder, as far as possible without reading a weight.

    settings (DecoderSettings): The settings.
    tokenizer_config (dict): Passed to AutoTokenizer.
    RETURNS (CheckedDecoder): For build_decoder. Raises ValueError or OSError that says what is
        wrong.
    """
    if settings.tuning != "frozen":
        check_dtype(settings.dtype)
    source = find_source(settings.name, settings.revision, n_layers=settings.n_layers)
    check_record(source.folder)
    config = read_config(source)
    try:
        check_family(config, whole=make_config(source.folder / CONFIG))
    except FamilyError as error:
        raise FamilyError(f"{settings.name!r}: {error}", reason=error.reason) from error
    if contradiction := find_contradiction(config):
        warnings.warn(f"{settings.name!r}: {contradiction}.", stacklevel=2)
    weight_shapes(source, config)
    check_prequantized(source, config, settings.quantization)
    config = place_experts(source, config, settings.quantization)
    if settings.quantization != "none":
        _warn_of_experts(config, settings.quantization)
    unmasked = unmask_layers(settings.unmasking, config.num_hidden_layers, layer_kinds(config))
    targets, adapter = LoraTargets(), None
    if settings.tuning == "lora":
        targets = find_targets(settings.lora, config)
        if settings.lora.path is not None:
            adapter = named_path(settings.lora.path)
            base = BaseReference(source.location, source.commit)
            compare_lora(check_adapter(adapter, base=base, decoder=config), settings.lora, *targets)
            compare_pattern(adapter, settings.unmasking)
    tokenizer = load_tokenizer(source, tokenizer_config)
    return CheckedDecoder(
        settings=settings,
        source=source,
        config=config,
        tokenizer=tokenizer,
        unmasked=unmasked,
        prefix=check_weights(source, config),
        targets=targets,
        adapter=adapter,
    )


@one_at_a_time
def build_decoder(checked: CheckedDecoder, *, device: torch.device) -> BuiltDecoder:
    """Load and quantize a decoder that was checked, and put an adapter on it.

    checked (CheckedDecoder): From check_settings.
    device (torch.device): Where the weights go.
    RETURNS (BuiltDecoder): The decoder, in evaluation mode.
    """
    base = describe_base(checked.source, remember=True)
    dtype = resolve_dtype(checked.settings.dtype, device)
    return assemble(checked, base, identity=base.identity, dtype=dtype, device=device)


def assemble(
    checked: CheckedDecoder,
    base: Base,
    *,
    identity: str,
    dtype: str,
    device: torch.device,
    bundle: Bundle | None = None,
    subtokens: str = "split",
    products: str = "exact",
) -> BuiltDecoder:
    """Load the weights, give them their directions and the adapter, and check that they work: the
    one way to a decoder, new or saved.

    checked (CheckedDecoder): The decoder.
    base (Base): Which decoder it was before training.
    identity (str): What makes two frozen bases the same.
    dtype (str): Computing dtype.
    device (torch.device): Where the weights go.
    bundle (Bundle | None): The base as part of a save, if it is read from one.
    subtokens (str): As in BuiltDecoder.
    products (str): "exact" or "int8".
    RETURNS (BuiltDecoder): In evaluation mode. Raises ValueError as check_decoder does.
    """
    settings = checked.settings
    where: dict[str, Any] = {"device": device, "prefix": checked.prefix}
    shared, adapter = None, None
    if settings.tuning == "full":
        module = load_decoder(
            checked.source, checked.config, dtype="float32", quantization="none", **where
        )
        module.requires_grad_(True)
    else:
        shared = load_shared_base(
            checked.source,
            checked.config,
            identity=identity,
            dtype=dtype,
            quantization=settings.quantization,
            products=products,
            **where,
        )
        module = shared.fork()
    if checked.adapter is not None:
        adapter = load_adapter(module, checked.adapter, trainable=True)
    elif settings.tuning == "lora":
        reference = BaseReference(base.name, base.commit)
        adapter = add_adapter(module, settings.lora, targets=checked.targets, base=reference)
    if adapter is not None:
        use_onednn(module)  # for its own matrices
    if settings.gradient_checkpointing:
        enable_checkpointing(module)
    decoder = LGUDecoder(
        module,
        unmasked=checked.unmasked,
        dtype=dtype,
        adapter=adapter,
        repeat=settings.repeat,
        read_previous=settings.read_previous,
    ).eval()
    if settings.self_test:
        check_decoder(decoder)
    return BuiltDecoder(decoder, checked.tokenizer, settings, base, shared, bundle, subtokens)


def _warn_of_experts(config: PretrainedConfig, quantization: str) -> None:
    shape = measure_shape(config)
    if left := describe_unquantized(shape.n_joined, shape.n_parameters, quantization):
        logger.warning("%s", left)


def n_weights(parameter: torch.nn.Parameter) -> int:
    """The number of weights in a parameter; a quantized one holds several per element."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else state.shape.numel()


def _n_bytes(tensor: torch.Tensor) -> int:
    state = getattr(tensor, "quant_state", None)
    extra = 0 if state is None else state.absmax.numel() * state.absmax.element_size()
    return tensor.numel() * tensor.element_size() + extra
