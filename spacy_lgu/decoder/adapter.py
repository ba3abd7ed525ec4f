"""LoRA adapters: put on a base decoder, saved and loaded in PEFT's own folder format."""

import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from transformers import PretrainedConfig

from .adapter_config import MERGE, AdapterConfig, BaseReference, adapter_file, read_adapter_config
from .checkpoint import build_skeleton
from .loading import CONFIG, fingerprint_folder
from .locking import one_at_a_time
from .settings import LoraSettings

if TYPE_CHECKING:
    # PEFT takes three seconds to import, which every `import spacy_lgu` component would pay.
    import peft

logger = logging.getLogger("spacy_lgu")

# The projections that the paper adapts (query and value), by family; "attention" means these.
_ATTENTION_MODULES = {
    "phi3": ("qkv_proj",),
    "gpt_neox": ("query_key_value",),
}
_QUERY_VALUE = ("q_proj", "v_proj")

_WEIGHTS = "adapter_model.safetensors"
_WEIGHT = "base_model.model.{module}.lora_{letter}.weight"
_WEIGHT_NAME = re.compile(r"base_model\.model\.((?:\w+\.){0,30}\w+)\.lora_[AB]\.weight", re.ASCII)
_FLOATS = ("F32", "BF16", "F16")  # all of which float32 holds
ShapesT = dict[str, tuple[int, int]]
ValueT = TypeVar("ValueT")


def linear_modules(config: PretrainedConfig) -> list[str]:
    """Names of the linear modules in the decoder's layers, from its config alone.

    config (PretrainedConfig): The decoder's config.
    RETURNS (list[str]): Last parts of the names, such as "q_proj", sorted and unique.
    """
    return sorted({_last(name) for name in _linear(build_skeleton(config))})


def find_lora_modules(lora: LoraSettings, config: PretrainedConfig) -> list[str]:
    """The module names that LoRA goes on, checked against the decoder's config.

    lora (LoraSettings): The settings.
    config (PretrainedConfig): The decoder's config.
    RETURNS (list[str]): Names for PEFT's target_modules. Raises ValueError that lists the
        decoder's linear modules when a name is not among them.
    """
    available = linear_modules(config)
    if lora.modules == "all-linear":
        return available
    if lora.modules == "attention":
        wanted = list(_ATTENTION_MODULES.get(config.model_type, _QUERY_VALUE))
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
    module: torch.nn.Module, lora: LoraSettings, *, modules: list[str], base: BaseReference
) -> "peft.PeftModel":
    """Put a new, trainable LoRA adapter on a frozen decoder.

    module (Module): The decoder; its layers are changed in place.
    lora (LoraSettings): Rank, alpha, dropout.
    modules (list[str]): From find_lora_modules.
    base (BaseReference): Recorded in the adapter's config.
    RETURNS (PeftModel): The decoder with the adapter, whose weights are float32.
    """
    return _put_on(
        module,
        base,
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=modules,
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
    with _open_weights(folder) as weights:
        shapes = _read_shapes(adapter, weights)
    if base is not None:
        _compare_base(folder, adapter.base, base)
    if decoder is not None:
        _find_adapted(adapter, shapes, build_skeleton(decoder))
    return adapter


def load_adapter(module: torch.nn.Module, folder: Path, *, trainable: bool) -> "peft.PeftModel":
    """Put a saved adapter on a decoder.

    module (Module): The decoder it was trained on, with or without its LM head then; its layers are
        changed in place, its weights are not.
    folder (Path): A folder in PEFT's format.
    trainable (bool): Whether training continues it.
    RETURNS (PeftModel): The decoder with the adapter, whose weights are float32. Raises ValueError
        when the adapter's weights do not fit the decoder.
    """
    adapter = read_adapter_config(folder)
    with _open_weights(folder) as weights:
        adapted = _find_adapted(adapter, _read_shapes(adapter, weights), module)
        ranks = {name: adapter.rank_of(saved) for name, saved in adapted.items()}
        alphas = {name: adapter.alpha_of(saved) for name, saved in adapted.items()}
        model = _put_on(
            module,
            adapter.base,
            r=adapter.rank,
            lora_alpha=adapter.alpha,
            lora_dropout=adapter.dropout,
            # PEFT sees names of this decoder only, not those that the file gives.
            target_modules=list(_by_last_part(dict.fromkeys(adapted, True), _linear(module))),
            rank_pattern=_differing(ranks, adapter.rank),
            alpha_pattern=_differing(alphas, adapter.alpha),
            use_rslora=adapter.rslora,
            inference_mode=not trainable,
        )
        _fill(module, adapter, adapted, weights)
    return model


def _linear(module: torch.nn.Module) -> dict[str, torch.nn.Linear]:
    return {n: m for n, m in module.named_modules() if isinstance(m, torch.nn.Linear)}


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


def _open_weights(folder: Path) -> Any:
    file = adapter_file(folder, _WEIGHTS)
    try:
        return safe_open(file, framework="pt")
    except SafetensorError as error:
        raise ValueError(
            f"The adapter {str(file)!r} ({file.stat().st_size:,} bytes) is damaged or incomplete: "
            f"{error}. Copy it again from where it was saved."
        ) from error


def _read_shapes(adapter: AdapterConfig, weights: Any) -> ShapesT:
    """Input and output width of the modules with LoRA weights, which must be as the config says."""
    file = adapter.file.with_name(_WEIGHTS)
    names = set(weights.keys())
    shapes = {}
    for name in sorted(names):
        found = _WEIGHT_NAME.fullmatch(name)
        if found is None:
            raise ValueError(
                f"{str(file)!r} holds {name!r}: expected nothing but LoRA weights of linear "
                f"modules, such as {_WEIGHT.format(module='MODULE', letter='A')!r}. {MERGE}"
            )
        module = found[1]
        A, B = (_WEIGHT.format(module=module, letter=letter) for letter in "AB")
        if not {A, B} <= names:
            raise ValueError(f"{str(file)!r} holds only one of {A!r} and {B!r}: copy it again.")
        slices = [weights.get_slice(A), weights.get_slice(B)]
        rank = adapter.rank_of(module)
        shape_A, shape_B = (part.get_shape() for part in slices)
        if not (len(shape_A) == len(shape_B) == 2 and shape_A[0] == shape_B[1] == rank):
            raise ValueError(
                f"{A!r} and {B!r} in {str(file)!r} have the shapes {shape_A} and {shape_B}: "
                f"expected [{rank}, input width] and [output width, {rank}], because the rank in "
                f"{adapter.file.name} is {rank}."
            )
        for part in slices:
            if part.get_dtype() not in _FLOATS:
                raise ValueError(
                    f"The LoRA weights of {module!r} in {str(file)!r} are {part.get_dtype()}: "
                    f"expected one of {', '.join(_FLOATS)}."
                )
        shapes[module] = (shape_A[1], shape_B[0])
    return shapes


def _find_adapted(
    adapter: AdapterConfig, shapes: ShapesT, module: torch.nn.Module
) -> dict[str, str]:
    """The decoder's modules that have LoRA weights, each with its name in the adapter."""
    linear = _linear(module)
    # Around the decoder lay an LM head, and transformers names the decoder in it; Gemma 3's not by
    # its base_model_prefix.
    levels = {"model", module.base_model_prefix}
    found = sorted({name.split(".")[0] for name in shapes} & levels)
    prefix = f"{found[0]}." if found else ""
    expected = {f"{prefix}{n}": n for n in linear if adapter.targets(f"{prefix}{n}")}
    if unexpected := sorted(shapes.keys() - expected.keys()):
        raise _misfit(
            adapter,
            f"{len(unexpected)} of its modules, such as {unexpected[0]!r}, are not among the "
            f"linear modules of this decoder, without LM head, that {adapter.file.name} names.",
        )
    if missing := sorted(expected.keys() - shapes.keys()):
        weight = _WEIGHT.format(module=missing[0], letter="A")
        raise _misfit(
            adapter, f"it lacks the weights of {len(missing)} modules, such as {weight!r}."
        )
    if not expected:
        raise _misfit(adapter, "it has no weights, and names no linear module of it.")
    for saved, name in expected.items():
        widths = (linear[name].in_features, linear[name].out_features)
        if shapes[saved] != widths:
            raise _misfit(
                adapter,
                f"its weights of {saved!r} are for {shapes[saved][0]} input and {shapes[saved][1]} "
                f"output values, but that module has {widths[0]} and {widths[1]}.",
            )
    return {name: saved for saved, name in expected.items()}


def _misfit(adapter: AdapterConfig, reason: str) -> ValueError:
    return ValueError(
        f"The adapter in {str(adapter.file.parent)!r} does not fit this decoder: {reason} The "
        f"decoder that it was trained on: {adapter.base.name or 'not said'}."
    )


def _by_last_part(values: Mapping[str, ValueT], names: Iterable[str]) -> dict[str, ValueT]:
    """The same values by the last parts of names, as far as all names with one have one value."""
    found = defaultdict(set)
    for name in names:
        found[_last(name)].add(values.get(name))
    return {
        _last(name) if len(found[_last(name)]) == 1 else name: value
        for name, value in values.items()
    }


def _differing(values: dict[str, ValueT], default: ValueT) -> dict[str, ValueT]:
    """For PEFT, which sorts the names when it saves and then takes the first that fits: no two fit
    one module."""
    return {n: value for n, value in _by_last_part(values, values).items() if value != default}


def _fill(
    module: torch.nn.Module, adapter: AdapterConfig, adapted: dict[str, str], weights: Any
) -> None:
    """Give the adapter its weights. Raises RuntimeError unless PEFT runs it in these modules."""
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
            full = _WEIGHT.format(module=saved, letter=letter)
            values = weights.get_tensor(full)
            if not values.isfinite().all():
                raise ValueError(
                    f"{full!r} in {str(adapter.file.with_name(_WEIGHTS))!r} is not finite: the "
                    "training has diverged, or the file is damaged. Use an earlier save."
                )
            getattr(layers[name], f"lora_{letter}")["default"].weight.data.copy_(values)


def _compare_base(folder: Path, recorded: BaseReference, base: BaseReference) -> None:
    is_elsewhere = Path(recorded.name).is_absolute() and not os.path.exists(recorded.name)
    if not recorded.name or is_elsewhere:
        logger.warning(
            "The adapter in %r was trained on the decoder in %r, which is not here: make sure "
            "that %r is the same one.",
            str(folder),
            recorded.name,
            base.name,
        )
        return
    if not _is_same(recorded.name, base.name) or (
        recorded.revision is not None
        and base.revision is not None
        and recorded.revision != base.revision
    ):
        raise ValueError(
            f"The adapter in {str(folder)!r} was trained on {recorded.name!r} (revision "
            f"{recorded.revision}), not on {base.name!r} (revision {base.revision}). Use an "
            "adapter of this base, or set name and revision to the adapter's."
        )


def _is_same(recorded: str, name: str) -> bool:
    """Whether two names are the same decoder; folders may be copies of each other."""
    # Not with pathlib, which raises for names that the system finds too long.
    if not (os.path.isdir(recorded) and os.path.isdir(name)):
        return recorded == name
    first, second = Path(recorded), Path(name)
    return first.resolve() == second.resolve() or (
        (first / CONFIG).is_file()
        and fingerprint_folder(first, full=True) == fingerprint_folder(second, full=True)
    )
