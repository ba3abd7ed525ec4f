"""What was run is known again: digests of the runs behind docs/results.md, from literal inputs."""

from pathlib import Path

import pytest

from spacy_lgu.study import runs
from spacy_lgu.study.plan import CONFIG, read_study
from spacy_lgu.study.results import read_results
from spacy_lgu.study.runs import (
    Decoder,
    digest_folder,
    digest_named,
    find_conditions,
    list_runs,
    make_job,
)

from ..benchmarks.conftest import ROOT

RESULTS = read_results(ROOT / "docs" / "results.jsonl.xz")
# Of corpora that are not in the repository: texts of train, and MD5 of train, dev and test.
CORPORA = {
    "conll2003": (
        14041,
        [
            "af65ef0c3021d36002de348dca04370f",
            "e3c8b7736a6c2748c6bcd1d33101366d",
            "d303d091bac0baff796707a86e81695a",
        ],
    ),
    "litbank-nested-found": (
        6829,
        [
            "9e430a66a82e9a38d0f087f4f77f4a28",
            "fd5711702b41303ca9a4f9a5f6655ab6",
            "2f5db958c953df6d213d587ad868cdd9",
        ],
    ),
}
IDENTITY = "fe9b91739087"  # of assets/decoder
DECODERS = {
    "decoder": Decoder("anywhere", IDENTITY),
    "untrained": Decoder("anywhere", f"untrained {IDENTITY}"),
    "twin": Decoder("anywhere", "bece60fc71e2"),
    "cnn": None,
}
SETTINGS = {
    ("conll2003", "decoder", "cccc"): "9126a355aa87",
    ("conll2003", "decoder", "cccb"): "b693504cbafa",
    ("conll2003", "decoder", "ccbb"): "a4f373c58602",
    ("conll2003", "decoder", "bbbb"): "089b704bd8a9",
    ("conll2003", "untrained", "cccc"): "7a3b8b911b7c",
    ("conll2003", "untrained", "bbbb"): "cf8fa7f7b8e8",
    ("conll2003", "twin", "bbbb"): "505213ce12d0",
    ("conll2003", "cnn", None): "977608ec6073",
    ("litbank-nested-found", "decoder", "ccbb"): "59998029178c",
}


@pytest.mark.parametrize(
    ("task", "conditions"),
    [("conll2003", "8a5fbf7e3737"), ("litbank-nested-found", "0d2ce2ef4655")],
)
def test_finished_runs_are_known_again(monkeypatch, task, conditions):
    n_texts, digests = CORPORA[task]
    digest_file = runs._digest_file
    monkeypatch.setattr(runs, "count_texts", lambda path, limit: n_texts)
    monkeypatch.setattr(
        runs,
        "_digest_file",
        lambda file: (
            digest_file(CONFIG)
            if file == CONFIG
            else digests[("train.spacy", "dev.spacy", "test.spacy").index(file.name)]
        ),
    )
    study = read_study(ROOT / "benchmarks" / "study.yml").choose(
        tasks=task, systems=",".join(DECODERS), decoders={"twin": "anywhere"}
    )
    found = {}
    for run in list_runs(study, 1):
        job = make_job(run, study, Path("moved"), DECODERS[run.system.name], 0)
        row = (task, run.system.name, run.pattern)
        if row in SETTINGS:
            found[row] = job.settings
            line = job.find_done(RESULTS)
            assert line is not None
            assert line["conditions"] == conditions
            assert find_conditions(study, job.corpus, job.overrides, 0) == conditions
    assert found == {row: settings for row, settings in SETTINGS.items() if row[0] == task}


def test_what_overrides_name_is_part_of_a_run(tmp_path):
    file, folder = tmp_path / "tok2vec.bin", tmp_path / "vectors"
    folder.mkdir()
    found = []
    for content in ("1", "2"):
        file.write_text(content)
        (folder / "key2row").write_text(content)
        found.append([digest_named(str(path)) for path in (file, folder)])
    assert all(first != second for first, second in zip(*found, strict=True))
    names = ["", "no/such", "a\0", 3, None, str(tmp_path / "none")]
    assert [digest_named(name) for name in names] == [None] * len(names)


def test_the_embedded_decoder_is_known_again():
    assert digest_folder(ROOT / "assets" / "decoder") == IDENTITY
