import pytest
from numpy.testing import assert_allclose

from spacy_lgu.metrics.seeds import mean_and_stdev, paired_t_test


def test_mean_and_sample_standard_deviation():
    # Squared deviations 4, 1, 0, 1, 4 over n - 1 = 4.
    assert_allclose(mean_and_stdev([1, 2, 3, 4, 5]), (3, 2.5**0.5))


def test_one_seed_has_no_standard_deviation():
    with pytest.raises(ValueError, match=r"at least 2 seeds .* but got \[0\.9\]"):
        mean_and_stdev([0.9])


def test_t_by_hand():
    # Differences 1, 2, 3: t = 2 / (1 / sqrt(3)), and for 2 degrees of freedom
    # p = 1/2 - t / (2 sqrt(2 + t^2)) = 1/2 - sqrt(12 / 14) / 2.
    result = paired_t_test([2, 4, 6], [1, 2, 3])
    assert_allclose(result, (12**0.5, 0.5 - (12 / 14) ** 0.5 / 2))


def test_is_one_sided():
    assert_allclose(
        paired_t_test([1, 2, 3], [2, 4, 6]).p_value, 1 - paired_t_test([2, 4, 6], [1, 2, 3]).p_value
    )


@pytest.mark.parametrize(("scores", "baseline"), [([1, 2], [1]), ([1], [2]), ([], [])])
def test_pairs_are_needed(scores, baseline):
    with pytest.raises(
        ValueError, match=rf"at least 2, for both systems, but got {len(scores)} and"
    ):
        paired_t_test(scores, baseline)


def test_equal_differences_have_no_t():
    with pytest.raises(ValueError, match=r"vary between seeds, but all are 0\.1"):
        paired_t_test([0.3, 0.7, 0.9], [0.2, 0.6, 0.8])


def test_scipy_is_an_extra(monkeypatch):
    monkeypatch.setattr("spacy_lgu.metrics.seeds.find_spec", {}.get)
    with pytest.raises(ImportError, match=r"pip install 'spacy-lgu\[study\]'"):
        paired_t_test([1, 2], [1, 3])
