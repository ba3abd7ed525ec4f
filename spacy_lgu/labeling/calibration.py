"""Calibration of tag probabilities by a temperature, fitted on data that was not trained on.

Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017 (arXiv 1706.04599).
"""

import math

import numpy

from .probabilities import log_likelihood, log_softmax
from .tags import MISSING

LOWEST, HIGHEST = 0.1, 10.0
# Relative precision at which the search ends.
_PRECISION = 1e-3
_GOLDEN = (math.sqrt(5) - 1) / 2


def negative_log_likelihood(
    logits: numpy.ndarray, lengths: numpy.ndarray, tags: numpy.ndarray, temperature: float
) -> float:
    """Mean over the annotated tokens of minus the log-probability of valid tag sequences.

    logits (ndarray): Shape: (tokens, tags).
    lengths (ndarray): Tokens of each sequence. Shape: (sequences,).
    tags (ndarray): The right tags, MISSING where not known. Shape: (tokens,).
    temperature (float): The logits are divided by it.
    """
    n_known = int((tags != MISSING).sum())
    return -log_likelihood(log_softmax(logits / temperature), lengths, tags) / n_known


def fit_temperature(logits: numpy.ndarray, lengths: numpy.ndarray, tags: numpy.ndarray) -> float:
    """The temperature with the lowest negative log-likelihood, by golden section search.

    Arguments are those of negative_log_likelihood, which has one minimum where all tags are known:
    the distribution of sequences is log-linear in 1 / temperature.
    RETURNS (float): From LOWEST to HIGHEST.
    """
    low, high = math.log(LOWEST), math.log(HIGHEST)
    inner = [high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)]
    losses = [negative_log_likelihood(logits, lengths, tags, math.exp(x)) for x in inner]
    while high - low > _PRECISION:
        if losses[0] < losses[1]:
            high = inner[1]
            inner = [high - _GOLDEN * (high - low), inner[0]]
            losses = [
                negative_log_likelihood(logits, lengths, tags, math.exp(inner[0])),
                losses[0],
            ]
        else:
            low = inner[0]
            inner = [inner[1], low + _GOLDEN * (high - low)]
            losses = [
                losses[1],
                negative_log_likelihood(logits, lengths, tags, math.exp(inner[1])),
            ]
    return math.exp((low + high) / 2)


def expected_calibration_error(
    probabilities: numpy.ndarray, is_right: numpy.ndarray, n_bins: int = 10
) -> float | None:
    """How far probabilities are from the share that is right, on average over equal bins.

    probabilities (ndarray): In [0, 1]. Shape: (n,).
    is_right (ndarray): Flags. Shape: (n,).
    n_bins (int): Bins of equal width.
    RETURNS (float | None): In [0, 1]; None for n = 0.
    """
    if not len(probabilities):
        return None
    bins = numpy.minimum((probabilities * n_bins).astype("int64"), n_bins - 1)
    gaps = numpy.bincount(bins, is_right - probabilities, n_bins)
    return float(numpy.abs(gaps).sum() / len(probabilities))
