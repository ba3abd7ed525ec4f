"""What the package does to logging when it is imported."""

import subprocess
import sys

SCRIPT = """
import logging, sys
{before}
import spacy_lgu
logging.getLogger("spacy_lgu").info("layers")
"""


def log(before: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(before=before)],
        check=True, capture_output=True, text=True,
    ).stderr  # fmt: skip


def test_by_default_what_is_trained_is_seen():
    assert log("").count("layers") == 1
    assert "[INFO] layers" in log("")


def test_a_level_set_before_stays():
    assert log('logging.getLogger("spacy_lgu").setLevel("ERROR")') == ""


def test_nothing_is_printed_twice():
    assert log("logging.basicConfig(level='INFO')") == "INFO:spacy_lgu:layers\n"
