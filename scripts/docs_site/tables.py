"""Tables of settings and options, from the code that reads them."""

import inspect
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import spacy
import typer
from spacy.cli import app as spacy_app
from spacy.util import registry

from scripts.docs_site.docstrings import split_docstring

_SETTINGS = re.compile(r"^<!-- settings: (?P<registry>\w+) (?P<name>\S+) -->$", re.MULTILINE)
_OPTIONS = re.compile(r"^<!-- options: (?P<command>[\w -]+?) -->$", re.MULTILINE)
# In a cell, but not inside `code`.
_ESCAPED = re.compile(r"[|*](?=[^`]*(?:`[^`]*`[^`]*)*$)")
# To a factory, by spaCy.
_GIVEN = ("nlp", "name")


def fill_tables(page: str) -> str:
    """Put tables in the place of their comments.

    page (str): Markdown with `<!-- settings: factories lgu_transformer -->` (any registry of spaCy)
        and `<!-- options: lgu convert -->`.
    RETURNS (str): The page with the tables. Raises ValueError for a setting that no docstring
        explains, and what spaCy raises for a name that is not registered.
    """
    for matched in _SETTINGS.finditer(page):
        table = settings_table(matched["registry"], matched["name"])
        page = page.replace(matched[0], table, 1)
    for matched in _OPTIONS.finditer(page):
        page = page.replace(matched[0], options_table(matched["command"].split()), 1)
    return page


def settings_table(registry_name: str, name: str) -> str:
    """Settings of a registered function: type, default, and what its docstring says.

    registry_name (str): Of spaCy's, such as "architectures".
    name (str): Under which it is registered.
    RETURNS (str): A table in Markdown.
    """
    defaults: dict[str, Any] = {}
    given: tuple[str, ...] = ()
    if registry_name == "factories":
        # Before the function is looked up: this loads those of installed packages.
        defaults, given = dict(spacy.blank("en").get_factory_meta(name).default_config), _GIVEN
    function = registry.get(registry_name, name)
    texts = explain_parameters(function)
    rows = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in given:
            continue
        if parameter.name not in texts:
            raise ValueError(
                f"The docstring of {name} does not explain {parameter.name}: expected a line "
                f"'{parameter.name} (type): text'."
            )
        kind, text = texts[parameter.name]
        default = defaults.get(parameter.name, parameter.default)
        rows.append((f"`{parameter.name}`", f"`{kind}`", _show_default(default), text))
    return _table(("setting", "type", "default", ""), rows)


def explain_parameters(function: Callable) -> dict[str, tuple[str, str]]:
    """Types and texts of a function's parameters.

    function (Callable): Or a class. Its docstring may name another function or class of its module
        that explains some of them.
    RETURNS (dict[str, tuple[str, str]]): By name.
    """
    text = inspect.getdoc(function) or ""
    scope = vars(sys.modules[inspect.unwrap(function).__module__])
    named = [scope[word] for word in re.findall(r"\w+", text) if word in scope]
    found: dict[str, tuple[str, str]] = {}
    for doc in [text, *(inspect.getdoc(thing) or "" for thing in named if callable(thing))]:
        for name, kind, words in split_docstring(doc)[1]:
            found.setdefault(name, (kind, words))
    return found


def options_table(path: list[str]) -> str:
    """Arguments and options of a command.

    path (list[str]): What follows `python -m spacy`.
    RETURNS (str): A table in Markdown, from the command's own parameters.
    """
    registry.cli.get_all()
    command = typer.main.get_command(spacy_app)
    for name in path:
        commands = getattr(command, "commands", {})
        if name not in commands:
            raise ValueError(f"There is no command 'python -m spacy {' '.join(path)}'.")
        command = commands[name]
    rows = []
    for parameter in command.params:
        if parameter.param_type_name == "option":
            names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
        else:
            names = f"`{(parameter.metavar or parameter.name).upper()}`"
        shown = "required" if parameter.required else ""
        if parameter.default not in (None, (), [], ""):
            shown = _show_default(parameter.default)
        rows.append((names, shown, parameter.help or ""))
    return _table(("argument or option", "default", ""), rows)


def _show_default(default: Any) -> str:
    if default is inspect.Parameter.empty:
        return "required"
    if isinstance(default, dict) and default:
        name = next((default[key] for key in default if key[0] == "@"), "a section")
        return f"`{name}`"
    if isinstance(default, Path):
        default = default.as_posix()
    if default is None or isinstance(default, bool):
        return f"`{json.dumps(default)}`"
    return f"`{default!r}`".replace("'", '"')


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in rows:
        lines.append("| " + " | ".join(_ESCAPED.sub(r"\\\g<0>", cell) for cell in row) + " |")
    return "\n".join(lines)
