"""The rows of a report: which runs belong to each, and how it compares to the causal decoder."""

from dataclasses import dataclass
from typing import Any

import numpy

from ..metrics.bootstrap import BootstrapResult, paired_bootstrap
from ..metrics.seeds import paired_t_test
from ..study.plan import Study
from ..unmasking import parse_pattern

RunsT = list[dict[str, Any]]  # of one row: lines of the results that differ by seed only
RowT = tuple[str, str | None]  # system and pattern
RowsT = dict[RowT, RunsT]

N_SAMPLES = 10_000


@dataclass(frozen=True)
class Comparison:
    """The runs of a row against those of the system's causal pattern, paired by seed.

    p_value (float | None): Of the t-test; None where t is not defined.
    """

    p_value: float | None
    bootstrap: BootstrapResult


ComparisonsT = dict[RowT, Comparison]


def find_rows(study: Study, task: str, results: RunsT) -> RowsT:
    """The runs of each system and pattern, in the study's order; what is not run has none.

    Only runs with the corpus, batches and steps of the task's latest run count; in a row only those
    with the settings of its latest run, and of those with the same seed only the latest.
    """
    lines = find_comparable(study, task, results)
    rows: RowsT = {}
    for name, system in study.systems.items():
        own = [line for line in lines if line["system"] == name]
        patterns = list(dict.fromkeys([*system.patterns, *(line["pattern"] for line in own)]))
        for pattern in patterns or [None]:
            runs = [line for line in own if line["pattern"] == pattern]
            by_seed = {r["seed"]: r for r in runs if r["settings"] == runs[-1]["settings"]}
            rows[name, pattern] = [by_seed[seed] for seed in sorted(by_seed)]
    return rows


def find_comparable(study: Study, task: str, results: RunsT) -> RunsT:
    """The runs of a task with the corpus, batches and steps of the latest of them."""
    lines = [line for line in results if line["task"] == task and line["system"] in study.systems]
    return [line for line in lines if line["conditions"] == lines[-1]["conditions"]]


def compare_rows(rows: RowsT) -> ComparisonsT:
    """Each row of a decoder against the causal one of the same system, if both have a seed."""
    # Whatever the number of groups: they are one decoder.
    causal = {name: runs for (name, pattern), runs in rows.items() if _is_causal(pattern)}
    compared = {
        (name, pattern): _compare(runs, causal.get(name, []))
        for (name, pattern), runs in rows.items()
        if not _is_causal(pattern)
    }
    return {row: comparison for row, comparison in compared.items() if comparison is not None}


def mean(values: list[float]) -> float:
    """The mean of at least one value."""
    return sum(values) / len(values)


def _is_causal(pattern: str | None) -> bool:
    return pattern is not None and not any(parse_pattern(pattern))


def _compare(runs: RunsT, baseline: RunsT) -> Comparison | None:
    of_runs, of_baseline = ({run["seed"]: run for run in both} for both in (runs, baseline))
    seeds = sorted(of_runs.keys() & of_baseline.keys())
    if not seeds:
        return None
    pairs = [(of_runs[seed], of_baseline[seed]) for seed in seeds]
    differences = [ours["f1"] - theirs["f1"] for ours, theirs in pairs]
    p_value = None
    if len(seeds) > 1 and max(differences) - min(differences) > 1e-9:
        # Without spread of the differences t is not defined.
        ours, theirs = zip(*((a["f1"], b["f1"]) for a, b in pairs), strict=True)
        p_value = paired_t_test(ours, theirs).p_value
    counts = [
        numpy.sum([pair[side]["documents"] for pair in pairs], axis=0) for side in (0, 1)
    ]  # (documents, 3) each
    return Comparison(p_value, paired_bootstrap(*counts, n_samples=N_SAMPLES))
