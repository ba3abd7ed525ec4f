"""Scores over seeds: mean, standard deviation, and the paper's test of one system against another.

Dukić & Šnajder (2024, https://arxiv.org/abs/2401.14556) report the mean and the standard deviation
of five seeds, and compare by a paired one-sided t-test at p < 0.01.
"""

import statistics
from collections.abc import Sequence
from importlib.util import find_spec
from typing import NamedTuple


class MeanStdev(NamedTuple):
    """Mean and sample standard deviation."""

    mean: float
    stdev: float


class TTest(NamedTuple):
    """The statistic t of a test, and the probability of one as large if there is no difference."""

    t: float
    p_value: float


def mean_and_stdev(scores: Sequence[float]) -> MeanStdev:
    """Mean and sample standard deviation (divisor n - 1) of the scores of several seeds.

    scores (Sequence[float]): One score per seed, at least two.
    RETURNS (MeanStdev): Both. Raises ValueError for fewer than two scores.
    """
    if len(scores) < 2:
        raise ValueError(
            f"Expected the scores of at least 2 seeds for a standard deviation, but got {scores}."
        )
    return MeanStdev(statistics.fmean(scores), statistics.stdev(scores))


def paired_t_test(scores: Sequence[float], baseline: Sequence[float]) -> TTest:
    """Student's paired one-sided t-test: are the scores greater than those of a baseline?

    scores (Sequence[float]): One score per seed, at least two.
    baseline (Sequence[float]): Scores of the baseline with the same seeds, in the same order.
    RETURNS (TTest): t and the p-value. Raises ValueError for fewer than two pairs, different
        numbers of scores, and where all differences are equal, for which t is not defined;
        ImportError if scipy is not installed.
    """
    if find_spec("scipy") is None:
        raise ImportError("The t-test needs scipy: pip install 'spacy-lgu[study]'.")
    from scipy.stats import ttest_rel

    if len(scores) != len(baseline) or len(scores) < 2:
        raise ValueError(
            "Expected the scores of the same seeds, at least 2, for both systems, but got "
            f"{len(scores)} and {len(baseline)}."
        )
    differences = [a - b for a, b in zip(scores, baseline, strict=True)]
    # Rounding leaves differences in the last places of scores that differ by the same.
    if max(differences) - min(differences) < 1e-12:
        raise ValueError(
            f"Expected differences that vary between seeds, but all are {differences[0]:g}: the "
            "t-test needs their standard deviation. Are these runs of different seeds?"
        )
    result = ttest_rel(scores, baseline, alternative="greater")
    return TTest(float(result.statistic), float(result.pvalue))
