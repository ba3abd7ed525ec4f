import numpy
import pytest
from numpy.testing import assert_allclose

from spacy_lgu.metrics import bootstrap
from spacy_lgu.metrics.bootstrap import paired_bootstrap

# Correct, predicted and gold spans of two documents.
BETTER = numpy.array([[1, 1, 1], [1, 1, 1]])
WORSE = numpy.array([[1, 1, 1], [0, 1, 1]])


def test_two_documents_by_hand():
    # Four equally probable samples: the documents twice each, or both. The difference is 0 for
    # the first one twice, 1 for the second one twice, and 1/2, as observed, for the others.
    result = paired_bootstrap(BETTER, WORSE, n_samples=40_000)
    assert result.difference == 0.5
    assert (result.low, result.high) == (0, 1)
    assert_allclose(result.p_value, 1 / 4, atol=0.01)


def test_samples_one_by_one():
    rng = numpy.random.default_rng(7)
    gold = rng.integers(1, 5, (30, 1))
    counts, baseline = (
        numpy.hstack([rng.integers(0, gold + 1), rng.integers(gold, gold + 3), gold])
        for _ in range(2)
    )

    def f1(rows):
        correct, predicted, total = rows.sum(axis=0)
        return 2 * correct / (predicted + total)

    result = paired_bootstrap(counts, baseline, n_samples=200, seed=3, confidence=0.9)
    drawn = numpy.random.default_rng(3).multinomial(30, [1 / 30] * 30, size=200)
    differences = [
        f1(counts.repeat(times, axis=0)) - f1(baseline.repeat(times, axis=0)) for times in drawn
    ]
    observed = f1(counts) - f1(baseline)
    assert_allclose(result.difference, observed)
    assert_allclose([result.low, result.high], numpy.quantile(differences, [0.05, 0.95]))
    extreme = sum(difference >= 2 * observed for difference in differences)
    assert_allclose(result.p_value, (extreme + 1) / 201)


def test_blocks_do_not_change_the_result(monkeypatch):
    expected = paired_bootstrap(BETTER, WORSE, n_samples=100)
    monkeypatch.setattr(bootstrap, "_BLOCK", 1)
    assert paired_bootstrap(BETTER, WORSE, n_samples=100) == expected


def test_a_system_is_not_better_than_itself():
    result = paired_bootstrap(BETTER, BETTER, n_samples=100)
    assert (result.difference, result.low, result.high, result.p_value) == (0, 0, 0, 1)


def test_a_worse_system_is_not_better():
    assert paired_bootstrap(WORSE, BETTER, n_samples=1000).p_value > 0.5


def test_a_clear_difference_is_sure():
    counts = numpy.tile([[4, 4, 4]], (200, 1))
    baseline = numpy.tile([[3, 4, 4], [2, 4, 4]], (100, 1))
    assert paired_bootstrap(counts, baseline, n_samples=999).p_value == 0.001


def test_documents_without_spans():
    empty = numpy.zeros((3, 3), dtype=int)
    assert paired_bootstrap(empty, empty, n_samples=10).difference == 0


@pytest.mark.parametrize(
    ("counts", "baseline"),
    [
        (BETTER, WORSE[:1]),
        (BETTER[:, :2], WORSE[:, :2]),
        (BETTER[0], WORSE[0]),
        (BETTER[:0], WORSE[:0]),
    ],
)
def test_shapes(counts, baseline):
    with pytest.raises(ValueError, match=r"Expected \(documents, 3\) counts .* but got \("):
        paired_bootstrap(counts, baseline)


def test_documents_must_be_the_same():
    with pytest.raises(ValueError, match=r"Document 1 has 1 gold spans for one system, but 2 for"):
        paired_bootstrap(BETTER, numpy.array([[1, 1, 1], [1, 1, 2]]))


@pytest.mark.parametrize("settings", [{"n_samples": 0}, {"confidence": 1.0}, {"confidence": 0}])
def test_settings(settings):
    with pytest.raises(ValueError, match="at least 1 sample and a confidence between 0 and 1"):
        paired_bootstrap(BETTER, WORSE, **settings)
