"""An environment whose spacy-transformers cannot be imported, here one that was made to fail."""

import json

import pytest

from spacy_lgu.listeners import availability

from ..conftest import needs_stock
from ..hiding import run_python


@pytest.fixture
def broken(tmp_path):
    """A folder with a spacy-transformers as it looks beside transformers 5."""
    package = tmp_path / "spacy_transformers"
    package.mkdir()
    (package / "__init__.py").write_text("from transformers import BatchEncoding_of_old\n")
    metadata = tmp_path / "spacy_transformers-1.4.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Name: spacy-transformers\nVersion: 1.4.0\n")
    (metadata / "entry_points.txt").write_text(
        "[spacy_factories]\ntransformer = spacy_transformers.pipeline_component:make_transformer\n"
    )
    return tmp_path


def test_here():
    assert availability.find_fault() is None
    assert availability.uses_stock() == availability.is_installed()


@needs_stock
def test_installed():
    assert availability.is_installed()


def test_not_installed():
    code = "from spacy_lgu.listeners.availability import *; print(is_installed(), find_fault())"
    assert run_python(code, hide=True).stdout == "False None\n"


def test_installed_but_broken(broken):
    code = (
        "from spacy_lgu.listeners import availability as a; print(a.uses_stock(), a.find_fault())"
    )
    printed = run_python(code, path=broken).stdout
    assert printed.startswith(
        "False spacy-transformers 1.4.0 is installed, but cannot be imported with transformers "
    )
    assert "ImportError: cannot import name 'BatchEncoding_of_old'" in printed
    assert "pip uninstall spacy-transformers" in printed
    assert "transformers<4.53.3" in printed


def test_spacy_itself_fails_there_but_inspect_says_why(broken, saved):
    process = run_python("import spacy; spacy.blank('en')", path=broken)
    assert process.returncode == 1
    assert "BatchEncoding_of_old" in process.stderr
    command = ["spacy", "lgu", "inspect", str(saved[1]), "--json"]
    code = f"import sys; from spacy.cli import setup_cli; sys.argv = {command}; setup_cli()"
    process = run_python(code, path=broken)
    assert process.returncode == 0, process.stderr
    (note,) = (n for n in json.loads(process.stdout)["notes"] if "spacy-transformers" in n)
    assert note.startswith("It cannot run here: spacy-transformers 1.4.0 is installed, but cannot")
    assert "pip uninstall spacy-transformers" in note
