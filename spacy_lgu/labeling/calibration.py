"""Calibration of tag probabilities by a temperature, fitted on data that was not trained on.

Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017 (arXiv 1706.04599).
"""

import math
from dataclasses import dataclass

import numpy

from ..segments import find_bounds, find_starts
from .predicting import predict_spans
from .probabilities import log_likelihood, log_softmax
from .tags import MISSING, OUTSIDE, TokenSpans, find_spans

LOWEST, HIGHEST = 0.1, 10.0
# Relative precision at which the search ends.
_PRECISION = 1e-3
# A negative log-likelihood per token below which there is nothing to calibrate.
_CERTAIN = 1e-9
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Annotated:
    """Logits and the right tags of sequences that lie end to end.

    logits (ndarray): Shape: (tokens, tags).
    lengths (ndarray): Tokens of each sequence. Shape: (sequences,).
    tags (ndarray): The right tags, MISSING where not known. Shape: (tokens,).
    is_space (ndarray): Which tokens are white space. Shape: (tokens,).
    """

    logits: numpy.ndarray
    lengths: numpy.ndarray
    tags: numpy.ndarray
    is_space: numpy.ndarray

    @property
    def n_known(self) -> int:
        """RETURNS (int): Annotated tokens."""
        return int((self.tags != MISSING).sum())


@dataclass(frozen=True)
class Quality:
    """How good probabilities are.

    nll (float): Minus the mean log-probability of the annotation, per token.
    ece (float | None): Expected calibration error of the spans' probabilities, in 10 bins; None
        without spans.
    n_spans (int): Spans that were found where all tokens are annotated.
    """

    nll: float
    ece: float | None
    n_spans: int


@dataclass(frozen=True)
class Calibration:
    """The temperature under which the annotation is most probable.

    temperature (float): The temperature.
    before, after (Quality): Of the probabilities under the temperature before and under this one.
    n_tokens (int): Annotated tokens.
    """

    temperature: float
    before: Quality
    after: Quality
    n_tokens: int

    @property
    def is_sound(self) -> bool:
        """RETURNS (bool): False where the temperature lies at a bound of the search, or no
        annotated token is in doubt."""
        is_inside = 1.01 * LOWEST < self.temperature < 0.99 * HIGHEST
        return is_inside and self.after.nll >= _CERTAIN


def calibrate(data: Annotated, *, temperature: float, decoding: str) -> Calibration:
    """Fit a temperature.

    data (Annotated): Data that was not trained on, with at least one annotated token.
    temperature (float): The temperature before.
    decoding (str): As in predict_spans.
    RETURNS (Calibration): The temperature, and what it changes.
    """
    fitted = fit_temperature(data)
    return Calibration(
        fitted,
        measure(data, temperature=temperature, decoding=decoding),
        measure(data, temperature=fitted, decoding=decoding),
        data.n_known,
    )


def measure(data: Annotated, *, temperature: float, decoding: str) -> Quality:
    """How good probabilities are under a temperature.

    data (Annotated): With at least one annotated token.
    temperature (float): The temperature.
    decoding (str): As in predict_spans.
    RETURNS (Quality): How good they are.
    """
    nll = negative_log_likelihood(data, temperature)
    spans, probabilities = predict_spans(
        data.logits, data.lengths, data.is_space, temperature=temperature, decoding=decoding
    )
    is_known, is_right = _compare(spans, data.tags, data.lengths)
    ece = expected_calibration_error(probabilities[is_known], is_right[is_known])
    return Quality(nll, ece, int(is_known.sum()))


def negative_log_likelihood(data: Annotated, temperature: float) -> float:
    """Mean over the annotated tokens of minus the log-probability of valid tag sequences.

    data (Annotated): With at least one annotated token.
    temperature (float): The logits are divided by it.
    RETURNS (float): Nats per annotated token.
    """
    log_probs = log_softmax(data.logits / temperature)
    # As in predict_spans, but for spans that the annotation begins there all the same.
    begins = (data.tags != MISSING) & (data.tags % 2 == 1)
    log_probs[data.is_space & ~begins, 1::2] = -numpy.inf
    return -log_likelihood(log_probs, data.lengths, data.tags) / data.n_known


def fit_temperature(data: Annotated) -> float:
    """The temperature with the lowest negative log-likelihood, by golden section search.

    That has one minimum if all tags are known: the distribution of sequences is log-linear in
    1 / temperature.

    data (Annotated): With at least one annotated token.
    RETURNS (float): From LOWEST to HIGHEST.
    """
    low, high = math.log(LOWEST), math.log(HIGHEST)
    inner = [high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)]
    losses = [negative_log_likelihood(data, math.exp(x)) for x in inner]
    while high - low > _PRECISION:
        if losses[0] < losses[1]:
            high = inner[1]
            inner = [high - _GOLDEN * (high - low), inner[0]]
            losses = [negative_log_likelihood(data, math.exp(inner[0])), losses[0]]
        else:
            low = inner[0]
            inner = [inner[1], low + _GOLDEN * (high - low)]
            losses = [losses[1], negative_log_likelihood(data, math.exp(inner[1]))]
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


def _compare(
    spans: TokenSpans, tags: numpy.ndarray, lengths: numpy.ndarray
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Which predicted spans have annotation on all their tokens, and which agree with it."""
    firsts = find_starts(lengths)
    is_missing = tags == MISSING
    gold = find_spans(numpy.where(is_missing, OUTSIDE, tags), lengths)
    gold_ends = numpy.zeros(len(tags), dtype="int64")
    gold_ends[firsts[gold.sequences] + gold.starts] = gold.ends
    starts = firsts[spans.sequences] + spans.starts
    n_missing = find_bounds(is_missing)
    is_known = n_missing[firsts[spans.sequences] + spans.ends] == n_missing[starts]
    return is_known, (gold_ends[starts] == spans.ends) & (tags[starts] == 2 * spans.labels + 1)
