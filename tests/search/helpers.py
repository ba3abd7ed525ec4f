"""Searches without processes: a table of scores stands for the trainings."""

from collections.abc import Callable

from spacy_lgu.search.space import Candidate
from spacy_lgu.search.trials import Outcome, Strategy, Trial

# Four groups: the two nearest the output help, the one nearest the input harms.
SCORES = {
    "cccc": 0.50, "cccb": 0.60, "ccbc": 0.58, "ccbb": 0.70,
    "cbcc": 0.51, "cbcb": 0.61, "cbbc": 0.59, "cbbb": 0.69,
    "bccc": 0.40, "bccb": 0.50, "bcbc": 0.48, "bcbb": 0.60,
    "bbcc": 0.41, "bbcb": 0.51, "bbbc": 0.49, "bbbb": 0.59,
}  # fmt: skip


def look_up(trial: Trial) -> Outcome:
    """As the table says; a seed adds a thousandth, and shared weights know the table."""
    if trial.kind == "oneshot":
        return Outcome(trial, 0.7, {Candidate(p): score for p, score in SCORES.items()})
    if trial.kind == "gates":
        return Outcome(trial, None, gates=(0.1, 0.45, 0.9, 0.95))
    return Outcome(trial, SCORES[trial.candidate.pattern] + trial.seed / 1000)


def play(
    strategy: Strategy, look_up: Callable[[Trial], Outcome] = look_up, *, size: int = 1
) -> list[Trial]:
    """All trials in the order in which so many workers finish them, the oldest first."""
    outcomes: list[Outcome] = []
    running: list[Trial] = []
    while True:
        for trial in strategy.propose(outcomes):
            if trial not in running and len(running) < size:
                running.append(trial)
        if not running:
            return [outcome.trial for outcome in outcomes]
        outcomes.append(look_up(running.pop(0)))
