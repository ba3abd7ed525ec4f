"""LoRA adapters: put on a base decoder, saved and loaded in PEFT's own folder format."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from transformers import PretrainedConfig

from .adapter_config import AdapterConfig, BaseReference, read_adapter_config
from .adapter_origin import compare_base
from .adapter_weights import find_adapted, linear_layers, open_weights, read_shapes, read_weight
from .checkpoint import build_skeleton
from .locking import one_at_a_time
from .settings import LoraSettings

if TYPE_CHECKING:
    # PEFT takes three seconds to import, which every import of a component would pay.
    import peft

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


def add_adapter(
    module: torch.nn.Module, lora: LoraSettings, *, modules: Sequence[str], base: BaseReference
) -> "peft.PeftModel":
    """Put a new, trainable LoRA adapter on a frozen decoder.

    module (Module): The decoder; its layers are changed in place.
    lora (LoraSettings): Rank, alpha, dropout.
    modules (Sequence[str]): From find_lora_modules.
    base (BaseReference): Recorded in the adapter's config.
    RETURNS (PeftModel): The decoder with the adapter, whose weights are float32.
    """
    return _put_on(
        module,
        base,
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(modules),
    )


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
        ranks = {name: adapter.rank_of(saved) for name, saved in adapted.items()}
        alphas = {name: adapter.alpha_of(saved) for name, saved in adapted.items()}
        model = _put_on(
            module,
            adapter.base,
            r=adapter.rank,
            lora_alpha=adapter.alpha,
            lora_dropout=adapter.dropout,
            # PEFT sees only names of this decoder, not those in the file.
            target_modules=list(_by_last_part(dict.fromkeys(adapted, True), linear_layers(module))),
            rank_pattern=_differing(ranks, adapter.rank),
            alpha_pattern=_differing(alphas, adapter.alpha),
            use_rslora=adapter.rslora,
            inference_mode=not trainable,
        )
        _fill(module, adapter, adapted, weights)
    return model


def _last(name: str) -> str:
    return name.rsplit(".", 1)[-1]


@one_at_a_time
def _put_on(module: torch.nn.Module, base: BaseReference, **options: Any) -> "peft.PeftModel":
    import peft

    config = peft.LoraConfig(
        # A decoder without LM head has no task head: PEFT's TOKEN_CLS would look for one.
        task_type=peft.TaskType.FEATURE_EXTRACTION,
        bias="none",
        revision=base.revision,
        **options,
    )
    model = peft.get_peft_model(module, config)
    # get_peft_model writes the folder the weights were read from, which may be a temporary one.
    config.base_model_name_or_path = base.name
    return model


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


def _fill(
    module: torch.nn.Module, adapter: AdapterConfig, adapted: dict[str, str], weights: Any
) -> None:
    """Fill in the adapter's weights. Raises RuntimeError unless PEFT runs it in these modules."""
    from peft.tuners.lora import LoraLayer

    layers = {name: m for name, m in module.named_modules() if isinstance(m, LoraLayer)}
    active = {
        name: (layer.r["default"], layer.scaling["default"])
        for name, layer in layers.items()
        if layer.active_adapters == ["default"] and not (layer.disable_adapters or layer.merged)
    }
    expected = {
        n: (adapter.rank_of(saved), adapter.scale_of(saved)) for n, saved in adapted.items()
    }
    if active != expected:
        raise RuntimeError(
            f"PEFT {version('peft')} did not apply the adapter in {str(adapter.file.parent)!r} as "
            "its config says. Install a version that was tested (constraints.txt)."
        )
    for name, saved in adapted.items():
        for letter in "AB":
            values = read_weight(adapter, weights, saved, letter)
            getattr(layers[name], f"lora_{letter}")["default"].weight.data.copy_(values)
