"""What a search has found, as numbers: nothing here knows of pages or pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from statistics import fmean
from typing import Any

import numpy

from ..metrics.bootstrap import BootstrapResult, paired_bootstrap
from ..metrics.seeds import paired_t_test
from .best import Standing, find_standings
from .folder import make_outcome
from .space import Candidate, Space
from .trials import Task, Trial

LinesT = Sequence[tuple[Trial, Mapping[str, Any]]]
_N_SAMPLES = 10_000


@dataclass(frozen=True)
class Effect:
    """What opening a group adds to the score, all else equal.

    group (int): Counted from 0, input side first.
    low, high (float): Ends of the 95 % interval, of a bootstrap over pairs.
    n_pairs (int): Pairs of trials that differ in this group alone.
    is_shared (bool): Whether they are scores with shared weights.
    """

    group: int
    difference: float
    low: float
    high: float
    n_pairs: int
    is_shared: bool = False


@dataclass(frozen=True)
class Comparison:
    """The best candidate against another.

    seeds (list[int]): Those that both were trained with; at least one.
    difference (float): Of their means over them.
    p_value (float | None): Of the t-test over seeds; None where it is not defined.
    why_not (str): Why there is no t-test.
    bootstrap (BootstrapResult | None): Over the texts of dev; None where no spans are known.
    """

    title: str
    candidate: Candidate
    seeds: list[int]
    difference: float
    p_value: float | None
    why_not: str
    bootstrap: BootstrapResult | None


@dataclass(frozen=True)
class Row:
    """A candidate that was trained.

    seconds (float): Of a trial.
    words_per_second (float | None): On dev.
    curve (tuple[tuple[int, float], ...]): Steps and scores, the mean over seeds.
    """

    standing: Standing
    seconds: float
    words_per_second: float | None
    curve: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Summary:
    """All figures of a report.

    rows (list[Row]): Each candidate by its longest trainings, from the best to the worst.
    stages (dict[int, list[Row]]): By steps, the longest first: those that were trained for so many.
    shared (dict[Candidate, float]): Scores with shared weights.
    gates (list[float]): Learned gates, by group.
    """

    task: Task
    rows: list[Row]
    stages: dict[int, list[Row]]
    effects: list[Effect]
    comparisons: list[Comparison]
    shared: dict[Candidate, float]
    gates: list[float]
    n_trials: int
    steps: int
    seconds: float

    @property
    def longest(self) -> list[Row]:
        """Those with the longest trainings: scores of different lengths cannot be compared."""
        return next(iter(self.stages.values()))

    @property
    def best(self) -> Standing:
        """The best candidate."""
        return self.rows[0].standing


def summarize(lines: LinesT, task: Task) -> Summary:
    """The figures of a search.

    lines (LinesT): Finished trials; at least one is an ordinary training.
    task (Task): What is searched.
    RETURNS (Summary): The figures.
    """
    outcomes = [make_outcome(trial, line) for trial, line in lines]
    standings = find_standings(outcomes)
    shared = {c: score for outcome in outcomes for c, score in outcome.found.items()}
    lengths = sorted({o.trial.steps for o in outcomes if o.trial.kind == "train"}, reverse=True)
    return Summary(
        task=task,
        rows=[_make_row(standing, lines) for standing in standings],
        stages={
            steps: [
                _make_row(standing, lines)
                for standing in find_standings(o for o in outcomes if o.trial.steps == steps)
            ]
            for steps in lengths
        },
        effects=find_effects(lines, shared, task.space),
        comparisons=_compare_all(standings, lines, task.space),
        shared=shared,
        gates=[gate for outcome in outcomes for gate in outcome.gates],
        n_trials=len(lines),
        steps=sum(trial.steps for trial, _ in lines),
        seconds=sum(line["seconds"] for _, line in lines),
    )


def find_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which points no other beats: none costs less and scores as much, or as much and scores more.

    points (Sequence[tuple[float, float]]): Cost and score.
    RETURNS (list[int]): Their places, from the cheapest.
    """
    front: list[int] = []
    for place in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not front or points[place][1] > points[front[-1]][1]:
            front.append(place)
    return front


def find_effects(lines: LinesT, shared: Mapping[Candidate, float], space: Space) -> list[Effect]:
    """The main effect of each group.

    lines (LinesT): Finished trials.
    shared (Mapping[Candidate, float]): Scores with shared weights, which count where they give more
        pairs than trainings do.
    space (Space): Says how many groups there are.
    RETURNS (list[Effect]): Without groups that no pair tells of.
    """
    scores: dict[tuple[Any, ...], float] = {}
    for trial, line in lines:
        if trial.kind == "train":
            c = trial.candidate
            scores[c.pattern, c.n_layers, c.repeat, trial.seed, trial.steps] = line["score"]
    of_shared = {(c.pattern, c.n_layers, c.repeat): score for c, score in shared.items()}
    effects = []
    for group in range(space.n_groups):
        trained, with_shared = (_pair(found, group) for found in (scores, of_shared))
        is_shared = len(with_shared) > len(trained)
        if differences := with_shared if is_shared else trained:
            effects.append(_make_effect(group, numpy.array(differences), is_shared=is_shared))
    return effects


def _pair(scores: Mapping[tuple[Any, ...], float], group: int) -> list[float]:
    """Differences in the score between trials that differ in one group alone."""
    differences = []
    for (pattern, *rest), score in scores.items():
        if pattern[group] == "b":
            closed = (f"{pattern[:group]}c{pattern[group + 1 :]}", *rest)
            if closed in scores:
                differences.append(score - scores[closed])
    return differences


def _make_effect(group: int, differences: numpy.ndarray, *, is_shared: bool) -> Effect:
    rng = numpy.random.default_rng(0)
    n = len(differences)
    means = differences[rng.integers(0, n, (_N_SAMPLES // 5, n))].mean(axis=1)
    low, high = numpy.quantile(means, [0.025, 0.975])
    return Effect(group, float(differences.mean()), float(low), float(high), n, is_shared)


def _make_row(standing: Standing, lines: LinesT) -> Row:
    own = [
        line
        for trial, line in lines
        if trial.kind == "train"
        and trial.candidate == standing.candidate
        and trial.steps == standing.steps
    ]
    speeds = [line["scores"]["speed"] for line in own if "speed" in line.get("scores", {})]
    curves = [dict(line.get("curve", ())) for line in own]
    steps = sorted(set.intersection(*map(set, curves)))
    return Row(
        standing,
        fmean(line["seconds"] for line in own),
        fmean(speeds) if speeds else None,
        tuple((step, fmean(curve[step] for curve in curves)) for step in steps),
    )


def _compare_all(standings: list[Standing], lines: LinesT, space: Space) -> list[Comparison]:
    """The best against the pattern that opens nothing, all, and against the runner-up."""
    best = standings[0]
    depth = (best.candidate.n_layers, best.candidate.repeat)
    first = (space.depths[0], space.repeats[0])
    by_candidate = {standing.candidate: standing for standing in standings[1:]}
    wanted = {
        "all causal": [Candidate(space.causal, *place) for place in (depth, first)],
        "all open": [Candidate(space.open, *place) for place in (depth, first)],
        "the runner-up": [standing.candidate for standing in standings[1:2]],
    }
    compared = []
    for title, candidates in wanted.items():
        found = next((by_candidate[c] for c in candidates if c in by_candidate), None)
        # Scores of trainings of different lengths, or other seeds, say nothing of the candidates.
        if (
            found is not None
            and found.steps == best.steps
            and best.scores.keys() & found.scores.keys()
        ):
            compared.append(_compare(title, best, found, lines))
    return compared


def _compare(title: str, best: Standing, other: Standing, lines: LinesT) -> Comparison:
    seeds = sorted(best.scores.keys() & other.scores.keys())
    pairs = [(best.scores[seed], other.scores[seed]) for seed in seeds]
    differences = [ours - theirs for ours, theirs in pairs]
    p_value, why_not = None, ""
    if len(seeds) < 2:
        why_not = "needs two seeds"
    elif find_spec("scipy") is None:
        why_not = "needs scipy: pip install 'spacy-lgu[study]'"
    elif max(differences) - min(differences) < 1e-9:
        why_not = "all differences are equal"
    else:
        ours, theirs = zip(*pairs, strict=True)
        p_value = paired_t_test(ours, theirs).p_value
    counts = [_sum_counts(standing, seeds, lines) for standing in (best, other)]
    bootstrap = None
    if counts[0] is not None and counts[1] is not None and len(counts[0]) == len(counts[1]):
        bootstrap = paired_bootstrap(counts[0], counts[1], n_samples=_N_SAMPLES)
    return Comparison(
        title,
        other.candidate,
        seeds,
        fmean(differences),
        p_value,
        why_not,
        bootstrap,
    )


def _sum_counts(standing: Standing, seeds: list[int], lines: LinesT) -> Any:
    """Correct, predicted and gold spans of each text, all seeds together: (documents, 3). None if
    they are not known of the same texts."""
    found = [
        line.get("documents")
        for trial, line in lines
        if trial.kind == "train"
        and trial.candidate == standing.candidate
        and trial.steps == standing.steps
        and trial.seed in seeds
    ]
    known = [counts for counts in found if counts]
    is_known = len(known) == len(found) and len(set(map(len, known))) == 1
    return numpy.sum(known, axis=0) if is_known else None
