"""LoRA adapters: put on a base decoder, saved and loaded in PEFT's own folder format."""

import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch
from transformers import PretrainedConfig

from .adapter_config import AdapterConfig, BaseReference, read_adapter_config
from .adapter_layers import check_applied, put_on
from .adapter_origin import compare_base
from .adapter_parameters import brief_names, expert_parameters, find_lora_parameters
from .adapter_weights import (
    MAGNITUDE,
    A,
    B,
    find_adapted,
    linear_layers,
    name_adapted,
    open_weights,
    read_shapes,
    read_weight,
)
from .checkpoint import build_skeleton
from .settings import LoraSettings

if TYPE_CHECKING:
    # PEFT takes three seconds to import, which every import of a component would pay.
    import peft

logger = logging.getLogger("spacy_lgu")

# The projections that the paper adapts (query and value), under the first names that a decoder has;
# "attention" means these.
_QUERY_VALUE = (
    ("q_proj", "v_proj"),
    ("qkv_proj",),
    ("query_key_value",),
    # Multi-head latent attention, where the query may have a narrow middle and the value does.
    ("q_b_proj", "kv_b_proj"),
    ("q_proj", "kv_b_proj"),
)

ValueT = TypeVar("ValueT")


class LoraTargets(NamedTuple):
    """What LoRA is put on, by names for PEFT.

    modules (Sequence[str]): Of linear modules.
    parameters (Sequence[str]): Of weights with one matrix per expert.
    """

    modules: Sequence[str] = ()
    parameters: Sequence[str] = ()


def linear_modules(config: PretrainedConfig) -> list[str]:
    """Names of the linear modules in the decoder's layers, from its config alone.

    config (PretrainedConfig): The decoder's config.
    RETURNS (list[str]): Last parts of the names, such as "q_proj", sorted and unique.
    """
    return sorted({_last(name) for name in linear_layers(build_skeleton(config))})


def find_lora_modules(lora: LoraSettings, config: PretrainedConfig) -> list[str]:
    """The names of the modules that LoRA is put on, checked against the decoder's config.

    lora (LoraSettings): The settings.
    config (PretrainedConfig): The decoder's config.
    RETURNS (list[str]): Names for PEFT's target_modules. Raises ValueError that lists the
        decoder's linear modules when a name is not among them.
    """
    available = linear_modules(config)
    if lora.modules == "all-linear":
        return available
    if lora.modules == "attention":
        fitting = (names for names in _QUERY_VALUE if set(names) <= set(available))
        wanted = list(next(fitting, _QUERY_VALUE[0]))
    else:
        wanted = list(lora.modules)
    unknown = [name for name in wanted if name not in available]
    if unknown:
        raise ValueError(
            f"LoRA modules {unknown} do not exist in decoders of the family "
            f"{config.model_type!r}. Its linear modules: {', '.join(available)}."
        )
    return wanted


def find_targets(lora: LoraSettings, config: PretrainedConfig) -> LoraTargets:
    """What LoRA is put on, checked against the decoder's config.

    lora (LoraSettings): The settings.
    config (PretrainedConfig): The decoder's config.
    RETURNS (LoraTargets): Raises ValueError as find_lora_modules and find_lora_parameters do.
    """
    targets = LoraTargets(find_lora_modules(lora, config), find_lora_parameters(lora, config))
    if lora.modules == "all-linear" and not lora.parameters:
        experts = list(expert_parameters(build_skeleton(config)))
        if experts:
            logger.warning(
                "The weights of the experts are no linear modules of this decoder, and stay as "
                "they are under lora.modules = 'all-linear'. To adapt them: lora.parameters = %s, "
                "lora.dropout = 0.0.",
                json.dumps(brief_names(experts, experts)),
            )
    return targets


def add_adapter(
    module: torch.nn.Module, lora: LoraSettings, *, targets: LoraTargets, base: BaseReference
) -> "peft.PeftModel":
    """Put a new, trainable LoRA adapter on a frozen decoder.

    module (Module): The decoder; its layers are changed in place.
    lora (LoraSettings): Variant, rank, alpha, dropout.
    targets (LoraTargets): From find_targets.
    base (BaseReference): Recorded in the adapter's config.
    RETURNS (PeftModel): The decoder with the adapter, whose weights are float32, and which changes
        nothing yet. Raises ValueError for parameters that are quantized, RuntimeError when PEFT
        adapts anything else.
    """
    adapter = AdapterConfig(
        file=Path(),
        base=base,
        rank=lora.rank,
        alpha=lora.alpha,
        dropout=lora.dropout,
        modules=tuple(targets.modules),
        rslora=lora.variant == "rslora",
        dora=lora.variant == "dora",
        parameters=tuple(targets.parameters),
    )
    adapted = name_adapted(adapter, module)
    for name in adapter.parameters:
        if not any(f".{found}".endswith(f".{name}") for found in expert_parameters(module)):
            raise ValueError(
                f"LoRA parameters {name!r} are quantized in this decoder, and PEFT adds updates "
                "only to plain weights. Use quantization = 'none', or parameters = []."
            )
    model = put_on(
        module,
        base,
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(targets.modules),
        use_rslora=adapter.rslora,
        use_dora=adapter.dora,
        parameters=targets.parameters,
    )
    layers = check_applied(module, adapter, adapted, "as the settings say")
    if adapter.dora:
        from .adapter_dora import reset_magnitudes

        for layer in layers.values():
            reset_magnitudes(layer)
    return model


def save_adapter(model: "peft.PeftModel", folder: Path) -> None:
    """Write adapter_config.json and adapter_model.safetensors.

    model (PeftModel): From add_adapter or load_adapter.
    folder (Path): A folder of its own.
    """
    # Without save_embedding_layers=False, PEFT asks the hub for the base's vocabulary size.
    model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's model card, all placeholders


def check_adapter(
    folder: Path, *, base: BaseReference | None = None, decoder: PretrainedConfig | None = None
) -> AdapterConfig:
    """Read an adapter's config, and find damaged weights or a foreign base before loading.

    folder (Path): A folder in PEFT's format.
    base (BaseReference | None): The base it is meant for. None: not compared.
    decoder (PretrainedConfig | None): The config of that base. None: not compared.
    RETURNS (AdapterConfig): The adapter's config. Raises ValueError saying what is wrong.
    """
    adapter = read_adapter_config(folder)
    with open_weights(adapter) as weights:
        shapes = read_shapes(adapter, weights)
    if base is not None:
        compare_base(adapter, base)
    if decoder is not None:
        find_adapted(adapter, shapes, build_skeleton(decoder))
    return adapter


def load_adapter(module: torch.nn.Module, folder: Path, *, trainable: bool) -> "peft.PeftModel":
    """Put a saved adapter on a decoder.

    module (Module): The decoder it was trained on, whether that had its LM head then or not; its
        layers are changed in place, its weights are not.
    folder (Path): A folder in PEFT's format.
    trainable (bool): Whether training continues it.
    RETURNS (PeftModel): The decoder with the adapter, whose weights are float32. Raises ValueError
        when the adapter's weights do not fit the decoder.
    """
    adapter = read_adapter_config(folder)
    with open_weights(adapter) as weights:
        adapted = find_adapted(adapter, read_shapes(adapter, weights), module)
        ranks = {name: adapter.rank_of(part.named) for name, part in adapted.items()}
        alphas = {name: adapter.alpha_of(part.named) for name, part in adapted.items()}
        # PEFT sees only names of this decoder, not those in the file.
        modules = dict.fromkeys((n for n, part in adapted.items() if not part.is_parameter), True)
        parameters = [name for name, part in adapted.items() if part.is_parameter]
        model = put_on(
            module,
            adapter.base,
            r=adapter.rank,
            lora_alpha=adapter.alpha,
            lora_dropout=adapter.dropout,
            target_modules=list(_by_last_part(modules, linear_layers(module))),
            rank_pattern=_differing(ranks, adapter.rank),
            alpha_pattern=_differing(alphas, adapter.alpha),
            use_rslora=adapter.rslora,
            use_dora=adapter.dora,
            inference_mode=not trainable,
            parameters=brief_names(parameters, list(expert_parameters(module))),
        )
        layers = check_applied(module, adapter, adapted, f"in {str(folder)!r} as its config says")
        parts = {A: "lora_A", B: "lora_B"} | ({MAGNITUDE: MAGNITUDE} if adapter.dora else {})
        for name, part in adapted.items():
            for key, attribute in parts.items():
                values = read_weight(adapter, weights, part.saved, key)
                getattr(layers[name], attribute)["default"].weight.data.copy_(values)
    return model


def _last(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def _by_last_part(values: Mapping[str, ValueT], names: Iterable[str]) -> dict[str, ValueT]:
    """The same values by the last part of the name, or by all of it where names with one last part
    have different values."""
    found = defaultdict(set)
    for name in names:
        found[_last(name)].add(values.get(name))
    return {
        _last(name) if len(found[_last(name)]) == 1 else name: value
        for name, value in values.items()
    }


def _differing(values: dict[str, ValueT], default: ValueT) -> dict[str, ValueT]:
    """Values other than the default, by names of which no two fit one module: PEFT sorts them when
    it saves, and then takes the first that fits."""
    return {n: value for n, value in _by_last_part(values, values).items() if value != default}
