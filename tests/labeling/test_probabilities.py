"""Probabilities of spans and tags, against sums over all sequences."""

from unittest.mock import patch

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from spacy_lgu.labeling.decoding import _viterbi, decode_greedy, decode_viterbi
from spacy_lgu.labeling.probabilities import log_likelihood, log_softmax, span_probabilities
from spacy_lgu.labeling.tags import MISSING, TokenSpans, find_spans

from .helpers import (
    B_X,
    B_Y,
    I_X,
    I_Y,
    O,
    as_lengths,
    as_tuples,
    batches,
    spans_of,
    split,
    total,
    valid_sequences,
)


def test_log_softmax_of_large_logits():
    logits = numpy.array([[1000.0, 1000.0], [0.0, -1000.0]], dtype="float32")
    assert_allclose(log_softmax(logits), [[-numpy.log(2), -numpy.log(2)], [0, -1000]])


@settings(max_examples=150, deadline=None)
@given(batches(), st.sampled_from([1, 2, 256]))
def test_probabilities_are_those_of_all_valid_sequences(batch, piece):
    lengths, scores = batch
    expected = {}
    for i, rows in enumerate(split(scores, lengths)):
        sequences = valid_sequences(*rows.shape)
        weights = numpy.exp([total(rows, tags) for tags in sequences])
        for tags, weight in zip(sequences, weights / weights.sum(), strict=True):
            for span in spans_of(tags):
                expected[i, *span] = expected.get((i, *span), 0.0) + weight
    columns = numpy.array(sorted(expected), dtype="int64").reshape(-1, 4).T
    spans = TokenSpans(*columns)
    with patch("spacy_lgu.labeling.probabilities._PIECE", piece):
        probabilities = span_probabilities(scores, lengths, spans)
    assert_allclose(probabilities, [expected[span] for span in as_tuples(spans)], atol=1e-9)


@settings(max_examples=100, deadline=None)
@given(batches(), st.sampled_from([1, 2, 256]), st.randoms(use_true_random=False))
def test_likelihood_sums_over_what_is_missing(batch, piece, random):
    lengths, scores = batch
    tags, expected = [], 0.0
    for rows in split(scores, lengths):
        sequences = valid_sequences(*rows.shape)
        chosen = random.choice(sequences)
        known = [MISSING if random.random() < 0.4 else tag for tag in chosen]
        weights = numpy.exp([total(rows, other) for other in sequences])
        fits = [
            all(k in (MISSING, tag) for k, tag in zip(known, other, strict=True))
            for other in sequences
        ]
        expected += numpy.log(weights[fits].sum() / weights.sum())
        tags += known
    with patch("spacy_lgu.labeling.probabilities._PIECE", piece):
        found = log_likelihood(scores, lengths, numpy.array(tags, dtype="int64"))
    assert found == pytest.approx(expected, abs=1e-9)


def test_probability_of_a_single_token():
    probs = numpy.array([[0.2, 0.5, 0.3]])  # I-X cannot begin a sequence
    spans = TokenSpans(*(numpy.array([value]) for value in (0, 0, 1, 0)))
    assert_allclose(span_probabilities(numpy.log(probs), as_lengths(1), spans), [0.5 / 0.7])


def test_nothing_in_nothing_out():
    scores = numpy.zeros((0, 3))
    for lengths in (as_lengths(), as_lengths(0, 0)):
        for decode in (decode_viterbi, decode_greedy):
            tags = decode(scores, lengths)
            assert tags.tolist() == []
        spans = find_spans(tags, lengths)
        assert len(spans) == 0
        assert span_probabilities(scores, lengths, spans).tolist() == []
        assert log_likelihood(scores, lengths, tags) == 0.0


def test_a_batch_is_as_each_sequence_alone():
    rng = numpy.random.default_rng(0)
    lengths = as_lengths(3, 300, 1, 0, 40)
    scores = log_softmax(rng.normal(scale=2, size=(344, 9)))
    tags = decode_viterbi(scores, lengths)
    spans = find_spans(tags, lengths)
    probabilities = span_probabilities(scores, lengths, spans)
    for i, rows in enumerate(split(scores, lengths)):
        alone = as_lengths(len(rows))
        assert (decode_viterbi(rows, alone) == split(tags, lengths)[i]).all()
        own = find_spans(split(tags, lengths)[i], alone)
        assert_allclose(
            span_probabilities(rows, alone, own), probabilities[spans.sequences == i], atol=1e-12
        )


def test_certain_tags_that_are_not_valid_stay_finite():
    # Probabilities that underflow to zero everywhere but at a tag that cannot be there.
    logits = numpy.full((50, 3), -2000.0)
    logits[:, I_X] = 0.0
    scores, lengths = log_softmax(logits), as_lengths(50)
    tags = decode_viterbi(scores, lengths)
    assert tags.tolist() == [B_X] + [I_X] * 49
    assert_allclose(span_probabilities(scores, lengths, find_spans(tags, lengths)), [1.0])


def sharp_scores(n_tokens, seed):
    """Scores as of a trained model: mostly sure, and valid except here and there."""
    rng = numpy.random.default_rng(seed)
    logits = rng.normal(size=(n_tokens, 5))
    logits[:, O] += 4
    starts = rng.choice(n_tokens - 10, n_tokens // 20, replace=False)
    logits[starts, B_X] += 8
    for i in range(1, 4):
        logits[starts + i, I_X] += 8
    return log_softmax(logits)


@pytest.mark.parametrize("make_scores", ["sharp", "noise"])
def test_pieces_of_a_long_sequence_are_as_the_whole(monkeypatch, make_scores):
    lengths = as_lengths(700, 3, 0, 2_000, 256)
    if make_scores == "sharp":
        scores = sharp_scores(lengths.sum(), 0)
    else:
        noise = numpy.random.default_rng(0).normal(scale=3, size=(lengths.sum(), 5))
        scores = log_softmax(noise)
    tags = decode_viterbi(scores, lengths)
    spans = find_spans(tags, lengths)
    probabilities = span_probabilities(scores, lengths, spans)
    likelihood = log_likelihood(scores, lengths, tags)
    monkeypatch.setattr("spacy_lgu.labeling.probabilities._PIECE", 10_000)
    assert total(scores, tags) == pytest.approx(total(scores, _viterbi(scores, lengths)), abs=1e-9)
    assert_allclose(probabilities, span_probabilities(scores, lengths, spans), rtol=1e-9)
    assert likelihood == pytest.approx(log_likelihood(scores, lengths, tags), abs=1e-8)


def test_a_span_longer_than_several_pieces():
    """What one piece hands on must come through all of them."""
    n = 3_000
    probs = numpy.tile([0.1, 1e-12, 0.9], (n, 1))
    probs[0] = [0.1, 0.9, 1e-12]
    scores, lengths = numpy.log(probs), as_lengths(n)
    tags = decode_viterbi(scores, lengths)
    assert tags.tolist() == [B_X] + [I_X] * (n - 1)
    # Ending k tokens earlier is (1/9)^k times as probable: 1 / (1 + 1/9 + 1/81 + ...).
    spans = find_spans(tags, lengths)
    assert_allclose(span_probabilities(scores, lengths, spans), [8 / 9], rtol=1e-8)


def test_a_known_span_across_pieces():
    n = 1_000
    rng = numpy.random.default_rng(3)
    scores, lengths = log_softmax(rng.normal(size=(n, 5))), as_lengths(n)
    tags = numpy.array([B_Y] + [I_Y] * (n - 1))
    everything = log_likelihood(scores, lengths, numpy.full(n, MISSING))
    assert everything == pytest.approx(0.0, abs=1e-9)
    found = log_likelihood(scores, lengths, tags)
    spans = find_spans(tags, lengths)
    assert found < -1_000
    assert numpy.exp(found) == pytest.approx(span_probabilities(scores, lengths, spans)[0], abs=0)
    # Half of it known: all ways to go on from there are summed.
    tags[n // 2 :] = MISSING
    assert 0.3 < log_likelihood(scores, lengths, tags) / found < 0.7
