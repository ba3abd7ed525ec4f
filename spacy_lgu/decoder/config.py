"""config.json, read as data: which kind of decoder it describes, and of which sizes.

transformers' own reader follows file names in it, on disk and on the network, to other configs and
other weights, and accepts values of any type until some line of a model file fails on them.

A model that reads images or sound besides text describes its decoder in a part of its config, and
that part is all that counts here.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, PretrainedConfig

from ..inputs import shorten
from .reading import damaged, read_json, take
from .rotary import check_rotary_form, check_rotary_values
from .versions import DTYPE, find_unread, read_floats

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
# Fields by which transformers chooses kernels, also such as are code on the hub. Attention is ours.
_KERNELS = (
    "attn_implementation", "_attn_implementation", "_attn_implementation_internal",
    "experts_implementation", "_experts_implementation", "_experts_implementation_internal",
)  # fmt: skip
_NUMBERS = (
    "hidden_size", "max_position_embeddings", "num_attention_heads", "num_hidden_layers",
    "rope_theta", "vocab_size",
)  # fmt: skip
_WINDOW = "sliding_window"
_NUMBERS_OR_NULL = (
    "attn_logit_softcapping", "head_dim", "layer_norm_eps", "num_key_value_heads", "rms_norm_eps",
    _WINDOW,
)  # fmt: skip
# Of these, numbers below zero have no meaning in any family.
_ABOVE_0 = (*_NUMBERS, "attn_logit_softcapping", _WINDOW)
# How many experts a layer has, by the names of families, and how many compute a subtoken.
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
_CHOSEN = "num_experts_per_tok"
# DeepSeek's experts are in groups, of which some are chosen first.
_GROUPS, _CHOSEN_GROUPS = "n_group", "topk_group"
# The share of attention weights that is dropped in training, where an error would come late.
_DROPPED = "attention_dropout"
# Two hundred are many; checking millions, or listing their kinds, would take hours.
_LAYERS = "num_hidden_layers"
_MAX_LAYERS = 1000
_MAX = 1e15
_TEXT = "text_config"
# What a config says of the whole model and its weights, and holds for the decoder in it.
_WHOLE = ("quantization_config", "tie_word_embeddings", "transformers_version")


def make_config(file: Path) -> PretrainedConfig:
    """Read a decoder's config; no code but that of transformers is run.

    file (Path): config.json.
    RETURNS (PretrainedConfig): Of a model that reads more than text, the config of its decoder.
        Raises ValueError that names the file, and the field where possible, when it is damaged, is
        of a family that transformers does not have, has a value of a wrong type or names other
        files.
    """
    return _take_decoder(make_whole_config(file), file)


def make_whole_config(file: Path) -> PretrainedConfig:
    """Read the config of a model, of which a decoder may be part.

    file (Path): config.json.
    RETURNS (PretrainedConfig): Raises ValueError as make_config does.
    """
    values = read_json(file)
    family = take(values, "model_type", (str,), file)
    if family not in CONFIG_MAPPING:
        raise ValueError(
            f"{str(file)!r}: the installed version of transformers has no model_type "
            f"{shorten(family)}. Name a decoder of a family that it has."
        )
    part = take(values, _TEXT, (dict, None), file) or {}
    for fields, where in ((values, ""), (part, f"{_TEXT}.")):
        _check_files(fields, where, file)
        _check_types(fields, where, file)
        check_rotary_values(fields, where, file)
        if unread := find_unread(fields):
            raise damaged(file, unread)
    values = _without(values, _KERNELS)
    for fields in (values, values.get(_TEXT) or {}):
        for name in _OUTPUT:
            fields.pop(name, None)
    kind: Any = CONFIG_MAPPING[family]
    try:
        config: PretrainedConfig = kind.from_dict(read_floats(values))
    except MODEL_ERRORS as error:
        raise damaged(
            file, f"transformers cannot read it ({type(error).__name__}: {str(error)[:200]})"
        ) from error
    return config


def _without(values: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Fields without some, at any depth."""
    return {
        name: _without(value, names) if isinstance(value, dict) else value
        for name, value in values.items()
        if name not in names
    }


def is_part(file: Path, config: PretrainedConfig) -> bool:
    """Whether a decoder is part of a model that reads more than text.

    file (Path): The config.json that the config was read from.
    config (PretrainedConfig): From make_config.
    """
    return bool(read_json(file).get("model_type") != config.model_type)


def _take_decoder(config: Any, file: Path) -> PretrainedConfig:
    """The decoder's part of a config, with what the whole says of it."""
    decoder = config
    if not config.is_encoder_decoder:
        try:
            decoder = config.get_text_config(decoder=True)
            if not isinstance(decoder, PretrainedConfig):  # a field of this name in another family
                decoder = config
        except MODEL_ERRORS as error:
            raise damaged(file, f"it has no one decoder ({str(error)[:200]})") from error
    values = read_json(file)
    part = values if decoder is config else values.get(_TEXT) or {}
    if decoder is not config:
        _check_family_of_part(part, decoder, file)
    check_rotary_form(read_floats(part), decoder, file)
    _check_experts(decoder, file)
    n_layers = getattr(decoder, _LAYERS, None)
    if isinstance(n_layers, int) and n_layers > _MAX_LAYERS:  # under another name in the file
        raise _too_many(n_layers, "", file)
    if decoder is not config:
        for name in _WHOLE:
            if values.get(name) is not None and name not in part:
                setattr(decoder, name, values[name])
        if getattr(decoder, DTYPE, None) is None:
            setattr(decoder, DTYPE, getattr(config, DTYPE, None))
    return decoder


def _check_files(values: dict[str, Any], where: str, file: Path) -> None:
    """Check that no other files are named, from which something would be read."""
    for field in _FILES:
        if values.get(field):
            raise ValueError(
                f"{str(file)!r}: {where}{field} is {shorten(values[field])}, but config and "
                "weights are only read from the files beside it. Put the right ones there, and "
                "remove the field."
            )


def _check_types(values: dict[str, Any], where: str, file: Path) -> None:
    """Check the fields that are read here, or that model files read only when they run.

    where (str): What the names of the fields begin with in messages.
    """
    for field in (*_NUMBERS, *_NUMBERS_OR_NULL):
        value: Any = values.get(field)
        if field not in values or (value is None and field in _NUMBERS_OR_NULL):
            continue
        if field == _WINDOW and values.get(f"use_{_WINDOW}") is False:
            continue  # transformers saves 0 then
        lowest = 0 if field in _ABOVE_0 else -_MAX
        if type(value) not in (int, float) or not lowest < value < _MAX:
            or_null = " or null" if field in _NUMBERS_OR_NULL else ""
            raise damaged(
                file,
                f"expected a number above 0{or_null} in {where + field!r}, but found "
                f"{shorten(value)}",
            )
        if field == _LAYERS and value > _MAX_LAYERS:
            raise _too_many(value, where, file)
    for field in ("quantization_config", "rope_parameters", "rope_scaling"):
        if not isinstance(values.get(field), dict | None):
            raise damaged(
                file,
                f"expected an object or null in {where + field!r}, but found "
                f"{shorten(values[field])}",
            )
    if values.get("quantization_config") == {}:
        raise damaged(
            file,
            f"{where + 'quantization_config'!r} is empty: expected a quant_method in it, or no "
            "such field",
        )
    dropped = values.get(_DROPPED) or 0
    if type(dropped) not in (int, float) or not 0 <= dropped < 1:
        raise damaged(
            file,
            f"expected a number from 0 to below 1 in {where + _DROPPED!r}, but found "
            f"{shorten(dropped)}",
        )
    names = values.get("architectures") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise damaged(
            file,
            f"expected a list of strings in {where + 'architectures'!r}, but found "
            f"{shorten(names)}",
        )


def _check_family_of_part(part: dict[str, Any], decoder: PretrainedConfig, file: Path) -> None:
    """Check that the part is called what it is: most models have one kind of decoder, which
    transformers builds whatever the part is called."""
    found, expected = take(part, "model_type", (str, None), file), type(decoder).model_type
    if found not in (None, expected):
        raise damaged(
            file,
            f"'{_TEXT}.model_type' is {shorten(found)}, but transformers reads that part as "
            f"{expected!r}",
        )


def _check_experts(decoder: PretrainedConfig, file: Path) -> None:
    """Check that a subtoken is computed by at least one expert, and by no more than there are."""
    # Not by attribute: sizes that differ between layers cannot be read so.
    values, names = decoder.to_dict(), decoder.attribute_map
    counts = [values.get(names.get(name, name)) for name in _EXPERTS]
    n_experts = next((count for count in counts if type(count) is int and count > 0), None)
    n_chosen = values.get(names.get(_CHOSEN, _CHOSEN))
    if not n_experts:
        return
    if type(n_chosen) is int and not 1 <= n_chosen <= n_experts:
        raise damaged(
            file, f"{_CHOSEN!r} is {n_chosen}, but its layers have {n_experts} experts each"
        )
    n_groups, n_chosen = values.get(_GROUPS), values.get(_CHOSEN_GROUPS)
    if type(n_groups) is type(n_chosen) is int and not (
        1 <= n_chosen <= n_groups <= n_experts and n_experts % n_groups == 0
    ):
        raise damaged(
            file,
            f"{n_experts} experts cannot be in {n_groups} groups ({_GROUPS!r}) of which {n_chosen} "
            f"({_CHOSEN_GROUPS!r}) are chosen",
        )


def _too_many(n_layers: float, where: str, file: Path) -> ValueError:
    return damaged(file, f"{where + _LAYERS!r} is {shorten(n_layers)}, over {_MAX_LAYERS:,}")
