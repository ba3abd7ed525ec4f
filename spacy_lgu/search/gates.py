"""One training with a learned gate per layer; then the patterns nearest to the gates are trained.

    output of a layer's attention  =  causal + g * (bidirectional - causal),  g from 0 to 1

Source of the idea: Liu et al. (2019, arXiv 1806.09055), who relax choices to learned weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import log

from .greedy import find_start
from .space import Candidate, Space
from .trials import Outcome, Stage, Task, Trial, drop_done

# No gate is certain: so that a pattern always has a probability.
_LEAST = 1e-6


@dataclass(frozen=True)
class Gates:
    """Learned gates, and then the patterns nearest to them.

    top (int): Patterns that are trained properly.
    learn_rate (float): Of the gates.
    """

    task: Task
    top: int = 2
    learn_rate: float = 0.05

    def __post_init__(self) -> None:
        if self.top < 1 or self.learn_rate <= 0:
            raise ValueError(
                "Expected at least 1 pattern that is trained and a learning rate above 0, but got "
                f"{self.top} and {self.learn_rate}."
            )
        space = self.task.space
        for name, values in (("depths", space.depths), ("repeats", space.repeats)):
            if len(values) > 1:
                raise ValueError(
                    f"Gates are learned at one depth and one number of repeats, but got {name} "
                    f"{', '.join(map(str, values))}. Give one of them, or use another strategy."
                )

    def propose(self, outcomes: Sequence[Outcome]) -> list[Trial]:
        """The training with gates, then the nearest patterns."""
        gated = self._gated
        found = next((outcome for outcome in outcomes if outcome.trial == gated), None)
        if found is None:
            return [gated]
        if not found.gates:  # it failed
            return []
        nearest = find_nearest(found.gates, self.task.space, self.top)
        start = gated.candidate
        candidates = [Candidate(pattern, start.n_layers, start.repeat) for pattern in nearest]
        return drop_done((t for c in candidates for t in self.task.full_trials(c)), outcomes)

    def plan(self) -> list[Stage]:
        """The training with gates, then the nearest patterns."""
        return [
            Stage("with gates", 1, self.task.steps),
            Stage(f"the {self.top} nearest", self.top * len(self.task.seeds), self.task.steps),
        ]

    @property
    def _gated(self) -> Trial:
        options = (("learn_rate", self.learn_rate),)
        start = find_start(self.task.space)
        return Trial("gates", start, self.task.seeds[0], self.task.steps, options)


def find_nearest(gates: Sequence[float], space: Space, n: int) -> list[str]:
    """The patterns that are most probable if each gate is the probability that its group is open.

    gates (Sequence[float]): One per group, from 0 to 1.
    space (Space): Only its patterns count.
    n (int): How many.
    RETURNS (list[str]): From the most probable; fewer if the space has fewer.
    """
    gates = [min(max(gate, _LEAST), 1 - _LEAST) for gate in gates]
    if space.patterns is not None:
        return sorted(space.patterns, key=lambda pattern: _cost(pattern, gates))[:n]
    rounded = ["b" if gate > 0.5 else "c" for gate in gates]
    # What each group costs that is not as its gate says, cheapest first.
    flips = sorted((abs(log(gate / (1 - gate))), group) for group, gate in enumerate(gates))
    found: list[str] = []
    # Sets of flips by their cost: each follows from one with a cheaper or no last flip.
    heap: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    while heap and len(found) < n:
        cost, chosen = heappop(heap)
        pattern = list(rounded)
        for place in chosen:
            group = flips[place][1]
            pattern[group] = "c" if pattern[group] == "b" else "b"
        found.append("".join(pattern))
        last = chosen[-1] if chosen else -1
        if last + 1 < len(flips):
            following = flips[last + 1][0]
            heappush(heap, (cost + following, (*chosen, last + 1)))
            if chosen:
                heappush(heap, (cost + following - flips[last][0], (*chosen[:-1], last + 1)))
    return found


def _cost(pattern: str, gates: Sequence[float]) -> float:
    return -sum(
        log(gate if letter == "b" else 1 - gate)
        for letter, gate in zip(pattern, gates, strict=True)
    )
