"""Benchmarks that no other test runs must find what they import, wherever it has moved to."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [*sorted((ROOT / "benchmarks").glob("*.py")), *sorted((ROOT / "scripts").glob("*.py"))]
OURS = ("spacy_lgu", "benchmarks", "tests")


def is_there(module, name):
    if hasattr(import_module(module), name):
        return True
    return (ROOT / module.replace(".", "/") / f"{name}.py").is_file()


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_what_is_imported_is_there(path):
    missing = [
        f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(path.read_text("utf8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in OURS
        for alias in node.names
        if not is_there(node.module, alias.name)
    ]
    assert missing == []
