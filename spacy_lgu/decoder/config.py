"""config.json, read as data: which kind of decoder it describes, and of which sizes.

transformers' own reader follows file names in it, on disk and on the network, to other configs and
other weights, and accepts values of any type until some line of a model file fails on them.
"""

from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, PretrainedConfig

from ..inputs import shorten
from .reading import damaged, read_json, take
from .versions import find_unread, read_floats

# What transformers' config and model files, written for valid values, raise for others: any error
# at all, except those about this machine rather than the config (OSError, MemoryError).
MODEL_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    RuntimeError,
    StrictDataclassError,  # of transformers 5, for values of a wrong type
    TypeError,
    ValueError,
)
# Fields that name files, which are only read from their usual places.
_FILES = ("transformers_weights", "configuration_files")
# Fields that change the form of a decoder's output, of which only the default is used.
_OUTPUT = ("return_dict", "use_return_dict", "torchscript")
_NUMBERS = (
    "hidden_size", "layer_norm_eps", "max_position_embeddings", "num_attention_heads",
    "num_hidden_layers", "rms_norm_eps", "rope_theta", "vocab_size",
)  # fmt: skip
_NUMBERS_OR_NULL = ("head_dim", "num_key_value_heads", "sliding_window")
# Two hundred are many; checking millions would take hours.
_MAX_LAYERS = 1000
_MAX = 1e15


def make_config(file: Path) -> PretrainedConfig:
    """Read a decoder's config; no code but that of transformers is run.

    file (Path): config.json.
    RETURNS (PretrainedConfig): Raises ValueError that names the file, and the field where possible,
        when it is damaged, is of a family that transformers does not have, has a value of a wrong
        type or names other files.
    """
    values = read_json(file)
    for field in _FILES:
        if values.get(field):
            raise ValueError(
                f"{str(file)!r}: {field} is {shorten(values[field])}, but config and weights are "
                "only read from the files beside it. Put the right ones there, and remove the "
                "field."
            )
    family = take(values, "model_type", (str,), file)
    if family not in CONFIG_MAPPING:
        raise ValueError(
            f"{str(file)!r}: the installed version of transformers has no model_type "
            f"{shorten(family)}. Name a decoder of a family that it has."
        )
    _check_types(values, file)
    if unread := find_unread(values):
        raise damaged(file, unread)
    values = {name: value for name, value in values.items() if name not in _OUTPUT}
    kind: Any = CONFIG_MAPPING[family]
    try:
        config: PretrainedConfig = kind.from_dict(read_floats(values))
    except MODEL_ERRORS as error:
        raise damaged(
            file, f"transformers cannot read it ({type(error).__name__}: {str(error)[:200]})"
        ) from error
    n_layers = getattr(config, "num_hidden_layers", None)
    if isinstance(n_layers, int) and n_layers > _MAX_LAYERS:
        raise damaged(file, f"'num_hidden_layers' is {shorten(n_layers)}, over {_MAX_LAYERS:,}")
    return config


def _check_types(values: dict[str, Any], file: Path) -> None:
    """Check the fields that are read here, or that model files read only when they run."""
    for field in (*_NUMBERS, *_NUMBERS_OR_NULL):
        value: Any = values.get(field)
        if field not in values or (value is None and field in _NUMBERS_OR_NULL):
            continue
        lowest = 0 if field in _NUMBERS else -_MAX
        if type(value) not in (int, float) or not lowest < value < _MAX:
            raise damaged(
                file, f"expected a number above 0 in {field!r}, but found {shorten(value)}"
            )
    for field in ("quantization_config", "rope_parameters", "rope_scaling"):
        take(values, field, (dict, None), file)
    names = take(values, "architectures", (list, None), file) or []
    if not all(isinstance(name, str) for name in names):
        raise damaged(
            file, f"expected a list of strings in 'architectures', but found {shorten(names)}"
        )
