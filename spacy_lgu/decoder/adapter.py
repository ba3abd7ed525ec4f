"""LoRA adapters: put on a base decoder, saved and loaded in PEFT's own folder format."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoModel, PretrainedConfig

from ..replacing import finished_folder
from .loading import CONFIG, fingerprint_folder
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


@dataclass(frozen=True)
class BaseReference:
    """What an adapter's config says about the base it was trained on."""

    name: str
    revision: str | None


def linear_modules(config: PretrainedConfig) -> list[str]:
    """Names of the linear modules in the decoder's layers, from its config alone.

    config (PretrainedConfig): The decoder's config.
    RETURNS (list[str]): Last parts of the names, such as "q_proj", sorted and unique.
    """
    with torch.device("meta"):
        skeleton = AutoModel.from_config(config)
    return sorted(
        {
            name.rsplit(".", 1)[-1]
            for name, module in skeleton.named_modules()
            if isinstance(module, torch.nn.Linear)
        }
    )


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
    import peft

    config = peft.LoraConfig(
        # A decoder without LM head has no task head: PEFT's TOKEN_CLS would look for one.
        task_type=peft.TaskType.FEATURE_EXTRACTION,
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # PEFT divides: any number does
        lora_dropout=lora.dropout,
        target_modules=modules,
        bias="none",
        revision=base.revision,
    )
    model = peft.get_peft_model(module, config)
    # get_peft_model writes the folder the weights were read from, which may be a temporary one.
    config.base_model_name_or_path = base.name
    return model


def save_adapter(model: "peft.PeftModel", folder: Path) -> None:
    """Write adapter_config.json and adapter_model.safetensors.

    model (PeftModel): From add_adapter or load_adapter.
    folder (Path): A folder of its own.
    """
    # Without save_embedding_layers=False, PEFT asks the hub for the base's vocabulary size.
    model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's model card, all placeholders


def check_adapter(folder: Path, *, base: BaseReference | None = None) -> "peft.LoraConfig":
    """Read an adapter's config and find damaged weights or a foreign base, before loading.

    folder (Path): A folder in PEFT's format.
    base (BaseReference | None): The base it is meant for. None: not compared.
    RETURNS (LoraConfig): The adapter's config. Raises ValueError saying what is wrong.
    """
    import peft

    folder = finished_folder(folder)
    config_file, weights_file = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    for file in (config_file, weights_file):
        if not file.is_file():
            raise ValueError(
                f"There is no adapter in {str(folder)!r}: {file.name} is missing. Expected a "
                "folder as PEFT's save_pretrained writes it, with safetensors weights."
            )
    try:
        values = json.loads(config_file.read_text(encoding="utf8"))
    except ValueError as error:  # neither JSON nor UTF-8
        raise ValueError(
            f"{str(config_file)!r} is damaged: {error}. Copy the adapter again from where it was "
            "saved."
        ) from error
    if values.get("peft_type") != "LORA":
        raise ValueError(
            f"The adapter in {str(folder)!r} is of the kind {values.get('peft_type')!r}: expected "
            "'LORA'."
        )
    config = peft.LoraConfig.from_pretrained(str(folder))
    try:
        with safe_open(weights_file, framework="pt"):
            pass
    except SafetensorError as error:
        raise ValueError(
            f"The adapter {str(weights_file)!r} ({weights_file.stat().st_size:,} bytes) is damaged "
            f"or incomplete: {error}. Copy it again from where it was saved."
        ) from error
    if base is not None:
        recorded = BaseReference(str(config.base_model_name_or_path), config.revision)
        if Path(recorded.name).is_absolute() and not Path(recorded.name).exists():
            logger.warning(
                "The adapter in %r was trained on the decoder in %r, which is not here: make sure "
                "that %r is the same one.",
                str(folder),
                recorded.name,
                base.name,
            )
            return config
        differs = not _is_same(recorded.name, base.name) or (
            recorded.revision is not None
            and base.revision is not None
            and recorded.revision != base.revision
        )
        if differs:
            raise ValueError(
                f"The adapter in {str(folder)!r} was trained on {recorded.name!r} (revision "
                f"{recorded.revision}), not on {base.name!r} (revision {base.revision}). Use an "
                "adapter of this base, or set name and revision to the adapter's."
            )
    return config


def load_adapter(module: torch.nn.Module, folder: Path, *, trainable: bool) -> "peft.PeftModel":
    """Put a saved adapter on a decoder.

    module (Module): The decoder it was trained on; its layers are changed in place.
    folder (Path): A folder in PEFT's format.
    trainable (bool): Whether training continues it.
    RETURNS (PeftModel): The decoder with the adapter. Raises ValueError when the adapter's
        weights do not fit the decoder.
    """
    import peft

    folder = finished_folder(folder)
    config = check_adapter(folder)
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as weights:
        saved = set(weights.keys())
    try:
        model = peft.PeftModel.from_pretrained(
            module, str(folder), config=config, is_trainable=trainable
        )
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"The adapter in {str(folder)!r} does not fit this decoder: {error} It was trained "
            f"on {config.base_model_name_or_path!r}."
        ) from error
    # PEFT leaves out weights that have no place in the decoder, without a word.
    expected = set(peft.get_peft_model_state_dict(model, save_embedding_layers=False))
    if differing := sorted(saved ^ expected):
        raise ValueError(
            f"The adapter in {str(folder)!r} does not fit this decoder: {len(differing)} weights, "
            f"such as {differing[0]!r}, are only in one of them. It was trained on "
            f"{config.base_model_name_or_path!r}; expected is an adapter of the decoder without LM "
            "head (task type FEATURE_EXTRACTION)."
        )
    return model


def _is_same(recorded: str, name: str) -> bool:
    """Whether two names are the same decoder; folders may be copies of each other."""
    first, second = Path(recorded).expanduser(), Path(name).expanduser()
    if not (first.is_dir() and second.is_dir()):
        return recorded == name
    return first.resolve() == second.resolve() or (
        (first / CONFIG).is_file()
        and fingerprint_folder(first, full=True) == fingerprint_folder(second, full=True)
    )
