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
        references = self._references
        stage = Stage("all causal, all open, to compare", len(references), self.task.steps)
        return [*self.inner.plan(), stage] if references else self.inner.plan()

    @property
    def _references(self) -> list[Trial]:
        space = self.task.space
        wanted = (
            Candidate(pattern, space.depths[0], space.repeats[0])
            for pattern in (space.causal, space.open)
        )
        planned = space if isinstance(self.inner, Exhaustive) else ()
        return [t for c in wanted if c not in planned for t in self.task.full_trials(c)]


def make_strategy(name: str, task: Task, *, compare: bool = False, **options: Any) -> Strategy:
    """A strategy with options of its own.

    name (str): One of STRATEGIES.
    task (Task): What is searched.
    compare (bool): Train all-causal and all-open in full as well.
    options (Any): Those that are None are left at their defaults.
    RETURNS (Strategy): The strategy; that which trains all candidates where there are no more than
        it would train at its end. Raises ValueError for unknown names, options that the strategy
        does not have, and values out of range.
    """
    if name not in STRATEGIES:
        raise ValueError(f"There is no strategy {name!r}: expected one of {', '.join(STRATEGIES)}.")
    known = _options(name)
    given = {option: value for option, value in options.items() if value is not None}
    if unknown := [option for option in given if option not in known]:
        others = [f"--strategy {other}" for other in STRATEGIES if unknown[0] in _options(other)]
        raise ValueError(
            f"The strategy {name} has no {_spell(unknown[0])}; it has "
            f"{', '.join(map(_spell, known)) or 'none'}. Leave it out, or give "
            f"{' or '.join(others)}."
        )
    strategy: Strategy = STRATEGIES[name](task, **given)
    if task.space.n_candidates <= getattr(strategy, "top", 0):
        strategy = Exhaustive(task)
    strategy.plan()  # refuses spaces that are too large
    return Compared(task, strategy) if compare else strategy


def _options(name: str) -> list[str]:
    return [f.name for f in fields(STRATEGIES[name]) if f.name != "task"]


def _spell(option: str) -> str:
    return f"--{option.replace('_', '-')}"
