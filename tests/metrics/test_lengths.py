"""Scores by the length of texts, and on joined texts."""

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, Span

from spacy_lgu.metrics.lengths import (
    LENGTHS,
    LengthBin,
    describe_bin,
    evaluate_joined,
    parse_lengths,
    score_by_length,
)
from spacy_lgu.metrics.strict import SpanCounts


def test_texts_in_bins():
    sizes = [1, 32, 33, 2048, 2049]
    rows = [(1, 1, 1), (0, 1, 1), (2, 3, 4), (0, 0, 0), (1, 1, 3)]
    assert score_by_length(sizes, rows) == [
        LengthBin(1, 32, 2, 33, SpanCounts(1, 2, 2)),
        LengthBin(33, 128, 1, 33, SpanCounts(2, 3, 4)),
        LengthBin(513, 2048, 1, 2048, SpanCounts(0, 0, 0)),
        LengthBin(2049, None, 1, 2049, SpanCounts(1, 1, 3)),
    ]
    assert score_by_length(sizes, rows, (2048,))[0] == LengthBin(
        1, 2048, 4, 2114, SpanCounts(3, 5, 6)
    )


def test_every_text_is_in_one_bin():
    rows = [(0, 1, size) for size in range(1, 300)]
    bins = score_by_length(range(1, 300), rows, (7, 8, 250))
    assert [entry.n_texts for entry in bins] == [7, 1, 242, 49]
    assert sum(entry.counts.n_gold for entry in bins) == sum(range(1, 300))
    assert sum(entry.n_tokens for entry in bins) == sum(range(1, 300))


def test_what_json_has():
    assert describe_bin(LengthBin(33, None, 2, 80, SpanCounts(1, 2, 2))) == {
        "first": 33,
        "last": None,
        "texts": 2,
        "tokens": 80,
        "f1": 50.0,
        "spans": [1, 2, 2],
    }


def test_lengths_are_read():
    assert parse_lengths("32, 128,512") == (32, 128, 512)
    assert parse_lengths("7") == (7,)
    assert parse_lengths(",".join(map(str, LENGTHS))) == LENGTHS


@pytest.mark.parametrize("text", ["", "0,3", "3,3", "8,4", "-1", "1.5", "a,b", "1,,2", "²"])
def test_lengths_that_are_none(text):
    with pytest.raises(ValueError, match=r"rising and with commas .* such as 32,128,512, but got"):
        parse_lengths(text)


@Language.component("finds_the_first_two")
def finds_the_first_two(doc):
    """As a tagger that sees no more of a long text."""
    found = [Span(doc, token.i, token.i + 1, label="X") for token in doc if token.text == "x"]
    doc.ents = found[:2]
    doc.spans["sc"] = found[:2]
    return doc


@pytest.mark.parametrize("spans_key", [None, "sc"])
def test_neighbours_are_joined_before_prediction(spans_key):
    nlp = spacy.blank("en")
    nlp.add_pipe("finds_the_first_two")
    docs = []
    for words in (["a", "x"], ["x", "b", "c"], ["x"], ["x"] * 5):
        doc = Doc(nlp.vocab, words=words)
        doc.ents = [Span(doc, i, i + 1, label="X") for i, word in enumerate(words) if word == "x"]
        doc.spans["sc"] = list(doc.ents)
        docs.append(doc)
    scores = evaluate_joined(nlp, docs, spans_key, 6)
    assert (scores["join"], scores["tokens"]) == (6, [6, 5])
    assert scores["documents"] == [[2, 2, 3], [2, 2, 5]]
    assert scores["f1"] == pytest.approx(100 * 2 * 4 / (4 + 8))
    assert evaluate_joined(nlp, docs, spans_key, 1)["tokens"] == [2, 3, 1, 5]
    assert evaluate_joined(nlp, docs, spans_key, 99)["documents"] == [[2, 2, 8]]


def test_tokens_without_annotation_stay_without():
    nlp = spacy.blank("en")
    nlp.add_pipe("finds_the_first_two")
    doc = Doc(nlp.vocab, words=["x", "x"])
    doc.set_ents([Span(doc, 1, 2, label="X")], missing=[Span(doc, 0, 1)])
    assert evaluate_joined(nlp, [doc, doc], None, 4)["documents"] == [[1, 1, 2]]
