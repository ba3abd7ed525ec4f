"""Blocks that show a config or a part of one: checked as spaCy checks a whole config."""

import inspect
import re
from typing import Any

import spacy
from confection import Config
from spacy.schemas import ConfigSchemaInit, ConfigSchemaPretrain, ConfigSchemaTraining
from spacy.util import load_config, load_model_from_config, registry

from .blocks import ROOT

BASE = "configs/lgu_mistral_ner.cfg"
_SECTION = re.compile(r"^\[([\w.-]+)\]$", re.MULTILINE)


def parse_part(text: str) -> Config:
    """Parse sections whose parents need not be there.

    text (str): Lines of a config.
    RETURNS (Config): Not interpolated.
    """
    sections = _SECTION.findall(text)
    parents: dict[str, None] = {}
    for section in sections:
        parts = section.split(".")
        for n in range(1, len(parts)):
            if ".".join(parts[:n]) not in sections:
                parents[".".join(parts[:n])] = None
    headers = "".join(f"[{parent}]\n" for parent in parents)
    return Config().from_str(headers + text, interpolate=False)


def merge_part(base: dict[str, Any], part: dict[str, Any]) -> None:
    """Put the sections of a part into a config.

    base (dict): The config, which is changed. A section with another function or factory than it
        had is replaced, as is a value that becomes a section; others get the part's values.
    part (dict): From parse_part.
    """
    for key, value in part.items():
        old = base.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and _is_same(value, old):
            merge_part(old, value)
        else:
            base[key] = value


def _is_same(new: dict[str, Any], old: dict[str, Any]) -> bool:
    return all(new[key] == old.get(key) for key in new if key == "factory" or key[0] == "@")


def check_config(text: str, base: str = BASE) -> None:
    """Check a part of a config in the whole of another, or a whole one.

    text (str): Lines of a config.
    base (str): Config that the part is put into. Raises what spaCy raises.
    """
    part = parse_part(text)
    config = Config() if "nlp" in part else load_config(ROOT / base, interpolate=False)
    pipeline = config.get("nlp", {}).get("pipeline", [])
    merge_part(config, part)
    for name in part.get("components", {}):
        if name not in pipeline:
            cleaner = pipeline.index("doc_cleaner") if "doc_cleaner" in pipeline else len(pipeline)
            pipeline.insert(cleaner, name)
    nlp = load_model_from_config(config, auto_fill=True)
    filled = nlp.config.interpolate()
    registry.resolve({"corpora": filled["corpora"]})
    registry.resolve(filled["training"], schema=ConfigSchemaTraining)
    registry.resolve(filled["initialize"], schema=ConfigSchemaInit)
    if filled["pretraining"]:
        registry.resolve(filled["pretraining"], schema=ConfigSchemaPretrain)


def check_complete(text: str) -> None:
    """Check that each section shows all settings of its function, with their defaults.

    text (str): Lines of a config. Raises ValueError naming what is missing or differs.
    """
    for name, component in parse_part(text).get("components", {}).items():
        meta = spacy.blank("en").get_factory_meta(component["factory"])
        _check_defaults(component, dict(meta.default_config), {"scorer"}, name)


def _check_defaults(
    shown: dict[str, Any], defaults: dict[str, Any], optional: set[str], place: str
) -> None:
    for key, default in defaults.items():
        if key not in shown:
            if key not in optional and not key.startswith("set_"):
                raise ValueError(f"{place} does not show {key}, which is {default!r}.")
        elif isinstance(default, dict) and default:
            _check_defaults(shown[key], default, optional, f"{place}.{key}")
        elif key != "name" and shown[key] != default:
            raise ValueError(f"{place}.{key} is {shown[key]!r}, but its default is {default!r}.")
    for key in [key for key in shown if key[0] == "@"]:
        function = registry.get(key[1:], shown[key])
        for parameter in inspect.signature(function).parameters:
            if parameter not in shown:
                raise ValueError(f"{place} does not show {parameter} of {shown[key]}.")
