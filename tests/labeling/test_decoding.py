"""The best tags, against all sequences."""

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_lgu.labeling.decoding import decode_greedy, decode_viterbi
from spacy_lgu.labeling.probabilities import span_probabilities
from spacy_lgu.labeling.tags import find_spans

from .helpers import (
    B_X,
    B_Y,
    I_X,
    I_Y,
    O,
    as_lengths,
    batches,
    is_valid,
    split,
    total,
    valid_sequences,
)


@settings(max_examples=150, deadline=None)
@given(batches())
def test_viterbi_finds_the_best_of_all_valid_sequences(batch):
    lengths, scores = batch
    tags = decode_viterbi(scores, lengths)
    for found, rows in zip(split(tags, lengths), split(scores, lengths), strict=True):
        assert is_valid(found.tolist())
        best = max(total(rows, other) for other in valid_sequences(*rows.shape))
        assert total(rows, found) == pytest.approx(best, abs=1e-9)


def test_viterbi_repairs_what_costs_least():
    # I-X after O: either it begins the span, or the O before it does.
    first = [[0.6, 0.3, 0.0, 0.1, 0.0], [0.1, 0.1, 0.8, 0.0, 0.0]]
    second = [[0.9, 0.1, 0.0, 0.0, 0.0], [0.1, 0.3, 0.6, 0.0, 0.0]]
    scores = numpy.log(numpy.array([*first, *second]) + 1e-9)
    lengths = as_lengths(2, 2)
    assert decode_viterbi(scores, lengths).tolist() == [B_X, I_X, O, B_X]
    assert decode_greedy(scores, lengths).tolist() == [O, B_X, O, B_X]


def test_greedy_begins_a_span_where_the_tag_before_does_not_match():
    best = [I_X, I_X, O, I_Y, I_X, B_Y, I_Y, I_X]  # two sequences, of 6 and 2
    scores = numpy.log(numpy.eye(5)[best] + 0.01)
    tags = decode_greedy(scores, as_lengths(6, 0, 2))
    assert tags.tolist() == [B_X, I_X, O, B_Y, B_X, B_Y, B_Y, B_X]


@settings(max_examples=150, deadline=None)
@given(batches(), st.randoms(use_true_random=False))
def test_no_span_begins_where_none_may(batch, random):
    lengths, scores = batch
    barred = numpy.array([random.random() < 0.4 for _ in scores], dtype="bool")
    scores[barred, 1::2] = -numpy.inf
    tags = decode_viterbi(scores, lengths)
    for found, rows in zip(split(tags, lengths), split(scores, lengths), strict=True):
        best = max(total(rows, other) for other in valid_sequences(*rows.shape))
        assert total(rows, found) == pytest.approx(best, abs=1e-9)
    spans = find_spans(tags, lengths)
    assert (span_probabilities(scores, lengths, spans) > 0).all()
    tags = decode_greedy(scores, lengths)
    assert all(is_valid(found.tolist()) for found in split(tags, lengths))
    assert not (tags[barred] % 2 == 1).any()


def test_greedy_leaves_out_what_may_not_begin_a_span():
    scores = numpy.log(numpy.eye(5)[[I_X, I_X, I_X, B_Y, I_Y, O, I_Y]] + 0.01)
    scores[[0, 1, 4, 6], 1::2] = -numpy.inf
    assert decode_greedy(scores, as_lengths(7)).tolist() == [O, O, B_X, B_Y, I_Y, O, O]
