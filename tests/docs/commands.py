"""What the tests change in the pages' commands, and how they check those that they do not run."""

import ast
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import srsly
import typer
from spacy.cli import app as spacy_app
from spacy.util import load_config, registry

from .blocks import ROOT

SHORT_TRAINING = {"training.max_steps": 2, "training.eval_frequency": 2}
_TRAINING = " ".join(f"--{name} {value}" for name, value in SHORT_TRAINING.items())

# All that is changed: what a command says, what it says in the tests, and why. Further arguments
# stand in the pages, in a mark `test:` above a block.
REWRITES = [
    (r"(--gpu-id|-g)([ =])\d+", r"\1\2-1", "there is no GPU"),
    (r"(optimizer\.paged_8bit) true", r"\1 false", "there is no GPU"),
    (r"spacy\.require_gpu\(\d*\)", "spacy.require_cpu()", "there is no GPU"),
    (r"(lgu adapt .*?)--minutes [\d.]+", r"\1", "two steps will do"),
]
# Added at the end of commands, so that it counts.
ADDITIONS = [
    (r"python -m spacy train .*", _TRAINING, "a few steps will do"),
    (
        r"python -m spacy lgu adapt .*",
        "--steps 2 --batch-size 256 --window 64",
        "two small steps will do",
    ),
    (r"python -m spacy project run .*", "--dry --force", "the commands have pages of their own"),
]
# Constants of modules, as the server has them in which the commands run.
CONSTANTS = [
    (
        "spacy_lgu.pretraining.adaptation",
        "_VALIDATION_SUBTOKENS",
        256,
        "65,536 subtokens to validate on take minutes",
    ),
]
# Programs that need not be on a machine that tests, and words of the shell.
_ELSEWHERE = ("cd", "export", "source", ".", "git", "nvidia-smi", "pre-commit", "docker")
# That of click, or of the copy of click in typer.
_UsageError = typer.BadParameter.__mro__[1]
_UNQUOTED_END = re.compile(r"""((?:[^'"|>;&#]|'[^']*'|"[^"]*"|(?<=\S)\#)*)(.*)""", re.DOTALL)


def rewrite_python(text: str) -> str:
    """RETURNS (str): Python as the tests run it."""
    for pattern, replacement, _ in REWRITES:
        text = re.sub(pattern, replacement, text)
    return text


def rewrite_bash(text: str, additions: Sequence[str] = ()) -> str:
    """Commands as the tests run them.

    text (str): Lines of a block.
    additions (Sequence[str]): What marks above the block add to each command.
    RETURNS (str): The lines, each command on one.
    """
    return "".join(f"{_rewrite_line(line, additions)}\n" for line in join_lines(text))


def join_lines(text: str) -> list[str]:
    """RETURNS (list[str]): The lines, those that end with a backslash joined with the next."""
    return re.sub(r"\\\n\s*", "", text).splitlines()


def _rewrite_line(line: str, additions: Sequence[str]) -> str:
    if not line.strip() or line.lstrip().startswith("#"):
        return line
    line = rewrite_python(line)
    matched = _UNQUOTED_END.fullmatch(line)
    command, rest = matched[1].rstrip(), matched[2]
    own = [addition for pattern, addition, _ in ADDITIONS if re.match(pattern, command)]
    return " ".join([command, *own, *additions, rest]).rstrip()


def check_commands(text: str) -> None:
    """Check commands without running them: programs, files, options and overrides.

    text (str): Lines of a block. Raises ValueError naming the command that is wrong.
    """
    for words in split_commands("\n".join(join_lines(text))):
        try:
            _check_command(words)
        except (ValueError, _UsageError) as error:
            message = getattr(error, "message", None) or str(error)
            raise ValueError(f"{shlex.join(words)}: {message}") from error


def split_commands(text: str) -> Iterator[list[str]]:
    """RETURNS (Iterator[list[str]]): The words of each command, without redirections."""
    for line in text.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        is_target = False
        for word in lexer:
            if is_target:
                is_target = False
            elif set(word) <= set("<>"):
                is_target = True
            elif set(word) <= set("|&;()"):
                yield from filter(None, [words])
                words = []
            elif words or not re.fullmatch(r"\w+=.*", word):
                words.append(word)
        yield from filter(None, [words])


def _check_command(words: list[str]) -> None:
    program, *arguments = words
    if program == "python" and arguments[:2] == ["-m", "spacy"]:
        check_spacy(arguments[2:])
    elif program == "python" and arguments[0] == "-m":
        name = f"{arguments[1].replace('.', '/')}.py"
        if (ROOT / name).is_file():
            _check_script(name, *arguments[2:])
        elif arguments[1] != "pip" and find_spec(arguments[1]) is None:
            raise ValueError(f"there is no module {arguments[1]!r}")
    elif program == "python":
        if arguments[0].endswith(".py"):
            _check_script(*arguments, own_folder=True)
    elif program == "pip":
        _check_extras(arguments)
    elif program == "make":
        _check_targets(arguments)
    elif program not in _ELSEWHERE and shutil.which(program) is None:
        raise ValueError(f"there is no program {program!r}")


def _check_script(name: str, *arguments: str, own_folder: bool = False) -> None:
    """The script must be in the repository, name every option, and find what it imports."""
    text = (ROOT / name).read_text("utf8") if (ROOT / name).is_file() else ""
    for module in check_imports(text):
        if own_folder and module.split(".")[0] in ("benchmarks", "tests"):
            raise ValueError(f"{name} imports {module}: run it by python -m")
    for option in [argument.split("=")[0] for argument in arguments if argument[:2] == "--"]:
        name_in_python = option.removeprefix("--").replace("-", "_")
        if option not in text and not re.search(rf"\b{name_in_python}\b", text):
            raise ValueError(f"{name} has no option {option}")
    if not text:
        raise ValueError(f"there is no {name}")


def check_imports(text: str) -> list[str]:
    """Check that this project has what a text of Python imports from it.

    text (str): Python.
    RETURNS (list[str]): The modules of `from ... import`. Raises ValueError or ImportError for what
        is not there.
    """
    found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    for node in found:
        if (node.module or "").split(".")[0] in ("spacy_lgu", "benchmarks", "scripts"):
            module = import_module(node.module)
            for name in node.names:
                if not hasattr(module, name.name):
                    raise ValueError(f"{node.module} has no {name.name}")
    return [node.module or "" for node in found]


def _check_extras(arguments: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
    for argument in arguments:
        for extras in re.findall(r"^(?:\.|spacy-lgu)\[([\w,-]+)\]$", argument):
            for extra in extras.split(","):
                if extra not in project["optional-dependencies"]:
                    raise ValueError(f"there is no extra {extra!r} in pyproject.toml")


def _check_targets(arguments: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text("utf8")
    for target in arguments:
        if "=" not in target and not re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE):
            raise ValueError(f"there is no target {target!r} in the Makefile")


@cache
def _spacy_command() -> Any:
    registry.cli.get_all()
    return typer.main.get_command(spacy_app)


def check_spacy(arguments: list[str]) -> None:
    """Parse what follows `python -m spacy` by the command's own parser.

    arguments (list[str]): Raises a UsageError or ValueError for a command, an option, a missing
        argument, a number or an override of a config that cannot be.
    """
    command = _spacy_command()
    while hasattr(command, "commands"):
        name, *arguments = arguments or [""]
        if name not in command.commands:
            raise ValueError(f"there is no command {name!r} among {sorted(command.commands)}")
        command = command.commands[name]
    if "--help" in arguments:
        return
    try:
        context = command.make_context(name, list(arguments))
    except _UsageError as error:
        if "does not exist" in str(error):  # files need not be there
            return
        raise
    overrides = [word[2:].split("=")[0] for word in context.args if word.startswith("--")]
    if "subcommand" in context.params:
        _check_project(context.params["subcommand"], overrides)
    elif overrides:
        _check_overrides(str(context.params.get("config_path")), overrides)


def _check_overrides(config: str, overrides: list[str]) -> None:
    if not (ROOT / config).is_file():
        return
    loaded = load_config(ROOT / config, interpolate=False)
    for override in overrides:
        section = loaded
        for key in override.split("."):
            if not isinstance(section, dict) or key not in section:
                raise ValueError(f"{config} has no {override!r}")
            section = section[key]


def _check_project(subcommand: str, overrides: list[str]) -> None:
    project = srsly.read_yaml(ROOT / "project.yml")
    names = [*project["workflows"], *(command["name"] for command in project["commands"])]
    if subcommand not in names:
        raise ValueError(f"project.yml has no workflow or command {subcommand!r}")
    for override in overrides:
        if override.removeprefix("vars.") not in project["vars"]:
            raise ValueError(f"project.yml has no {override!r}")
