"""Every candidate with every seed."""

from collections.abc import Sequence
from dataclasses import dataclass

from .trials import Outcome, Stage, Task, Trial, drop_done


@dataclass(frozen=True)
class Exhaustive:
    """Seed by seed, so that a search that is stopped has compared all with as many seeds."""

    task: Task

    def propose(self, outcomes: Sequence[Outcome]) -> list[Trial]:
        """All trials that are left."""
        task = self.task
        trials = [
            Trial("train", candidate, seed, task.steps)
            for seed in task.seeds
            for candidate in task.space.listed
        ]
        return drop_done(trials, outcomes)

    def plan(self) -> list[Stage]:
        """One stage."""
        n_trials = len(self.task.space.listed) * len(self.task.seeds)
        return [Stage("all candidates", n_trials, self.task.steps)]
