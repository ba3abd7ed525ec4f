"""Rotary settings in config.json, checked as data.

transformers fills in what it misses and passes over what it does not look for, with a line in the
log at most: settings that a decoder was trained with would be lost without an error.
"""

import copy
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig

from ..inputs import shorten
from .reading import damaged

_NEW = "rope_parameters"
_BASE = "rope_theta"
_NUMBERS = (
    _BASE, "factor", "original_max_position_embeddings", "partial_rotary_factor", "beta_fast",
    "beta_slow", "attention_factor", "llama_4_scaling_beta", "low_freq_factor", "high_freq_factor",
)  # fmt: skip
_TYPES = ("rope_type", "type")


def check_rotary_values(values: dict[str, Any], where: str, file: Path) -> None:
    """Check the types of rotary settings, and that a base is not said twice.

    values (dict[str, Any]): config.json, or the part of a decoder in it.
    where (str): What the names of the fields begin with in messages.
    file (Path): config.json, for messages.
    RETURNS (None): Raises ValueError that names file and field.
    """
    for field in (_NEW, "rope_scaling"):
        settings = values.get(field) or {}
        for path, one in _split(settings, where + field).items():
            _check_one(one, path, file)
    new, old = (values.get(_NEW) or {}).get(_BASE), values.get(_BASE)
    if new is not None and old is not None and new != old:
        raise damaged(
            file,
            f"{where + _BASE!r} is {shorten(old)}, but in {where + _NEW!r} it is {shorten(new)}: "
            "versions of transformers differ in which they read",
        )


def check_rotary_form(given: dict[str, Any], config: PretrainedConfig, file: Path) -> None:
    """Check that rotary settings have the form that the decoder's family reads: one for all layers,
    or one for each kind of layer.

    given (dict[str, Any]): The decoder's values in config.json.
    config (PretrainedConfig): Its config, as transformers read it.
    file (Path): config.json, for messages.
    RETURNS (None): Raises ValueError that names what would be passed over, or filled in.
    """
    settings = given.get(_NEW) or {}
    # 4.53 has no such settings.
    if not settings or not getattr(config, _NEW, None):
        return
    others = {name: value for name, value in given.items() if name != _NEW}
    plain = getattr(type(config).from_dict(copy.deepcopy(others)), _NEW, None) or {}
    expected = [name for name, value in plain.items() if isinstance(value, dict)]
    found = [name for name, value in settings.items() if isinstance(value, dict)]
    family = config.model_type
    if found and not expected:
        raise damaged(
            file,
            f"{_NEW!r} has settings for {', '.join(map(shorten, found))}, but decoders of the "
            f"family {family!r} have the same for all layers",
        )
    used = set(getattr(config, "layer_types", None) or expected)
    for name in expected:
        if name in used and (settings.get(name) or {}).get(_BASE) is None:
            raise damaged(
                file,
                f"{_NEW!r} has no {_BASE} for {name!r}: decoders of the family {family!r} have "
                "settings for each kind of layer",
            )


def _split(settings: dict[str, Any], path: str) -> dict[str, dict[str, Any]]:
    """RETURNS (dict[str, dict]): Settings by their place in the file; those of each kind of layer,
    if they are by kind."""
    nested = {f"{path}.{k}": v for k, v in settings.items() if isinstance(v, dict)}
    return nested or {path: settings}


def _check_one(settings: dict[str, Any], path: str, file: Path) -> None:
    for name in _TYPES:
        if not isinstance(settings.get(name, ""), str):
            raise damaged(
                file,
                f"expected a string in '{path}.{name}', but found {shorten(settings[name])}",
            )
    for name in _NUMBERS:
        value: Any = settings.get(name)
        if name not in settings or (value is None and name != _BASE):
            continue
        if type(value) not in (int, float) or not 0 < value < float("inf"):
            raise damaged(
                file,
                f"expected a number above 0 in '{path}.{name}', but found {shorten(value)}",
            )
