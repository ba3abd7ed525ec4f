"""Temperatures and calibration errors with known answers."""

import numpy
import pytest

from spacy_lgu.labeling.calibration import (
    HIGHEST,
    LOWEST,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
)
from spacy_lgu.labeling.tags import MISSING


def test_likelihood_of_single_tokens():
    logits = numpy.log([[0.5, 0.25, 0.25], [0.2, 0.6, 0.2]])
    lengths, tags = numpy.array([1, 1]), numpy.array([0, MISSING])
    # Without I, which cannot begin a sequence: 0.5 of 0.75.
    assert negative_log_likelihood(logits, lengths, tags, 1.0) == pytest.approx(-numpy.log(2 / 3))
    # At temperature 0.5 probabilities are squared: 0.25 of 0.3125.
    assert negative_log_likelihood(logits, lengths, tags, 0.5) == pytest.approx(-numpy.log(0.8))


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_temperature_is_found(temperature):
    """Tags drawn from known logits, which are then given multiplied by the temperature."""
    rng = numpy.random.default_rng(0)
    right = rng.normal(scale=2, size=(20_000, 3))
    right[:, 2] = -50.0
    noise = rng.gumbel(size=right.shape)
    tags, lengths = (right + noise).argmax(axis=1), numpy.full(2_000, 10)
    found = fit_temperature(right * temperature, lengths, tags)
    assert found == pytest.approx(temperature, rel=0.05)


def test_temperature_stays_in_its_bounds():
    logits = numpy.array([[1.0, 0.0, -9e4]] * 20)
    lengths = numpy.array([20])
    always_right, always_wrong = numpy.zeros(20, dtype="int64"), numpy.ones(20, dtype="int64")
    assert fit_temperature(logits, lengths, always_right) == pytest.approx(LOWEST, rel=1e-3)
    assert fit_temperature(logits, lengths, always_wrong) == pytest.approx(HIGHEST, rel=1e-3)


def test_calibration_error():
    probabilities = numpy.array([0.95, 0.95, 1.0, 0.25, 0.25])
    is_right = numpy.array([True, False, True, False, False])
    # The highest bin holds three: 2.9 expected, 2 right. The other: 0.5 expected, none right.
    error = expected_calibration_error(probabilities, is_right)
    assert error == pytest.approx((0.9 + 0.5) / 5)
    assert expected_calibration_error(numpy.zeros(0), numpy.zeros(0, dtype="bool")) is None
