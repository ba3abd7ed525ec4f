"""The table of families: what it says of the installed version is what the check says."""

import json

import pytest

from scripts.list_families import DATA, DOCS, PAGE, judge, judge_apart, merge, write_page
from spacy_lgu.decoder.refusals import REFUSED
from spacy_lgu.decoder.versions import TRANSFORMERS
from tests.conftest import IS_5

FOUND = json.loads((DOCS / DATA).read_text("utf8"))
COLUMN = FOUND[next(version for version in FOUND if version[0] == TRANSFORMERS[0])]
# One family in five, which takes some seconds, and those that are known best.
SAMPLE = sorted({*sorted(COLUMN)[::5], "gemma2", "gpt2", "llama", "mamba", "t5"} & COLUMN.keys())


# Configs warn about values that they do not have to begin with.
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("family", SAMPLE)
def test_the_table_says_what_the_check_says(family):
    assert judge(family) == COLUMN[family]


def test_both_versions_are_in_the_table():
    assert [version.partition(".")[0] for version in FOUND] == ["4", "5"]
    n_accepted = [sum(r == "accepted" for r in judged.values()) for judged in FOUND.values()]
    assert [len(judged) for judged in FOUND.values()] == [118, 196]
    assert n_accepted[0] >= 25
    assert n_accepted[1] >= 90


def test_the_page_is_made_from_the_data():
    assert (DOCS / PAGE).read_text("utf8") == write_page(FOUND)


def test_one_version_takes_the_place_of_its_own_major_version():
    old = {"4.53.2": {"a": "accepted"}, "5.24.0": {"a": "why"}}
    assert merge(old, "5.25.0", {"a": "accepted"}) == {
        "4.53.2": {"a": "accepted"},
        "5.25.0": {"a": "accepted"},
    }
    assert list(merge({"5.24.0": {}}, "4.53.2", {})) == ["4.53.2", "5.24.0"]


def test_a_page():
    page = write_page(
        {"4.53.2": {"llama": "accepted"}, "5.24.0": {"llama": "accepted", "x": "why"}}
    )
    assert "| 4.53.2 | 1 | 1 | 1 |\n| 5.24.0 | 2 | 1 | 1 |\n" in page
    assert "| `llama` | **tested** | **tested** |\n| `x` | not there | why |\n" in page


def test_reasons_without_details(monkeypatch):
    monkeypatch.delitem(REFUSED, "llama4_text")
    assert judge("llama4_text") == "causal packed attention differs from the family's own attention"
    reason = "a tiny decoder of it does not run on packed batches"
    if not IS_5:
        reason = "its model file computes attention itself instead of through transformers' "
        reason += "attention interface"
    assert judge("dbrx") == reason


def test_a_process_of_its_own(monkeypatch):
    assert judge_apart("mamba") == "it has state-space layers, which have no causal mask to remove"
    monkeypatch.setattr("scripts.list_families.TIME_LIMIT", 0)
    assert judge_apart("llama") == "its check takes longer than 0 seconds"
