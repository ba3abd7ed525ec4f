import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import check_text


@pytest.mark.parametrize("text", ["", "a\n", "a\n\nb\n"])
def test_texts_without_a_fault(text):
    assert check_text.find_faults(text) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a \nb\n", "1: white space at the end"),
        ("a\nb", "2: expected one newline at the end of the file"),
        ("a\n\n", "3: expected one newline at the end of the file"),
    ],
)
def test_texts_with_one(text, fault):
    assert check_text.find_faults(text) == [fault]


def test_files_with_faults_are_named(tmp_path, capsys):
    path = tmp_path / "a.txt"
    path.write_text("a")
    assert check_text.main([str(path)]) == 1
    assert capsys.readouterr().out.startswith(f"{path}:1: expected one newline")
