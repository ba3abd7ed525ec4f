"""Values of a YAML file, compared with the types of a dataclass."""

from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from ..inputs import cut

_KINDS = {
    dict: "names, which are texts, with values",
    list: "a list",
    str: "a text",
    Path: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    NoneType: "null",
}


def check_fields(kind: type, entry: Any, where: str) -> None:
    """Check what a dataclass is to be made of.

    kind (type): The dataclass; a field "name" is not among the values.
    entry (Any): Its values by name, as YAML has them. Raises ValueError if it is none, and for
        fields that are unknown or missing and values of other types.
    where (str): What it is, for the message.
    """
    hints = get_type_hints(kind)
    known = [f for f in fields(kind) if f.name != "name"]
    names = ", ".join(f.name for f in known)
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: expected {names}, but got {cut(repr(entry))}.")
    if unknown := [key for key in entry if key not in {f.name for f in known}]:
        raise ValueError(f"{where}: there is no {', '.join(map(str, unknown))}, expected {names}.")
    for f in known:
        if f.name not in entry:
            if f.default is MISSING and f.default_factory is MISSING:
                raise ValueError(f"{where}: {f.name} is missing.")
        elif not _fits(entry[f.name], hints[f.name]):
            raise ValueError(
                f"{where}: expected {_spell(hints[f.name])} for {f.name}, but got "
                f"{cut(repr(entry[f.name]))}."
            )


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value of YAML is of a type. A whole number is a number; dates are of none."""
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if kind is Any:
        kinds = (dict[str, Any], list, str, int, float, bool, NoneType)
        return any(_fits(value, one) for one in kinds)
    if kind is dict:
        key, of_values = inner
        return isinstance(value, dict) and all(
            _fits(k, key) and _fits(v, of_values) for k, v in value.items()
        )
    if kind is float:
        return type(value) in (int, float)
    if is_dataclass(kind):  # checked by itself, with the name that it has
        return True
    return isinstance(value, (str, Path)) if kind is Path else type(value) is kind


def _spell(hint: Any) -> str:
    kind = get_origin(hint) or hint
    kinds = get_args(hint) if kind in (Union, UnionType) else (kind,)
    return " or ".join(_KINDS[get_origin(one) or one] for one in kinds)
