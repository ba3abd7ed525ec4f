"""Temperatures and calibration errors with known answers."""

import math
from dataclasses import replace

import numpy
import pytest

from spacy_lgu.labeling.calibration import (
    HIGHEST,
    LOWEST,
    Annotated,
    calibrate,
    expected_calibration_error,
    fit_temperature,
    measure,
    negative_log_likelihood,
)
from spacy_lgu.labeling.tags import MISSING


def annotated(logits, lengths, tags, spaces=()):
    is_space = numpy.zeros(len(tags), dtype="bool")
    is_space[list(spaces)] = True
    return Annotated(numpy.asarray(logits), numpy.array(lengths), numpy.array(tags), is_space)


def test_likelihood_of_single_tokens():
    data = annotated(numpy.log([[0.5, 0.25, 0.25], [0.2, 0.6, 0.2]]), [1, 1], [0, MISSING])
    # Without I, which cannot begin a sequence: 0.5 of 0.75.
    assert negative_log_likelihood(data, 1.0) == pytest.approx(-numpy.log(2 / 3))
    # At temperature 0.5 probabilities are squared: 0.25 of 0.3125.
    assert negative_log_likelihood(data, 0.5) == pytest.approx(-numpy.log(0.8))


def test_likelihood_beside_white_space():
    logits = numpy.log([[0.5, 0.25, 0.25], [0.2, 0.6, 0.2]])
    # No span begins at white space: O is all that is left for the first token, O and B of the
    # second. The annotation may begin one there, and then that counts as elsewhere.
    data = annotated(logits, [2], [0, 1], spaces=[0])
    assert negative_log_likelihood(data, 1.0) == pytest.approx(-numpy.log(0.6 / 0.8) / 2)
    data = annotated(logits[:1], [1], [1], spaces=[0])
    assert negative_log_likelihood(data, 1.0) == pytest.approx(-numpy.log(1 / 3))


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_temperature_is_found(temperature):
    """Tags drawn from known logits, which are then given multiplied by the temperature."""
    rng = numpy.random.default_rng(0)
    right = rng.normal(scale=2, size=(20_000, 3))
    right[:, 2] = -50.0
    noise = rng.gumbel(size=right.shape)
    tags, lengths = (right + noise).argmax(axis=1), numpy.full(2_000, 10)
    found = fit_temperature(annotated(right * temperature, lengths, tags))
    assert found == pytest.approx(temperature, rel=0.05)


def test_temperature_stays_in_its_bounds():
    logits = numpy.array([[1.0, 0.0, -9e4]] * 20)
    always_right, always_wrong = (annotated(logits, [20], [tag] * 20) for tag in (0, 1))
    assert fit_temperature(always_right) == pytest.approx(LOWEST, rel=1e-3)
    assert fit_temperature(always_wrong) == pytest.approx(HIGHEST, rel=1e-3)


def test_calibration_error():
    probabilities = numpy.array([0.95, 0.95, 1.0, 0.25, 0.25])
    is_right = numpy.array([True, False, True, False, False])
    # The highest bin holds three: 2.9 expected, 2 right. The other: 0.5 expected, none right.
    error = expected_calibration_error(probabilities, is_right)
    assert error == pytest.approx((0.9 + 0.5) / 5)
    assert expected_calibration_error(numpy.zeros(0), numpy.zeros(0, dtype="bool")) is None


# One token each: X with 0.8 of the mass, then none with 0.8.
DATA = Annotated(
    numpy.log([[0.1, 0.8, 0.1], [0.8, 0.1, 0.1]]),
    numpy.array([1, 1]),
    numpy.array([1, 0]),
    numpy.array([False, False]),
)


def test_quality_of_two_tokens():
    quality = measure(DATA, temperature=1.0, decoding="viterbi")
    # A sequence cannot begin with I-X: 0.8 of 0.9, twice.
    assert quality.nll == pytest.approx(-math.log(8 / 9))
    assert quality.ece == pytest.approx(1 / 9)
    assert quality.n_spans == 1


def test_no_span_begins_with_white_space():
    quality = measure(
        replace(DATA, is_space=numpy.array([True, False])), temperature=1.0, decoding="greedy"
    )
    assert (quality.ece, quality.n_spans) == (None, 0)


def test_a_calibration_of_what_is_always_right():
    """The sharper the better: at the bound of the search, which says little."""
    found = calibrate(DATA, temperature=1.0, decoding="viterbi")
    assert found.temperature == pytest.approx(LOWEST, rel=1e-2)
    assert found.before == measure(DATA, temperature=1.0, decoding="viterbi")
    assert found.after.nll < found.before.nll
    assert found.n_tokens == 2
    assert not found.is_sound


def test_a_calibration_of_what_is_half_right():
    """Of four tokens that say X with 0.8, three are X: less sharp, and sound."""
    data = Annotated(
        numpy.log([[0.1, 0.8, 0.1]] * 4),
        numpy.array([1] * 4),
        numpy.array([1, 1, 1, 0]),
        numpy.array([False] * 4),
    )
    found = calibrate(data, temperature=1.0, decoding="viterbi")
    # O and B-X are 1 to 8, and should be 1 to 3.
    assert found.temperature == pytest.approx(math.log(8) / math.log(3), rel=1e-2)
    assert found.after.ece == pytest.approx(0.0, abs=1e-2)
    assert found.is_sound


@pytest.mark.parametrize("tags", [[1, 0], [3, 4]])
def test_another_end_or_label_is_wrong(tags):
    logits = numpy.log([[0.04, 0.9, 0.02, 0.02, 0.02], [0.04, 0.02, 0.9, 0.02, 0.02]])
    data = Annotated(logits, numpy.array([2]), numpy.array(tags), numpy.zeros(2, dtype="bool"))
    assert measure(data, temperature=1.0, decoding="viterbi").ece > 0.5
