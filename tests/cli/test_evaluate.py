"""`python -m spacy lgu evaluate`: a table in the look of `spacy evaluate`, and figures as JSON."""

import json
import re

import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example

from spacy_lgu.metrics.evaluation import copy_tokens

from .conftest import failure, run


def evaluate(*arguments):
    return run("lgu", "evaluate", *arguments)


@pytest.fixture
def pipeline(tmp_path):
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "LOC", "pattern": "Rome"}])
    nlp.to_disk(tmp_path / "nlp")
    return tmp_path / "nlp"


@pytest.fixture
def data(tmp_path):
    docs = []
    # "don't" would become two tokens if it were tokenized again.
    for words in (["I", "don't", "see", "Rome"], ["Rome", "Rome"]):
        doc = Doc(spacy.blank("en").vocab, words=words)
        doc.ents = [Span(doc, len(words) - 1, len(words), label="LOC")]
        docs.append(doc)
    DocBin(docs=docs).to_disk(tmp_path / "test.spacy")
    return tmp_path / "test.spacy"


def test_scores_on_the_tokens_of_the_file(tmp_path, pipeline, data):
    printed = evaluate(pipeline, data, "--output", tmp_path / "scores.json")
    rows = [line.split() for line in printed.splitlines()]
    assert ["NER", "F", "80.00"] in rows
    assert ["P", "R", "F", "correct", "predicted", "gold"] in rows
    assert ["LOC", "66.67", "100.00", "80.00", "2", "3", "2"] in rows
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["documents"] == [[1, 1, 1], [1, 2, 1]]
    assert scores["labels"] == {"LOC": [2, 3, 2]}
    assert scores["f1"] == pytest.approx(80.0)
    assert scores["tokens_per_second"] > 0
    assert scores["threshold"] is None


def test_limit(tmp_path, pipeline, data):
    evaluate(pipeline, data, "--output", tmp_path / "scores.json", "--limit", 1)
    assert json.loads((tmp_path / "scores.json").read_text())["documents"] == [[1, 1, 1]]


def test_output_that_is_a_folder_is_refused_before_anything_is_scored(tmp_path, pipeline, data):
    printed = failure("lgu", "evaluate", pipeline, data, "--output", tmp_path)
    assert "is a folder: expected a file to write" in printed
    assert "Results" not in printed


def test_labels_do_not_reach_the_terminal_as_commands(tmp_path, pipeline):
    doc = Doc(spacy.blank("en").vocab, words=["Rome"])
    doc.ents = [Span(doc, 0, 1, label="Ö\x1b[2J")]
    DocBin(docs=[doc]).to_disk(tmp_path / "test.spacy")
    assert r"Ö\x1b[2J" in evaluate(pipeline, tmp_path / "test.spacy")


def test_the_threshold_is_chosen_on_other_data(tmp_path, pipeline):
    nlp = spacy.blank("en")
    nlp.add_pipe("spancat")
    doc = nlp.make_doc("Ann saw Rome")
    doc.spans["sc"] = [Span(doc, 0, 1, label="PER")]
    nlp.initialize(lambda: [Example(copy_tokens(doc), doc)])
    nlp.to_disk(tmp_path / "spancat")
    DocBin(docs=[doc]).to_disk(tmp_path / "dev.spacy")
    dev = tmp_path / "dev.spacy"
    printed = evaluate(
        tmp_path / "spancat", dev, "--spans-key", "sc", "--threshold-from", dev,
        "--output", tmp_path / "scores.json",
    )  # fmt: skip
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert 0.05 <= scores["threshold"] <= 0.95
    assert f"THRESHOLD   {scores['threshold']:.2f}" in printed
    assert "SPAN (per type)" in printed
    told = failure("lgu", "evaluate", pipeline, dev, "--threshold-from", dev)
    assert "✘ --threshold-from is for span categorizers" in told


def test_data_that_is_not_there(pipeline, tmp_path):
    told = failure("lgu", "evaluate", pipeline, tmp_path / "none.spacy")
    assert re.search(r"✘ There is no data at '.*none\.spacy'", told)


def test_scores_by_length(tmp_path, pipeline, data):
    output = tmp_path / "scores.json"
    printed = evaluate(
        pipeline, data, "--by-length", "--lengths", "2,3", "--join", "3,100", "--output", output
    )
    rows = [line.split() for line in printed.splitlines()]
    assert ["tokens", "texts", "P", "R", "F", "correct", "predicted", "gold"] in rows
    assert ["1-2", "1", "50.00", "100.00", "66.67", "1", "2", "1"] in rows
    assert ["4-", "1", "100.00", "100.00", "100.00", "1", "1", "1"] in rows
    assert "joined to   texts   tokens each" in printed
    assert ["-", "2", "3", "66.67", "100.00", "80.00", "2", "3", "2"] in rows
    assert ["3", "2", "3", "66.67", "100.00", "80.00", "2", "3", "2"] in rows
    assert ["100", "1", "6", "66.67", "100.00", "80.00", "2", "3", "2"] in rows
    scores = json.loads(output.read_text())
    assert scores["by_length"][0] == {
        "first": 1, "last": 2, "texts": 1, "tokens": 2, "f1": pytest.approx(66.67, abs=0.01),
        "spans": [1, 2, 1],
    }  # fmt: skip
    assert [entry["last"] for entry in scores["by_length"]] == [2, None]
    assert [run["join"] for run in scores["joined"]] == [3, 100]
    assert [run["tokens"] for run in scores["joined"]] == [[4, 2], [6]]
    assert scores["joined"][1]["documents"] == [[2, 3, 2]]
    assert scores["documents"] == [[1, 1, 1], [1, 2, 1]]


def test_by_length_has_bins_of_its_own(tmp_path, pipeline, data):
    assert ["1-32", "2"] in [
        line.split()[:2] for line in evaluate(pipeline, data, "--by-length").splitlines()
    ]
    assert "by length" not in evaluate(pipeline, data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lengths", "3"], "--lengths are the bins of --by-length: give that, too"),
        (["--join", "8,4"], "rising and with commas between them, such as 32,128,512, but"),
        (["--by-length", "--lengths", "x"], "rising and with commas between them"),
    ],
)
def test_lengths_that_cannot_be_are_refused_before_anything_is_read(pipeline, options, message):
    told = failure("lgu", "evaluate", pipeline, "none.spacy", *options)
    assert message in " ".join(told.split())


def _spans_doc(words, **spans):
    doc = Doc(spacy.blank("en").vocab, words=words)
    for key, (start, end) in spans.items():
        doc.spans[key] = [Span(doc, start, end, label="LOC")]
    return doc


def test_joined_texts_are_scored_by_their_spans(tmp_path):
    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("span_ruler", config={"spans_key": "sc"})
    ruler.add_patterns([{"label": "LOC", "pattern": "Rome"}])
    nlp.to_disk(tmp_path / "nlp")
    docs = [_spans_doc(["In", "Rome"], sc=(1, 2)), _spans_doc(["Rome", "is"], sc=(0, 1))]
    DocBin(docs=docs).to_disk(tmp_path / "a.spacy")
    run(
        "lgu", "evaluate", tmp_path / "nlp", tmp_path / "a.spacy", "--spans-key", "sc",
        "--join", 100, "--output", tmp_path / "scores.json",
    )  # fmt: skip
    (joined,) = json.loads((tmp_path / "scores.json").read_text())["joined"]
    assert joined["documents"] == [[2, 2, 2]]


def test_the_threshold_comes_from_its_own_data_up_to_the_limit(tmp_path, monkeypatch):
    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("span_ruler", config={"spans_key": "sc"})
    ruler.add_patterns([{"label": "LOC", "pattern": "Rome"}])
    nlp.to_disk(tmp_path / "nlp")
    DocBin(docs=[_spans_doc(["a"], sc=(0, 1))]).to_disk(tmp_path / "test.spacy")
    held_out = [_spans_doc(list(words), sc=(0, 1)) for words in ("bb", "ccc")]
    DocBin(docs=held_out).to_disk(tmp_path / "dev.spacy")
    seen = []

    def find_threshold(nlp, docs, spans_key):
        seen.append(([len(doc) for doc in docs], spans_key))
        return 0.25

    monkeypatch.setattr("spacy_lgu.metrics.evaluation.find_threshold", find_threshold)
    for limit in (0, 1):
        run(
            "lgu", "evaluate", tmp_path / "nlp", tmp_path / "test.spacy", "--spans-key", "sc",
            "--threshold-from", tmp_path / "dev.spacy", "--limit", limit,
        )  # fmt: skip
    assert seen == [([2, 3], "sc"), ([2], "sc")]
