"""One training under drawn patterns, in which all candidates are then scored; the best are trained.

Source of the idea: Bender et al. (2018), Understanding and Simplifying One-Shot Architecture
Search; Yu et al. (2019, arXiv 1903.05134) for the smallest and the largest within every few steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .greedy import find_start
from .space import Candidate
from .trials import Outcome, Stage, Task, Trial, drop_done, rank

DRAWS = ("even", "middle")


@dataclass(frozen=True)
class OneShot:
    """Shared weights, and then the candidates that are best with them.

    top (int): Candidates that are trained properly.
    draw (str): "even" draws every number of open groups equally often; "middle" opens each group or
        not by a coin, so that about half of them are open most often.
    most (int): Candidates that are scored with the shared weights.
    """

    task: Task
    top: int = 2
    draw: str = "even"
    most: int = 256

    def __post_init__(self) -> None:
        if self.top < 1 or self.most < self.top:
            raise ValueError(
                f"Expected at least 1 candidate that is trained, and at least as many that are "
                f"scored, but got {self.top} and {self.most}."
            )
        if self.draw not in DRAWS:
            raise ValueError(f"Expected a draw of {' or '.join(DRAWS)}, but got {self.draw!r}.")

    def propose(self, outcomes: Sequence[Outcome]) -> list[Trial]:
        """The shared training, then the best."""
        shared = self._shared
        found = next((outcome for outcome in outcomes if outcome.trial == shared), None)
        if found is None:
            return [shared]
        best = rank(found.found)[: self.top]
        return drop_done((t for c in best for t in self.task.full_trials(c)), outcomes)

    def plan(self) -> list[Stage]:
        """The shared training, then the best."""
        return [
            Stage("under drawn patterns", 1, self.task.steps),
            Stage(f"the best {self.top}", self.top * len(self.task.seeds), self.task.steps),
        ]

    @property
    def _shared(self) -> Trial:
        options = (("draw", self.draw), ("most", self.most))
        space = self.task.space
        # With room for all: the others are parts of it.
        n_layers = max((n for n in space.depths if n is not None), default=None)
        repeat = max((n for n in space.repeats if n is not None), default=None)
        start = Candidate(find_start(space).pattern, n_layers, repeat)
        return Trial("oneshot", start, self.task.seeds[0], self.task.steps, options)
