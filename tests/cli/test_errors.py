"""What is wrong with an input is one line of a command, and a traceback on request."""

import os
import subprocess
import sys
from configparser import InterpolationMissingOptionError
from pathlib import Path

import pytest
import spacy.cli
import typer
from click import NoSuchOption
from spacy.tokens import DocBin
from spacy.util import load_config_from_str
from typer.testing import CliRunner

from spacy_lgu.cli import app as lgu_app
from spacy_lgu.cli.errors import CommandGroup

from ..conftest import PASSING_PIPE
from .conftest import failure, run


def invoke(*args, app=spacy.cli.app, **options):
    return CliRunner().invoke(app, [str(arg) for arg in args], **options)


COMMANDS = {
    "adapt": (
        ["no.cfg", "out", "--text", "a.jsonl", "--valid", "a.jsonl"],
        "✘ [E053] Could not read config file from no.cfg",
    ),
    "calibrate": (
        ["no", "dev.spacy", "out"],
        "✘ [E050] Can't find model 'no'. It doesn't seem to be a Python package or a valid path to "
        "a data directory.",
    ),
    "convert": (["no.txt", "a.spacy"], "✘ There is no file or folder 'no.txt'."),
    "fetch": (
        ["."],
        "✘ The folder '.' has no config.json: expected a decoder as transformers' save_pretrained "
        "writes it.",
    ),
    "package": (
        ["no", "out", "--name", "x", "--no-build"],
        "✘ There is no saved pipeline in 'no': meta.json is missing. Give the folder of a "
        "pipeline, as nlp.to_disk or `spacy train` writes it.",
    ),
    "verify": (
        ["no"],
        "✘ There is no lgu_transformer in 'no'. Give the folder of a pipeline, as nlp.to_disk or "
        "`spacy train` writes it.",
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_is_wrong_in_one_line(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dev.spacy").touch()
    arguments, line = COMMANDS[command]
    result = invoke("lgu", command, *arguments)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == line
    assert result.stderr == ""
    for asked in (
        invoke("lgu", "--traceback", command, *arguments),
        invoke("lgu", command, *arguments, env={"SPACY_LGU_TRACEBACK": "1"}),
    ):
        assert str(asked.exception) == line.removeprefix("✘ ")
        assert line not in asked.stdout


def test_as_a_process(tmp_path):
    (tmp_path / "a.conll").write_text("a O\nb\n")
    convert = ["convert", "a.conll", "a.spacy", "--format", "conll"]

    def run(*args):
        command = [sys.executable, "-m", "spacy", "lgu", *args]
        env = {**os.environ, "PYTHONIOENCODING": "ascii"}
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)

    result = run(*convert)
    assert (result.returncode, result.stderr) == (1, "")
    assert result.stdout == (
        "[x] a.conll:2: expected 2 columns as in line 1, but found 1 in 'b'. Correct the line, "
        "give --comment if it is a comment, or remove it.\n"
    )
    result = run("--traceback", *convert)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("Traceback (most recent call last):\n")
    assert "\nValueError: a.conll:2: expected 2 columns" in result.stderr


def test_help_shows_the_traceback():
    printed = " ".join(invoke("lgu", "--help").stdout.split())
    assert "--traceback When a command fails" in printed
    assert "SPACY_LGU_TRACEBACK" in printed


@pytest.mark.parametrize("args", [["convert"], ["nix"], ["convert", "a", "b", "--seed", "x"]])
def test_errors_of_usage_have_their_own_status(args):
    assert invoke("lgu", *args).exit_code == 2


def fail_with(error: BaseException, *options):
    """The result of a command that raises."""
    app = typer.Typer(cls=CommandGroup)
    app.callback()(lgu_app.registered_callback.callback)

    @app.command("fail")
    def fail() -> None:
        raise error

    return invoke(*options, "fail", app=app)


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "printed"),
    [
        (ImportError("pip install 'spacy-lgu[package]'"), "✘ pip install 'spacy-lgu[package]'"),
        (OSError(28, "No space left", "out"), "✘ [Errno 28] No space left: 'out'"),
        (ValueError("x " * 100 + "y"), f"✘ {'x ' * 100}y"),
        (ValueError("\nfirst\n  second\n"), "✘ first\n  second"),
        (ValueError(), "✘ ValueError"),
        (ValueError("no text: \udc80.txt"), "✘ no text: \\udc80.txt"),
        (ValueError("a.cfg: \x1b[2Jx\n\tb\a"), "✘ a.cfg: \\x1b[2Jx\n        b\\x07"),
        (NoSuchOption("--nix"), "✘ No such option '--nix'."),
        (
            caused(ValueError("The corpus cannot be read."), ValueError("a.txt:3: no tag")),
            "✘ The corpus cannot be read.\nCause: a.txt:3: no tag",
        ),
        (
            caused(OSError("not loaded"), FileNotFoundError(2, "No such file", "a.json")),
            "✘ not loaded\nCause: [Errno 2] No such file: 'a.json'",
        ),
        (caused(ValueError("a.txt:3: no"), ValueError("invalid literal")), "✘ a.txt:3: no"),
        (
            InterpolationMissingOptionError("lang", "nlp", "${a.b}", "a.b"),
            "✘ Bad value substitution: option 'lang' in section 'nlp' contains an interpolation "
            "key 'a.b' which is not a valid option name. Raw value: '${a.b}'",
        ),
    ],
)
def test_messages_are_whole_and_not_wrapped(error, printed):
    result = fail_with(error)
    assert (result.exit_code, result.stdout) == (1, f"{printed}\n")


def test_errors_of_a_config_stay_readable():
    with pytest.raises(ValueError, match="no section headers") as error:
        load_config_from_str("[nlp\n")
    lines = fail_with(error.value).stdout.splitlines()
    assert lines[:2] == [
        "✘ Config validation error",
        "Make sure the sections and values are formatted correctly.",
    ]
    assert "File contains no section headers." in lines


@pytest.mark.parametrize("error", [TypeError("x"), KeyError("x"), RuntimeError("x")])
def test_other_errors_keep_their_traceback(error):
    result = fail_with(error)
    assert (result.exception, result.stdout) == (error, "")


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), 130), (typer.Exit(3), 3), (SystemExit(4), 4)]
)
def test_what_is_no_error_passes(error, status):
    result = fail_with(error)
    assert (result.exit_code, result.stdout) == (status, "")


def test_a_pipe_that_was_closed_is_told_by_nobody():
    result = fail_with(BrokenPipeError(32, "Broken pipe"))
    assert (result.exit_code, result.stdout) == (1, "")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("meta.json", "{"),
        ("meta.json", "[]"),
        ("config.cfg", "no config"),
        ("config.cfg", "[nlp]\n[nlp]\n"),
        ("config.cfg", '[nlp]\nlang = "\udcff"\n'),
    ],
)
@pytest.mark.parametrize("command", ["evaluate", "calibrate", "package"])
def test_damaged_file_of_a_pipeline_is_named(command, file, content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spacy.blank("en").to_disk("saved")
    Path("saved", file).write_bytes(content.encode("utf8", "surrogateescape"))
    Path("dev.spacy").touch()
    arguments = {
        "evaluate": ["saved", "dev.spacy"],
        "calibrate": ["saved", "dev.spacy", "out"],
        "package": ["saved", "out", "--name", "x", "--no-build"],
    }
    result = invoke("lgu", command, *arguments[command])
    assert result.exit_code == 1
    assert f"'saved/{file}'" in result.stdout


@pytest.mark.parametrize(
    "content", ["no config", "[nlp]\npipeline = ${a.b}\n", "[nlp]\n", '[nlp]\nlang = "\udcff"\n']
)
def test_broken_config_of_adapt_is_named(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.cfg").write_bytes(content.encode("utf8", "surrogateescape"))
    options = ["--text", "a.txt", "--valid", "a.txt", "--steps", "1"]
    result = invoke("lgu", "adapt", "a.cfg", "out", *options)
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (1, "In 'a.cfg'.")


@pytest.mark.parametrize("command", ["evaluate", "calibrate"])
def test_code_is_imported_before_a_pipeline_is_opened(tmp_path, command):
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "LOC", "pattern": "Rome"}])
    nlp.to_disk(tmp_path / "nlp")
    config = spacy.util.load_config(tmp_path / "nlp" / "config.cfg")
    config["nlp"]["pipeline"].append("own")
    config["components"]["own"] = {"factory": f"test_code_{command}"}
    config.to_disk(tmp_path / "nlp" / "config.cfg")
    (tmp_path / "parts.py").write_text(PASSING_PIPE.format(f"test_code_{command}"))
    doc = nlp("Rome")
    DocBin(docs=[doc]).to_disk(tmp_path / "dev.spacy")
    arguments = [tmp_path / "nlp", tmp_path / "dev.spacy"]
    if command == "calibrate":
        arguments.append(tmp_path / "out")
        told = failure("lgu", command, *arguments, "--code", tmp_path / "parts.py")
        assert "There is no sequence labeler" in told
    else:
        assert "100.00" in run("lgu", command, *arguments, "--code", tmp_path / "parts.py")
