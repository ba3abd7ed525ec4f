"""PEFT's layers: put on a decoder, and compared with what was asked for."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch
from packaging.version import Version

from .adapter_config import AdapterConfig, BaseReference
from .adapter_weights import Adapted, linear_layers
from .locking import one_at_a_time
from .versions import IS_5

if TYPE_CHECKING:
    # PEFT takes three seconds to import, which every import of a component would pay.
    import peft

# The first that was tested with LoRA on parameters.
_PEFT_WITH_PARAMETERS = "0.21"


@one_at_a_time
def put_on(
    module: torch.nn.Module, base: BaseReference, *, parameters: Sequence[str], **options: Any
) -> "peft.PeftModel":
    """Put an adapter on a decoder.

    module (Module): The decoder; its layers are changed in place.
    base (BaseReference): Recorded in the adapter's config.
    parameters (Sequence[str]): Names for PEFT's target_parameters.
    options: Of PEFT's LoraConfig.
    RETURNS (PeftModel): The decoder with the adapter, whose weights are float32. Raises ValueError
        for parameters with a version of PEFT that cannot adapt them.
    """
    import peft

    from .adapter_half import use_half_lora

    if parameters and Version(version("peft")) < Version(_PEFT_WITH_PARAMETERS):
        raise ValueError(
            f"LoRA parameters {list(parameters)} need peft>={_PEFT_WITH_PARAMETERS}, but "
            f"{version('peft')} is installed: pip install --upgrade peft"
        )
    if parameters:
        options["target_parameters"] = list(parameters)  # which older versions do not have
    config = peft.LoraConfig(
        # A decoder without LM head has no task head: PEFT's TOKEN_CLS would look for one.
        task_type=peft.TaskType.FEATURE_EXTRACTION,
        bias="none",
        revision=base.revision,
        **options,
    )
    weights = {name: layer.weight for name, layer in linear_layers(module).items()}
    with _names_as_they_are():
        model = peft.get_peft_model(module, config)
    use_half_lora(module)
    if config.use_dora:
        from .adapter_dora import use_dora_layer

        use_dora_layer(module, weights)
    if parameters:
        from .adapter_experts import use_expert_lora

        use_expert_lora(module)
    # get_peft_model writes the folder the weights were read from, which may be a temporary one.
    config.base_model_name_or_path = base.name
    return model


def check_applied(
    module: torch.nn.Module, adapter: AdapterConfig, adapted: Mapping[str, Adapted], how: str
) -> dict[str, Any]:
    """Find the layers of an adapter.

    module (Module): The decoder with the adapter.
    adapter (AdapterConfig): Which ranks and scales they have.
    adapted (Mapping[str, Adapted]): The modules and parameters that have LoRA weights.
    how (str): How they should be applied, for the message.
    RETURNS (dict[str, LoraLayer]): By the names of adapted. Raises RuntimeError unless PEFT runs
        the adapter in exactly these.
    """
    from peft.tuners.lora import LoraLayer

    layers = {name: m for name, m in module.named_modules() if isinstance(m, LoraLayer)}
    active = {
        (name, getattr(layer, "parameter_name", None)): (
            layer.r["default"],
            layer.scaling["default"],
            layer.use_dora["default"],
        )
        for name, layer in layers.items()
        if layer.active_adapters == ["default"] and not (layer.disable_adapters or layer.merged)
    }
    expected = {
        (part.layer, name.rpartition(".")[2] if part.is_parameter else None): (
            adapter.rank_of(part.named),
            adapter.scale_of(part.named),
            adapter.dora,
        )
        for name, part in adapted.items()
    }
    if active != expected:
        raise RuntimeError(
            f"PEFT {version('peft')} did not apply the adapter {how}. Install a version that was "
            "tested (constraints.txt)."
        )
    return {name: layers[part.layer] for name, part in adapted.items()}


@contextlib.contextmanager
def _names_as_they_are() -> Iterator[None]:
    """Keep PEFT from taking names of modules for those of transformers 4.

    Under transformers 5, PEFT takes "gate_proj" and "down_proj" in families whose experts became
    parameters for these parameters, and no longer for the linear modules of that name, which dense
    layers and shared experts still have. The names here are those of the decoder as it is.
    """
    if not IS_5:
        yield
        return
    from peft.utils import transformers_weight_conversion as conversion

    convert = conversion.convert_peft_config_for_transformers
    conversion.convert_peft_config_for_transformers = lambda *args, **options: None
    try:
        yield
    finally:
        conversion.convert_peft_config_for_transformers = convert
