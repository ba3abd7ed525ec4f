import subprocess
import sys

import pytest


@pytest.fixture
def run_both(server, tmp_path):
    """Run a command by Python itself and by the server: status, output and errors of each."""

    def run(*arguments, stdin="", **environment):
        results = []
        for python in (sys.executable, "python"):
            result = subprocess.run(
                ["bash", "-c", 'exec "$@"', "bash", python, *arguments],
                cwd=tmp_path,
                env={**server, **environment},
                input=stdin,
                capture_output=True,
                encoding="utf8",
            )
            results.append((result.returncode, result.stdout, result.stderr.split("\n")[-2:]))
        return results

    return run


@pytest.mark.parametrize(
    "arguments",
    [
        ("-c", "import sys; print(sys.argv, __name__); sys.exit(3)", "a", "b c"),
        ("-c", "raise ValueError('wrong')"),
        ("-c", "import sys; sys.exit('a message')"),
        (
            "-c",
            "import os, sys; print(os.environ['COLOUR'], os.getcwd()); print(1, file=sys.stderr)",
        ),
        ("-c", "import spacy_lgu; print(spacy_lgu.__file__)"),
        ("-m", "json.tool", "--compact"),
        ("-", "a"),
        (),
        ("script.py", "--option"),
        ("--version",),
    ],
)
def test_commands_end_and_print_as_those_of_python(arguments, run_both, tmp_path):
    (tmp_path / "script.py").write_text("import sys, other\nprint(sys.argv, other.x, __name__)\n")
    (tmp_path / "other.py").write_text("x = 1\n")
    stdin = '{"a": [1, 2]}' if "-m" in arguments else "import sys; print(sys.argv, __name__)"
    expected, found = run_both(*arguments, stdin=stdin, COLOUR="blue")
    assert found == expected


def test_long_requests_and_pipes(server, tmp_path):
    command = 'python -c "import sys; print(len(sys.argv[1]))" "$LONG" | python -c "print(input())"'
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=tmp_path,
        env={**server, "LONG": "x" * 100_000},
        check=True,
        capture_output=True,
        encoding="utf8",
    )
    assert result.stdout == "100000\n"
