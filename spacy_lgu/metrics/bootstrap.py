"""Paired bootstrap over documents: how sure is a difference in micro F1 on one test set?

Sources: Efron & Tibshirani (1993), An Introduction to the Bootstrap, for the confidence interval;
Berg-Kirkpatrick, Burkett & Klein (2012), An Empirical Investigation of Statistical Significance
in NLP (https://aclanthology.org/D12-1091), for the p-value.
"""

from dataclasses import dataclass

import numpy

from .strict import IntsT

# Documents times samples whose weights are in memory at once: 32 MB.
_BLOCK = 4_000_000


@dataclass(frozen=True, slots=True)
class BootstrapResult:
    """The difference of two systems in micro F1.

    difference (float): F1 of the first minus that of the second, on the test set.
    low (float): Lower end of the confidence interval of the difference.
    high (float): Its upper end.
    p_value (float): How probable a difference as large as this is if the first system is not
        better than the second. Never 0: the test set itself counts as one sample.
    """

    difference: float
    low: float
    high: float
    p_value: float


def paired_bootstrap(
    counts: IntsT,
    baseline: IntsT,
    *,
    n_samples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> BootstrapResult:
    """Compare two systems by drawing test sets from the documents, with replacement.

    The interval runs between percentiles of the sampled differences. The p-value is the share of
    samples whose difference is at least twice the observed one: samples centre on the observed
    difference, so that is how often chance alone adds as much again.

    counts (IntsT): Correct, predicted and gold spans of each document, as by count_by_document:
        (documents, 3).
    baseline (IntsT): The same of the other system, for the same documents in the same order.
    n_samples (int): Test sets to draw.
    confidence (float): Of the interval, between 0 and 1.
    seed (int): Seed for drawing.
    RETURNS (BootstrapResult): Difference, interval and p-value. Raises ValueError for counts of
        other shapes or of different test sets, and for settings out of range.
    """
    counts, baseline = numpy.asarray(counts), numpy.asarray(baseline)
    if (
        counts.ndim != 2
        or counts.shape[1] != 3
        or counts.shape != baseline.shape
        or not len(counts)
    ):
        raise ValueError(
            "Expected (documents, 3) counts of the same documents for both systems, but got "
            f"{counts.shape} and {baseline.shape}."
        )
    different = numpy.flatnonzero(counts[:, 2] != baseline[:, 2])
    if len(different):
        place = different[0]
        raise ValueError(
            f"Document {place} has {counts[place, 2]} gold spans for one system, but "
            f"{baseline[place, 2]} for the other. Expected the same documents in the same order."
        )
    if n_samples < 1 or not 0 < confidence < 1:
        raise ValueError(
            f"Expected at least 1 sample and a confidence between 0 and 1, but got {n_samples} and "
            f"{confidence}."
        )
    pair = numpy.concatenate([counts, baseline], axis=1).astype(numpy.float64)  # (documents, 6)
    observed = float(_subtract_f1(pair.sum(axis=0, keepdims=True))[0])
    rng = numpy.random.default_rng(seed)
    n_docs = len(pair)
    shares = numpy.full(n_docs, 1 / n_docs)
    block = max(1, _BLOCK // n_docs)
    sampled = []
    for start in range(0, n_samples, block):
        # How often each document is drawn: (samples, documents).
        weights = rng.multinomial(n_docs, shares, size=min(block, n_samples - start))
        sampled.append(_subtract_f1(weights @ pair))
    differences = numpy.concatenate(sampled)  # (n_samples,)
    tail = (1 - confidence) / 2
    low, high = numpy.quantile(differences, [tail, 1 - tail])
    # Not less than twice, but for rounding.
    n_extreme = int((differences >= 2 * observed - 1e-12).sum())
    return BootstrapResult(observed, float(low), float(high), (n_extreme + 1) / (n_samples + 1))


def _subtract_f1(
    totals: numpy.ndarray[tuple[int, int], numpy.dtype[numpy.float64]],
) -> numpy.ndarray[tuple[int], numpy.dtype[numpy.float64]]:
    """F1 of the first three columns minus that of the last three: (samples, 6) -> (samples,)."""
    correct, n_both = totals[:, [0, 3]], totals[:, [1, 4]] + totals[:, [2, 5]]
    f1 = 2 * correct / numpy.maximum(n_both, 1)
    return f1[:, 0] - f1[:, 1]
