"""The strategies by name, and what they have in common."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from .exhaustive import Exhaustive
from .gates import Gates
from .greedy import Greedy
from .halving import Halving
from .oneshot import OneShot
from .space import Candidate
from .trials import Outcome, Stage, Strategy, Task, Trial, drop_done

STRATEGIES: dict[str, type[Any]] = {
    "exhaustive": Exhaustive,
    "halving": Halving,
    "greedy": Greedy,
    "oneshot": OneShot,
    "gates": Gates,
}


@dataclass(frozen=True)
class Compared:
    """A strategy, after which the patterns that open nothing and everything are trained in full, so
    that what was found can be compared with them."""

    task: Task
    inner: Strategy

    def propose(self, outcomes: Sequence[Outcome]) -> list[Trial]:
        """What the strategy proposes, then what is compared."""
        own = self.inner.propose(outcomes)
        return drop_done([*own, *self._references], outcomes)

    def plan(self) -> list[Stage]:
        """What the strategy plans, and what is compared."""
        stage = Stage("all causal, all open, to compare", len(self._references), self.task.steps)
        return [*self.inner.plan(), stage]

    @property
    def _references(self) -> list[Trial]:
        space = self.task.space
        return [
            trial
            for pattern in (space.causal, space.open)
            for trial in self.task.full_trials(
                Candidate(pattern, space.depths[0], space.repeats[0])
            )
        ]


def make_strategy(name: str, task: Task, *, compare: bool = False, **options: Any) -> Strategy:
    """A strategy with options of its own.

    name (str): One of STRATEGIES.
    task (Task): What is searched.
    compare (bool): Train all-causal and all-open in full as well.
    options (Any): Those that are None are left at their defaults.
    RETURNS (Strategy): The strategy. Raises ValueError for unknown names, options that the strategy
        does not have, and values out of range.
    """
    if name not in STRATEGIES:
        raise ValueError(f"There is no strategy {name!r}: expected one of {', '.join(STRATEGIES)}.")
    kind = STRATEGIES[name]
    known = [f.name for f in fields(kind) if f.name != "task"]
    given = {option: value for option, value in options.items() if value is not None}
    if unknown := [option for option in given if option not in known]:
        raise ValueError(
            f"The strategy {name} has no --{unknown[0].replace('_', '-')}; it has "
            f"{', '.join(f'--{option.replace(chr(95), chr(45))}' for option in known) or 'none'}."
        )
    strategy: Strategy = kind(task, **given)
    strategy.plan()  # refuses spaces that are too large
    return Compared(task, strategy) if compare and name != "exhaustive" else strategy
