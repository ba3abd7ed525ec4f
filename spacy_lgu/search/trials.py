"""Trials and their outcomes, and what strategies promise. Knows nothing of processes and files."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from statistics import fmean
from typing import Any, Protocol

from .space import Candidate, Space


@dataclass(frozen=True)
class Trial:
    """One training.

    kind (str): "train" for an ordinary one, "oneshot" and "gates" for those with drawn patterns and
        with learned gates.
    candidate (Candidate): What is trained; for the other kinds, where they begin.
    seed (int): Seed.
    steps (int): Training steps.
    options (tuple[tuple[str, Any], ...]): Further settings of the kind, sorted by name.
    """

    kind: str
    candidate: Candidate
    seed: int
    steps: int
    options: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """What it is called in messages and as a file: "ccbb-l24-r2-s0-400"."""
        what = self.candidate.pattern if self.kind == "train" else self.kind
        layers, repeat = self.candidate.n_layers, self.candidate.repeat
        parts = [
            what,
            *([] if layers is None else [f"l{layers}"]),
            *([] if repeat is None else [f"r{repeat}"]),
            f"s{self.seed}",
            str(self.steps),
        ]
        return "-".join(parts)


@dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    score (float | None): On dev, from 0 to 1, as spaCy weights its scores: the best of the
        evaluations. None: it failed.
    found (Mapping[Candidate, float]): Scores of candidates that one trial gives, when it has all of
        them in one decoder.
    gates (Sequence[float]): Learned gates, one per layer group.
    """

    trial: Trial
    score: float | None
    found: Mapping[Candidate, float] = field(default_factory=dict)
    gates: Sequence[float] = ()


@dataclass(frozen=True)
class Stage:
    """A part of a strategy's plan: at most n_trials trainings of so many steps."""

    title: str
    n_trials: int
    steps: int


class Strategy(Protocol):
    """Proposes trials. It is pure: the same outcomes give the same proposals."""

    def propose(self, outcomes: Sequence[Outcome]) -> list[Trial]:
        """The trials that may begin, best first; those that are done are not among them.

        outcomes (Sequence[Outcome]): Of the finished trials, in any order.
        RETURNS (list[Trial]): Some may be running already. None when all is done and nothing runs.
        """
        ...

    def plan(self) -> list[Stage]:
        """RETURNS (list[Stage]): What it will cost at most, if one trial runs after the other."""
        ...


@dataclass(frozen=True)
class Task:
    """What all strategies are given.

    space (Space): The candidates.
    seeds (tuple[int, ...]): Seeds of each full training.
    steps (int): Training steps of a full training.
    """

    space: Space
    seeds: tuple[int, ...]
    steps: int

    @property
    def exhaustive_steps(self) -> int:
        """Training steps of trying everything."""
        return self.space.n_candidates * len(self.seeds) * self.steps

    def full_trials(self, candidate: Candidate) -> list[Trial]:
        """The full trainings of a candidate, one per seed."""
        return [Trial("train", candidate, seed, self.steps) for seed in self.seeds]


def drop_done(trials: Iterable[Trial], outcomes: Iterable[Outcome]) -> list[Trial]:
    """The trials that have no outcome yet, each once."""
    done = {outcome.trial for outcome in outcomes}
    return [trial for trial in dict.fromkeys(trials) if trial not in done]


def mean_scores(outcomes: Iterable[Outcome], steps: int) -> dict[Candidate, float]:
    """The mean over seeds of each candidate that was trained for so many steps.

    outcomes (Iterable[Outcome]): Finished trials.
    steps (int): Training steps of those that count.
    RETURNS (dict[Candidate, float]): A candidate of which a trial failed has minus infinity.
    """
    scores: dict[Candidate, list[float]] = {}
    for outcome in outcomes:
        if outcome.trial.kind == "train" and outcome.trial.steps == steps:
            score = -inf if outcome.score is None else outcome.score
            scores.setdefault(outcome.trial.candidate, []).append(score)
    return {candidate: fmean(of_seeds) for candidate, of_seeds in scores.items()}


def rank(scores: Mapping[Candidate, float]) -> list[Candidate]:
    """Candidates from the best to the worst; of equal ones, that with fewer layers, fewer
    repeats and fewer open groups is first."""
    return sorted(scores, key=lambda candidate: (-scores[candidate], *_effort(candidate)))


def is_better(new: float, old: float) -> bool:
    """Whether a score is higher by more than rounding."""
    return new > old + 1e-9


def _effort(candidate: Candidate) -> tuple[float, int, int, str]:
    n_layers = inf if candidate.n_layers is None else candidate.n_layers
    return n_layers, candidate.repeat or 0, candidate.pattern.count("b"), candidate.pattern
