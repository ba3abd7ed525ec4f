"""Strict scores, by hand and against seqeval on any sequences of tags."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB2

from spacy_lgu.metrics.strict import (
    SpanCounts,
    count_by_document,
    find_strict_spans,
    score_spans,
    score_tags,
)

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-creative-work", "I-creative-work"]


@st.composite
def tagged_pairs(draw) -> tuple[list[list[str]], list[list[str]]]:
    """Gold and predicted tags of some sentences, valid in IOB2 or not."""
    pairs = draw(
        st.lists(
            st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(TAGS)), max_size=8),
            min_size=1,
            max_size=5,
        )
    )
    gold = [[tag for tag, _ in sentence] for sentence in pairs]
    # Half of the predictions agree with the gold tags.
    keep = draw(st.lists(st.booleans(), min_size=len(gold), max_size=len(gold)))
    predicted = [[tag for _, tag in sentence] for sentence in pairs]
    return gold, [g if kept else p for g, p, kept in zip(gold, predicted, keep, strict=True)]


def seqeval(gold, predicted, average):
    return [
        score(gold, predicted, average=average, mode="strict", scheme=IOB2, zero_division=0)
        for score in (precision_score, recall_score, f1_score)
    ]


@given(tagged_pairs())
def test_equal_to_seqeval(pair):
    gold, predicted = pair
    scores = score_tags(gold, predicted)
    # Without any span, seqeval takes the mean of nothing.
    assume(scores.per_label)
    micro = (scores.micro.precision, scores.micro.recall, scores.micro.f1)
    assert_allclose(micro, seqeval(gold, predicted, "micro"))
    macro = (scores.macro_precision, scores.macro_recall, scores.macro_f1)
    assert_allclose(macro, seqeval(gold, predicted, "macro"))
    per_label = [(c.precision, c.recall, c.f1) for c in scores.per_label.values()]
    assert_allclose(per_label, list(zip(*seqeval(gold, predicted, None), strict=True)))


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("O B-A I-A O", [(1, 3, "A")]),
        ("B-A B-A I-A", [(0, 1, "A"), (1, 3, "A")]),
        ("I-A I-A", []),
        ("B-A I-B I-A", [(0, 1, "A")]),
        ("B-A O I-A", [(0, 1, "A")]),
        ("B-creative-work I-creative-work", [(0, 2, "creative-work")]),
        ("", []),
    ],
)
def test_strict_spans(tags, spans):
    assert find_strict_spans(tags.split()) == spans


@pytest.mark.parametrize("tag", ["A", "E-A", "B-", "BA", ""])
def test_other_tags_are_refused(tag):
    with pytest.raises(ValueError, match=f"tags O, B-LABEL or I-LABEL, but got '{tag}'"):
        find_strict_spans(["O", tag])


def test_scores_by_hand():
    scores = score_tags(
        [["B-PER", "I-PER", "O", "B-LOC"], ["B-LOC", "O"]],
        [["B-PER", "O", "O", "B-LOC"], ["B-LOC", "B-ORG"]],
    )
    assert scores.per_label == {
        "LOC": SpanCounts(2, 2, 2),
        "ORG": SpanCounts(0, 1, 0),
        "PER": SpanCounts(0, 1, 1),
    }
    assert scores.micro == SpanCounts(n_correct=2, n_predicted=4, n_gold=3)
    assert_allclose(
        [scores.micro.precision, scores.micro.recall, scores.micro.f1], [1 / 2, 2 / 3, 4 / 7]
    )
    assert_allclose(
        [scores.macro_precision, scores.macro_recall, scores.macro_f1], [1 / 3, 1 / 3, 1 / 3]
    )


def test_nothing_to_find_and_nothing_found():
    scores = score_tags([["O", "O"]], [["O", "O"]])
    assert (scores.micro.precision, scores.micro.recall, scores.micro.f1) == (0, 0, 0)
    assert (scores.macro_precision, scores.macro_recall, scores.macro_f1) == (0, 0, 0)


def test_nested_spans():
    gold, predicted = [[(0, 3, "A"), (0, 1, "A")]], [[(0, 1, "A"), (0, 1, "B"), (0, 1, "A")]]
    assert score_spans(gold, predicted).micro == SpanCounts(1, 2, 2)


def test_counts_by_document():
    gold = [[(0, 1, "A")], [], [(0, 2, "A"), (3, 4, "B")]]
    predicted = [[(0, 1, "A")], [(0, 1, "A")], [(0, 2, "B"), (3, 4, "B"), (3, 4, "B")]]
    assert_array_equal(count_by_document(gold, predicted), [[1, 1, 1], [0, 1, 0], [1, 2, 2]])
    assert count_by_document([], []).shape == (0, 3)


def test_gold_and_predictions_must_be_of_the_same_sentences():
    with pytest.raises(ValueError, match=r"2 gold sequences, but 1 predicted ones"):
        score_tags([["O"], ["O"]], [["O"]])
    with pytest.raises(ValueError, match=r"0 gold sequences, but 1 predicted ones"):
        count_by_document([], [[]])
    with pytest.raises(ValueError, match=r"Sentence 1 has 1 gold tags, but 2 predicted ones"):
        score_tags([["O"], ["O"]], [["O"], ["O", "O"]])
