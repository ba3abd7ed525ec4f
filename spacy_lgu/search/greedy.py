"""Open one group after the other, from the output side, and keep what helps.

    cccc  ->  cccb better: keep  ->  ccbb worse: leave  ->  cbcb better: keep  ->  bbcb ...

Then other depths are tried with the pattern that was found, and then other repeats.
It takes about as many trainings as there are groups, and cannot see groups that help only together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from .space import Candidate, Space
from .trials import Outcome, Stage, Task, Trial, drop_done, is_better, mean_scores


class _Unknown(Exception):
    """The path goes on from a candidate that has not been tried with all seeds."""

    def __init__(self, trials: list[Trial]) -> None:
        super().__init__()
        self.trials = trials


@dataclass(frozen=True)
class Greedy:
    """A climb along one path.

    patience (int): Groups in a row that may not help before the others are left closed.
    """

    task: Task
    patience: int = 2

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise ValueError(f"Expected a patience of at least 1 group, but got {self.patience}.")

    def propose(self, outcomes: Sequence[Outcome]) -> list[Trial]:
        """The trials of the next candidate on the path."""
        means = mean_scores(outcomes, self.task.steps)

        def score(candidate: Candidate) -> float:
            if trials := drop_done(self.task.full_trials(candidate), outcomes):
                raise _Unknown(trials)
            return means[candidate]

        try:
            best = find_start(self.task.space)
            score(best)
            failures = 0
            tried = {best.pattern}
            for group in reversed(range(self.task.space.n_groups)):
                pattern = open_group(best.pattern, group, self.task.space)
                if pattern is None or pattern in tried or failures == self.patience:
                    continue
                tried.add(pattern)
                opened = replace(best, pattern=pattern)
                if is_better(score(opened), score(best)):
                    best, failures = opened, 0
                else:
                    failures += 1
            for others in (self._other_depths, self._other_repeats):
                for candidate in others(best):
                    if is_better(score(candidate), score(best)):
                        best = candidate
        except _Unknown as unknown:
            return unknown.trials
        return []

    def _other_depths(self, start: Candidate) -> Iterator[Candidate]:
        for n_layers in self.task.space.depths[1:]:
            yield replace(start, n_layers=n_layers)

    def _other_repeats(self, start: Candidate) -> Iterator[Candidate]:
        for repeat in self.task.space.repeats[1:]:
            yield replace(start, repeat=repeat)

    def plan(self) -> list[Stage]:
        """At most a candidate per group, other depth and other repeat."""
        space, n_seeds = self.task.space, len(self.task.seeds)
        others = len(space.depths) + len(space.repeats) - 2
        n_candidates = min(1 + space.n_groups + others, space.n_candidates)
        return [Stage("at most, group by group", n_candidates * n_seeds, self.task.steps)]


def find_start(space: Space) -> Candidate:
    """Where the path begins: the pattern with the fewest open groups, at the first depth."""
    patterns = space.patterns or (space.causal,)
    closed = min(patterns, key=lambda pattern: pattern.count("b"))
    return Candidate(closed, space.depths[0], space.repeats[0])


def open_group(pattern: str, group: int, space: Space) -> str | None:
    """A pattern in which a group is open, and all that were.

    pattern (str): Where it comes from.
    group (int): Counted from 0.
    space (Space): Where it names its patterns, that which opens the fewest others with it.
    RETURNS (str | None): None if there is none.
    """
    opened = f"{pattern[:group]}b{pattern[group + 1 :]}"
    if space.patterns is None:
        return opened
    wider = [
        named
        for named in space.patterns
        if all(ours == "c" or theirs == "b" for ours, theirs in zip(opened, named, strict=True))
    ]
    return min(wider, key=lambda named: named.count("b"), default=None)
