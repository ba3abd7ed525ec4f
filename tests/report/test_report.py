"""The report: literal results in, a literal table out."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from spacy_lgu.report.markdown import write_report
from spacy_lgu.report.rows import compare_rows, find_rows
from spacy_lgu.study.plan import Study, System, Task, Training

PLAN = Path("my/study.yml")
MACHINE = {
    "cpu": "Some CPU", "cores": 2, "threads": 1, "gib": 8, "gpu": None,
    "torch": "2.13.0", "spacy": "3.8.18", "spacy-transformers": "1.4.0", "transformers": "4.53.2",
}  # fmt: skip
FILES = {"train": "a", "dev": "b", "test": "c"}
STUDY = Study(
    Training(),
    {"tiny": "assets/decoder", "twin": None},
    {
        "names": Task("names", "Names", "ner", FILES, epochs=1),
        "own": Task("own", "Own", "ner", FILES, epochs=1),
    },
    {
        "decoder": System(
            "decoder", "decoder", "decoder", decoder="tiny", patterns=["cccc", "ccbb"]
        ),
        "twin": System("twin", "encoder twin", "decoder", decoder="twin", patterns=["bbbb"]),
        "cnn": System("cnn", "CNN", "cnn"),
    },
)
DECODER = {"name": "assets/decoder", "identity": "0123456789ab", "bits_per_byte": 1.8526}


def make_line(system, pattern, seed, n_correct, **changes):
    """A run on two texts with 5 gold spans each, of which as many are found as predicted."""
    documents = [[n_correct, 5, 5], [3, 5, 5]]
    correct = n_correct + 3
    return {
        "task": "names", "system": system, "pattern": pattern, "seed": seed, "limit": 0,
        "settings": "s1", "conditions": "c1", "steps": 100, "batch": 16, "threshold": None,
        "f1": 10.0 * correct, "precision": 10.0 * correct, "recall": 10.0 * correct,
        "labels": {"PER": [n_correct, 5, 5], "LOC": [3, 5, 5]},
        "documents": documents,
        "tokens_per_second": 12345.6, "train_minutes": 1.5 + seed, "checkpoint_bytes": 9_500_000,
        "decoder": DECODER if system == "decoder" else None, "commit": "abc", "machine": MACHINE,
        **changes,
    }  # fmt: skip


RESULTS = [
    make_line("decoder", "cccc", 0, 1),
    make_line("decoder", "cccc", 1, 2),
    make_line("decoder", "ccbb", 0, 4),
    make_line("decoder", "ccbb", 1, 4),
    make_line("cnn", None, 0, 5, tokens_per_second=99.0),
]

# t = 25 / (7.07 / sqrt 2) = 5 with 1 degree of freedom. A sample of the bootstrap gains 50 points,
# twice the observed difference, if it draws the first text twice: every fourth one.
EXPECTED = """\
## Overview

F1, mean over seeds. \\* better than the causal pattern of the same system with the same seeds, p (b) < 0.05.

| system | pattern | `names` |
|---|---|---:|
| decoder | cccc | 45.0 |
| decoder | ccbb | 70.0 |
| CNN |  | 80.0 |

![Differences in F1 to the causal decoder](results-differences.svg)

## Names

`names`: head `ner`, 100 steps of 16 texts, 2 test texts.

![F1 by system and pattern](results-names.svg)

| system | pattern | F1 | stdev | seeds | p (t) | p (b) | difference, 95 % | minutes | tokens/s | MB |
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
| decoder | cccc | 45.00 | 7.07 | 2 |  |  |  | 2.0 | 12,346 | 9.5 |
| decoder | ccbb | 70.00 | 0.00 | 2 | 0.063 | 0.251 | +25.00 [+0.00, +50.00] | 2.0 | 12,346 | 9.5 |
| CNN |  | 80.00 |  | 1 |  |  |  | 1.5 | 99 | 9.5 |

Not run: encoder twin (bbbb).

| F1 by label | pattern | LOC | PER |
|---|---|---:|---:|
| *gold spans* |  | *5* | *5* |
| decoder | cccc | 60.0 | 30.0 |
| decoder | ccbb | 60.0 | 80.0 |
| CNN |  | 60.0 | 100.0 |

## Not run

own

## Runs

5 runs, 0.2 hours of training.

- Commits: abc
- Machine: Some CPU, 2 cores, 8 GiB, threads of a run: 1; torch 2.13.0, spacy 3.8.18, \
spacy-transformers 1.4.0, transformers 4.53.2
- Decoder: `tiny` (0123456789ab), 1.853 bits per byte
"""  # noqa: E501


def test_report_says_what_the_results_say(tmp_path):
    write_report(STUDY, RESULTS, tmp_path / "results.md", source=PLAN)
    text = (tmp_path / "results.md").read_text()
    assert "What is compared is described in `my/study.yml`." in text
    assert text[text.index("## Overview") :] == EXPECTED
    pictures = sorted(file.name for file in tmp_path.glob("*.svg"))
    assert pictures == ["results-differences.svg", "results-names.svg"]


def test_a_study_may_say_what_it_is_about(tmp_path):
    study = replace(STUDY, title="Names", about="Of a small decoder.\n\nIn two lines.\n")
    write_report(study, RESULTS, tmp_path / "results.md", source=PLAN)
    text = (tmp_path / "results.md").read_text()
    assert text.startswith("# Names\n\nOf a small decoder.\n\nIn two lines.\n\nWritten by `python")


def test_names_of_any_kind_stay_in_their_cells(tmp_path):
    systems = {"cnn": System("cnn", "C|NN", "cnn"), "same": System("same", "C|NN", "cnn")}
    lines = [
        make_line("cnn", None, 0, 1, labels={"A|B": [1, 5, 5]}),
        make_line("same", None, 0, 5, labels={"A|B": [5, 5, 5]}),
    ]
    write_report(replace(STUDY, systems=systems), lines, tmp_path / "results.md", source=PLAN)
    text = (tmp_path / "results.md").read_text()
    assert "| F1 by label | pattern | A\\|B |" in text
    assert text.count("| C\\|NN |  |") == 6
    # Two bars of one name are two bars.
    picture = (tmp_path / "results-names.svg").read_text()
    assert picture.count("<!-- C|NN -->") == 2


def test_thresholds_are_told(tmp_path):
    lines = [make_line("cnn", None, seed, 1, threshold=0.1 + 0.25 * seed) for seed in (0, 1)]
    write_report(STUDY, lines, tmp_path / "results.md", source=PLAN)
    text = (tmp_path / "results.md").read_text()
    assert "2 test texts. Threshold of each run chosen on dev: 0.10 to 0.35.\n" in text
    write_report(STUDY, lines[:1], tmp_path / "results.md", source=PLAN)
    assert "on dev: 0.10.\n" in (tmp_path / "results.md").read_text()


def test_overview_marks_what_is_surely_better(tmp_path):
    # 10 texts, of each of which one finds 4 and the other 1 of 5 spans: no sample says otherwise.
    lines = [
        make_line("decoder", pattern, 0, 1, f1=f1, documents=[[n_correct, 5, 5]] * 10)
        for pattern, n_correct, f1 in (("cccc", 1, 20.0), ("ccbb", 4, 80.0))
    ]
    lines.append(make_line("cnn", None, 0, 5, task="own"))
    write_report(STUDY, lines, tmp_path / "results.md", source=PLAN)
    text = (tmp_path / "results.md").read_text()
    assert "| system | pattern | `names` | `own` |\n" in text
    assert (
        "| decoder | cccc | 20.0 |  |\n| decoder | ccbb | 80.0\\* |  |\n| CNN |  |  | 80.0 |\n"
        in text
    )


@pytest.mark.parametrize("causal", ["c", "cccc", "cccccccc", "0000"])
def test_the_causal_pattern_may_have_any_number_of_groups(causal):
    lines = [make_line("decoder", causal, 0, 1), make_line("decoder", "cb", 0, 4)]
    compared = compare_rows(find_rows(STUDY, "names", lines))
    assert list(compared) == [("decoder", "cb")]
    assert compared["decoder", "cb"].bootstrap.difference > 0


def test_overview_is_in_the_order_of_the_study(tmp_path):
    lines = [
        make_line("cnn", None, 0, 1),
        make_line("decoder", "ccbb", 0, 1),
        make_line("decoder", "cccc", 0, 1, task="own"),
        make_line("decoder", "bbbb", 0, 1, task="own"),
    ]
    write_report(STUDY, lines, tmp_path / "results.md", source=PLAN)
    table = (tmp_path / "results.md").read_text().split("## ")[1]
    rows = [line.split(" | ")[:2] for line in table.splitlines() if line.startswith("| ")]
    assert rows[1:] == [
        ["| decoder", "cccc"], ["| decoder", "ccbb"], ["| decoder", "bbbb"], ["| CNN", ""]
    ]  # fmt: skip


def test_same_results_give_the_same_bytes_in_any_order(tmp_path):
    for name, lines in (("a", RESULTS), ("b", RESULTS[::-1])):
        (tmp_path / name).mkdir()
        write_report(STUDY, lines, tmp_path / name / "results.md", source=PLAN)
    for file in ("results.md", "results-names.svg", "results-differences.svg"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_latest_settings_and_latest_runs_count():
    old = make_line("cnn", None, 0, 0, settings="s0")
    repeated = make_line("cnn", None, 0, 2)
    rows = find_rows(STUDY, "names", [old, *RESULTS, repeated])
    assert rows["cnn", None] == [repeated]
    assert [run["seed"] for run in rows["decoder", "ccbb"]] == [0, 1]
    assert rows["twin", "bbbb"] == []


def test_patterns_beyond_the_study_are_shown():
    rows = find_rows(STUDY, "names", [make_line("decoder", "bccc", 0, 1)])
    assert list(rows)[:3] == [("decoder", "cccc"), ("decoder", "ccbb"), ("decoder", "bccc")]


def test_limited_runs_are_kept_apart_and_marked(tmp_path):
    lines = [*RESULTS, make_line("cnn", None, 0, 0, limit=100)]
    write_report(STUDY, lines, tmp_path / "results.md", source=PLAN, limit=100)
    text = (tmp_path / "results.md").read_text()
    assert "only the first 100 texts: not comparable to anything" in text
    assert "| CNN |  | 30.00 |" in text
    assert "Not run: decoder (cccc, ccbb); encoder twin (bbbb).\n" in text


def test_decoders_without_a_score_and_code_without_a_commit(tmp_path):
    decoder = {**DECODER, "bits_per_byte": None}
    machine = {**MACHINE, "gpu": "Some GPU"}
    line = make_line("decoder", "cccc", 0, 1, decoder=decoder, machine=machine, commit=None)
    write_report(STUDY, [line], tmp_path / "results.md", source=PLAN)
    text = (tmp_path / "results.md").read_text()
    assert "(0123456789ab), bits per byte not known" in text
    assert "threads of a run: 1, Some GPU; torch" in text
    assert "Commits: unknown" in text


def test_report_needs_results_of_the_study(tmp_path):
    with pytest.raises(ValueError, match="None of the 5 results belongs to a task of the study"):
        write_report(STUDY, RESULTS, tmp_path / "results.md", source=PLAN, limit=7)
    other = replace(STUDY, tasks={"own": STUDY.tasks["own"]})
    with pytest.raises(ValueError, match="study with the limit 0"):
        write_report(other, RESULTS, tmp_path / "results.md", source=PLAN)


def test_report_names_the_extra_if_matplotlib_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("spacy_lgu.report.pictures.find_spec", {}.get)
    with pytest.raises(ImportError, match=r"pip install 'spacy-lgu\[study\]'"):
        write_report(STUDY, RESULTS, tmp_path / "results.md", source=PLAN)


def test_runs_under_other_conditions_are_left_out_and_counted(tmp_path):
    other = {"settings": "s2", "conditions": "c2", "steps": 7, "batch": 32}
    lines = [
        make_line("decoder", "cccc", 0, 1),
        make_line("decoder", "ccbb", 0, 5),
        make_line("cnn", None, 0, 2, **other),
    ]
    write_report(STUDY, lines, tmp_path / "results.md", source=PLAN)
    text = (tmp_path / "results.md").read_text()
    assert "7 steps of 32 texts" in text
    assert "| CNN |  | 50.00 |" in text
    assert "Not run: decoder (cccc, ccbb); encoder twin (bbbb).\n" in text
    assert "another corpus, batches or steps: 2 earlier runs.\n" in text
    assert "results-differences.svg" not in text
