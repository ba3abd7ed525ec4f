"""Run the blocks of one page in order: python -m tests.docs.running README.md, in its folder."""

import io
import json
import re
import subprocess
import sys
import time
import tomllib
import traceback
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import srsly
import typer

from .blocks import ROOT, Block, read_blocks
from .commands import check_commands, check_imports, rewrite_bash, rewrite_python
from .configs import BASE, check_complete, check_config

_COLORS = re.compile(r"\x1b\[[0-9;]*m")


class BlockError(Exception):
    """A block that does not do what its page says."""


def run_page(page: str, text: str) -> None:
    """Run, check and write the blocks of a page.

    page (str): Its path from the repository's root.
    text (str): The page. Raises BlockError with page, line and what was printed; prints how long
        each block took.
    """
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed = ""
    for block in read_blocks(text, page):
        start = time.perf_counter()
        try:
            if block.title:
                Path(block.title).parent.mkdir(parents=True, exist_ok=True)
                Path(block.title).write_text(block.text, encoding="utf8")
            if block.not_run:
                check_unrun(block)
            elif block.fate == "run":
                printed = run_block(block, namespace)
            elif block.fate == "checked":
                check_block(block, printed)
        except (Exception, SystemExit) as error:
            lines = [f"{block.place}: this block fails", block.text]
            if not isinstance(error, BlockError):
                lines.append(traceback.format_exc())
            raise BlockError("\n".join([*lines, str(error)])) from error
        typer.echo(f"{time.perf_counter() - start:6.1f} s  {block.fate:<8}{block.place}")


def run_block(block: Block, namespace: dict[str, Any]) -> str:
    """Run Python in the namespace of the page, or commands in bash.

    RETURNS (str): What was printed. Raises BlockError if a command fails.
    """
    if block.language == "python":
        # The lines before it are left out, so that messages name the page's own lines.
        source = "\n" * (block.line - 1) + rewrite_python(block.text)
        stream = io.StringIO()
        with redirect_stdout(stream), redirect_stderr(stream):
            exec(compile(source, str(ROOT / block.page), "exec"), namespace)
        return stream.getvalue()
    commands = rewrite_bash(block.text, block.tests)
    result = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", commands],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        encoding="utf8",
    )
    if result.returncode:
        raise BlockError(f"It ends with {result.returncode}, after:\n{commands}{result.stdout}")
    return result.stdout


def check_block(block: Block, printed: str) -> None:
    """Check a block that is shown and not run.

    printed (str): By the block that was run last. Raises what the parser of its language raises.
    """
    match block.language:
        case "output":
            check_output(block.text, printed)
        case "ini":
            options = [test for test in block.tests if test != "complete"]
            bases = [test.removeprefix("with ") for test in options]
            check_config(block.text, *(bases or [BASE]))
            if "complete" in block.tests:
                check_complete(block.text)
        case "python":
            compile(block.text, block.place, "exec")
        case "json":
            json.loads(block.text)
        case "jsonl":
            for line in filter(str.strip, block.text.splitlines()):
                json.loads(line)
        case "yaml":
            srsly.yaml_loads(block.text)
        case "toml":
            tomllib.loads(block.text)
        case "xml":
            ElementTree.fromstring(block.text)


def check_unrun(block: Block) -> None:
    """Check what can be without running it: options of commands, imports of Python."""
    if block.language == "bash":
        check_commands(block.text)
    elif block.language == "python":
        check_imports(block.text)
    elif block.language != "output":
        check_block(block, "")


def check_output(expected: str, printed: str) -> None:
    """Compare what a page shows with what was printed.

    expected (str): Lines that occur in this order; ... stands for anything in a line, and a line
        ... for any lines. White space is compared as one space.
    printed (str): Raises BlockError naming the first line that is not there.
    """
    lines = [" ".join(line.split()) for line in _COLORS.sub("", printed).splitlines()]
    position = 0
    for line in expected.splitlines():
        wanted = " ".join(line.split())
        if wanted in ("", "..."):
            continue
        pattern = re.compile(".*".join(map(re.escape, wanted.split("..."))))
        while position < len(lines) and not pattern.fullmatch(lines[position]):
            position += 1
        if position == len(lines):
            raise BlockError(f"This line is not in what was printed:\n{line}\nPrinted:\n{printed}")
        position += 1


if __name__ == "__main__":
    try:
        run_page(sys.argv[1], (ROOT / sys.argv[1]).read_text("utf8"))
    except BlockError as error:
        sys.exit(str(error))
