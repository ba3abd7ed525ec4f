"""Successive halving: all candidates briefly, the better part of them longer, the best in full.

With 16 candidates, 900 steps and a factor of 3:

    16 candidates for 100 steps  ->  the best 6 for 300  ->  the best 2 for 900, with all seeds

Each stage trains anew, with a schedule that fits its steps. A candidate goes on as soon as nothing
that is still unknown can keep it out. Where more workers are free than that keeps busy, candidates
that are ahead so far go on as well.

Source: Karnin, Koren & Somekh (2013), Almost Optimal Exploration in Multi-Armed Bandits; Jamieson &
Talwalkar (2016, arXiv 1502.07943); Li et al. (2020, arXiv 1810.05934) for not waiting.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite

from .space import Candidate
from .trials import Outcome, Stage, Task, Trial, drop_done, mean_scores, rank


@dataclass(frozen=True)
class Rung:
    """A stage: so many candidates for so many steps, with some of the seeds."""

    n_candidates: int
    steps: int
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Halving:
    """Successive halving.

    factor (int): A stage has about 1/factor of the candidates of the one before, and so many times
        its steps. At least 2.
    shortest (float): Share of the full steps that is the least of a stage.
    """

    task: Task
    factor: int = 3
    shortest: float = 1 / 9

    def __post_init__(self) -> None:
        if self.factor < 2 or not 0 < self.shortest <= 1:
            raise ValueError(
                "Expected a factor of at least 2 and a shortest training of more than 0 and at "
                f"most 1 of the full one, but got {self.factor} and {self.shortest}."
            )

    @cached_property
    def rungs(self) -> list[Rung]:
        """The stages, from the shortest."""
        n, share = len(self.task.space.listed), 1.0
        steps = [self.task.steps]
        # No stage whose winner is certain before it, and none of the same length as another.
        while n > self.factor ** len(steps) and share / self.factor >= self.shortest - 1e-9:
            share /= self.factor
            shorter = max(1, round(self.task.steps * share))
            if shorter == steps[0]:
                break
            steps.insert(0, shorter)
        rungs = []
        for i, of_rung in enumerate(steps):
            is_last = i == len(steps) - 1
            rungs.append(Rung(n, of_rung, self.task.seeds if is_last else self.task.seeds[:1]))
            n = -(-n // self.factor)
        return rungs

    def propose(self, outcomes: Sequence[Outcome]) -> list[Trial]:
        """What is certain to be needed, stage by stage, and then what seems so."""
        certain: list[Trial] = []
        likely: list[Trial] = []
        members: Sequence[Candidate] = self.task.space.listed
        n_members = len(members)
        for rung, following in zip(self.rungs, [*self.rungs[1:], None], strict=True):
            certain += _list_trials(members, rung)
            if following is None:
                break
            means = mean_scores(outcomes, rung.steps)
            scores = {member: means[member] for member in members if member in means}
            ahead = [c for c in rank(scores) if isfinite(scores[c])]
            n_unknown = n_members - len(scores)
            # The first so many stay ahead, whatever the unknown ones score.
            members = ahead[: max(0, following.n_candidates - n_unknown)]
            likely += _list_trials(ahead[: len(scores) // self.factor], following)
            n_members = following.n_candidates if n_unknown else len(members)
        return drop_done([*certain, *likely], outcomes)

    def plan(self) -> list[Stage]:
        """A stage per rung."""
        return [
            Stage(f"the best {rung.n_candidates}" if i else "all candidates",
                  rung.n_candidates * len(rung.seeds), rung.steps)
            for i, rung in enumerate(self.rungs)
        ]  # fmt: skip


def _list_trials(candidates: Iterable[Candidate], rung: Rung) -> list[Trial]:
    return [
        Trial("train", candidate, seed, rung.steps)
        for seed in rung.seeds
        for candidate in candidates
    ]
