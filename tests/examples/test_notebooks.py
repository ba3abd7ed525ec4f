"""The notebooks in examples/ run from the first cell to the last, with fewer steps of training."""

import re
import shutil

import pytest

from scripts.run_notebooks import ROOT, run_notebook

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def test_there_are_notebooks():
    assert [path.stem for path in NOTEBOOKS] == ["train_an_entity_recognizer", "use_probabilities"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_runs(path, tmp_path):
    folder = tmp_path / "examples"
    folder.mkdir()
    shutil.copy(path, folder)
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    notebook = run_notebook(folder / path.name, STEPS=6)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_shows_what_it_says(path):
    """The outputs that are kept: no errors, no paths of a machine, and pictures where expected."""
    text = path.read_text("utf8")
    assert '"output_type": "error"' not in text
    assert not re.search(r"/(home|root|work|Users)/", text)
    assert "Saved pipeline to output directory" in text
