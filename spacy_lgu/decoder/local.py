"""A decoder known by its config alone, on this machine or on the hub; no weight is read."""

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import PretrainedConfig

from ..inputs import named_path
from ..replacing import finished_folder
from .adapter_parameters import expert_parameters
from .adapter_weights import linear_layers
from .checkpoint import build_skeleton
from .experts import count_active
from .families import check_family, find_missing
from .mixers import layer_kinds
from .shape import DecoderShape
from .source import CONFIG, Source, find_source, read_config
from .versions import hub_cache
from .weights import weight_shapes


@dataclass(frozen=True, kw_only=True)
class LocalDecoder:
    """A decoder whose config is on this machine.

    source (Source): Where it comes from, and where its config is.
    config (PretrainedConfig): Its config.
    shape (DecoderShape): Its sizes.
    """

    source: Source
    config: PretrainedConfig
    shape: DecoderShape


def read_local(
    name: str, revision: str | None = None, *, n_layers: int | None = None
) -> LocalDecoder | None:
    """Read a decoder's config without asking the network.

    name (str): Folder, or name on the Hugging Face hub.
    revision (str | None): Branch, tag or commit on the hub.
    n_layers (int | None): As in Source.
    RETURNS (LocalDecoder | None): None for a name on the hub that the local cache does not have.
        Raises ValueError for a folder that is missing or holds no decoder, and for a config that is
        damaged or no decoder's.
    """
    folder = finished_folder(named_path(name))
    if folder.exists() or not _is_hub_name(name):
        return _read(find_source(name, revision, n_layers=n_layers))
    found = try_to_load_from_cache(name, CONFIG, cache_dir=hub_cache(), revision=revision)
    if not isinstance(found, str):
        return None
    snapshot = Path(found).parent  # .../snapshots/<commit>
    return _read(Source(name, snapshot, snapshot.name, n_layers))


def read_usable(name: str, revision: str | None = None) -> LocalDecoder | None:
    """Read a decoder's config without asking the network, and check its family.

    name, revision (str): As in read_local.
    RETURNS (LocalDecoder | None): As read_local. Raises ValueError also for a family that cannot
        be unmasked.
    """
    found = read_local(name, revision)
    if found is not None:
        check_family(found.config)
    return found


def read_decoder(
    name: str, revision: str | None = None, *, n_layers: int | None = None
) -> LocalDecoder:
    """Read a decoder's config, which is downloaded if the local cache lacks it.

    name, revision, n_layers: As in read_local.
    RETURNS (LocalDecoder): Raises ValueError or OSError as read_local and find_source do.
    """
    found = read_local(name, revision, n_layers=n_layers)
    return found or _read(find_source(name, revision, n_layers=n_layers))


def measure_shape(config: PretrainedConfig) -> DecoderShape:
    """RETURNS (DecoderShape): The sizes of a decoder with this config. Raises ValueError, as
    check_family does, if the config does not say all of them."""
    if find_missing(config):
        check_family(config)
    skeleton = build_skeleton(config)
    n_heads = config.num_attention_heads
    n_experts, inner_width = count_active(config, skeleton)
    return DecoderShape(
        family=config.model_type,
        n_layers=config.num_hidden_layers,
        n_parameters=sum(parameter.numel() for parameter in skeleton.parameters()),
        width=config.hidden_size,
        inner_width=inner_width,
        n_experts=n_experts,
        n_heads=n_heads,
        n_key_value_heads=getattr(config, "num_key_value_heads", None) or n_heads,
        head_width=getattr(config, "head_dim", None) or config.hidden_size // n_heads,
        vocab_size=config.vocab_size,
        context=config.max_position_embeddings,
        kinds=layer_kinds(config),
        linear={
            name: (module.in_features, module.out_features)
            for name, module in linear_layers(skeleton).items()
        },
        experts=dict(expert_parameters(skeleton)),
    )


def _read(source: Source) -> LocalDecoder:
    config = read_config(source)
    weight_shapes(source, config)  # raises if transformers cannot build a decoder from it
    return LocalDecoder(source=source, config=config, shape=measure_shape(config))


def _is_hub_name(name: str) -> bool:
    if name.startswith((".", "~", "/")) or name.count("/") > 1:
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True
