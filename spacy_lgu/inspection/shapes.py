"""From a decoder's config to its sizes; no weight is read."""

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from torch.nn import Linear
from transformers import PretrainedConfig
from transformers.utils import hub as transformers_hub

from ..decoder.adapter import find_lora_modules
from ..decoder.checkpoint import build_skeleton
from ..decoder.families import check_family
from ..decoder.loading import CONFIG, Source, find_source, read_config, weight_shapes
from ..decoder.settings import LoraSettings
from ..replacing import finished_folder
from .sizes import DecoderShape


@dataclass(frozen=True, kw_only=True)
class LocalDecoder:
    """A decoder whose config is on this machine.

    source (Source): Where it is.
    config (PretrainedConfig): Its config.
    shape (DecoderShape): Its sizes.
    """

    source: Source
    config: PretrainedConfig
    shape: DecoderShape


def find_local(name: str, revision: str | None = None) -> Source | None:
    """Find a decoder's config on this machine, without asking the network.

    name (str): Folder, or name on the Hugging Face hub.
    revision (str | None): Branch, tag or commit on the hub.
    RETURNS (Source | None): None for a name on the hub that the local cache does not have. Raises
        ValueError as find_source for a folder that is missing or holds no decoder.
    """
    folder = finished_folder(Path(name).expanduser())
    if not folder.is_dir() and _is_hub_name(name):
        cache = transformers_hub.TRANSFORMERS_CACHE
        found = try_to_load_from_cache(name, CONFIG, cache_dir=cache, revision=revision)
        # .../snapshots/<commit>/config.json
        return Source(name, None, Path(found).parent.name) if isinstance(found, str) else None
    return find_source(name, revision)


def read_decoder(name: str, revision: str | None = None) -> LocalDecoder | None:
    """Read a decoder's config, if it is on this machine.

    name, revision (str): As in find_local.
    RETURNS (LocalDecoder | None): As find_local. Raises ValueError also for a damaged config, one
        that is no decoder's, and a family that cannot be unmasked.
    """
    source = find_local(name, revision)
    if source is None:
        return None
    config = read_config(source)
    check_family(config)
    weight_shapes(source, config)  # raises for a config that transformers makes nothing of
    return LocalDecoder(source=source, config=config, shape=measure_shape(config))


def measure_shape(config: PretrainedConfig) -> DecoderShape:
    """RETURNS (DecoderShape): The sizes of a decoder with this config."""
    skeleton = build_skeleton(config)
    n_heads = config.num_attention_heads
    return DecoderShape(
        family=config.model_type,
        n_layers=config.num_hidden_layers,
        n_parameters=sum(parameter.numel() for parameter in skeleton.parameters()),
        width=config.hidden_size,
        inner_width=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
        n_heads=n_heads,
        n_key_value_heads=getattr(config, "num_key_value_heads", None) or n_heads,
        head_width=getattr(config, "head_dim", None) or config.hidden_size // n_heads,
        vocab_size=config.vocab_size,
        context=config.max_position_embeddings,
        linear={
            name: (module.in_features, module.out_features)
            for name, module in skeleton.named_modules()
            if isinstance(module, Linear)
        },
    )


def find_adapted(decoder: LocalDecoder, lora: LoraSettings) -> dict[str, int]:
    """The rank of every module that a new adapter would have LoRA weights for.

    decoder (LocalDecoder): The decoder.
    lora (LoraSettings): The settings.
    RETURNS (dict[str, int]): By name. Raises ValueError for a module that the decoder lacks.
    """
    names = find_lora_modules(lora, decoder.config)
    return {
        module: lora.rank for module in decoder.shape.linear if module.rpartition(".")[2] in names
    }


def _is_hub_name(name: str) -> bool:
    if name.startswith((".", "~", "/")) or name.count("/") > 1:
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True
