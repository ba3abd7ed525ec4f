"""Which pattern each step of a shared training runs under, and which candidates are then scored.

Pure: the same seed gives the same patterns.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from random import Random

from .space import Candidate, Space
from .trials import rank

# All causal and all open come once in so many steps.
_CYCLE = 5
# Of how many of the best candidates one group is changed, where not all can be scored.
_PARENTS = 8


def draw_candidates(space: Space, seed: int, draw: str) -> Iterator[Candidate]:
    """A candidate for each step, without end.

    space (Space): Where they come from.
    seed (int): Seed.
    draw (str): "even" or "middle", as in oneshot.py; where a space names its patterns, each is
        drawn equally often.
    RETURNS (Iterator[Candidate]): Of every five, one opens the least and one the most.
    """
    random = Random(seed)
    named = space.patterns or (space.causal, space.open)
    ends = (min(named, key=_count_open), max(named, key=_count_open))
    for step in count():
        place = step % _CYCLE
        pattern = ends[place] if place < 2 else _draw_pattern(space, random, draw)
        yield Candidate(pattern, random.choice(space.depths), random.choice(space.repeats))


def explore(
    space: Space, score: Callable[[Candidate], float], most: int, seed: int
) -> dict[Candidate, float]:
    """Score candidates: all of them, or where they are more than that, those near good ones.

    space (Space): The candidates.
    score (Callable): Candidate -> score, which takes a while.
    most (int): How many are scored at most.
    seed (int): Seed for what is tried.
    RETURNS (dict[Candidate, float]): The scores.
    """
    if space.n_candidates <= most:
        return {candidate: score(candidate) for candidate in space}
    random = Random(seed)
    scores: dict[Candidate, float] = {}
    for candidate in _thin(list(_list_staircase(space)), max(1, most // 2), random):
        scores[candidate] = score(candidate)
    while len(scores) < most:
        parents = rank(scores)[:_PARENTS]
        candidate = _mutate(random.choice(parents), space, random)
        while candidate in scores:  # it ends: there are more candidates than are scored
            candidate = _mutate(candidate, space, random)
        scores[candidate] = score(candidate)
    return scores


def _draw_pattern(space: Space, random: Random, draw: str) -> str:
    if space.patterns is not None:
        return random.choice(space.patterns)
    groups = range(space.n_groups)
    if draw == "middle":
        return "".join(random.choice("cb") for _ in groups)
    opened = random.sample(groups, random.randint(0, space.n_groups))
    return "".join("b" if group in opened else "c" for group in groups)


def _list_staircase(space: Space) -> Iterator[Candidate]:
    """Groups opened one after the other from the output side, at every depth and repetition."""
    if space.patterns is not None:
        patterns = list(space.patterns)
    else:
        n = space.n_groups
        patterns = [f"{'c' * (n - opened)}{'b' * opened}" for opened in range(n + 1)]
    for pattern in patterns:
        for n_layers in space.depths:
            for repeat in space.repeats:
                yield Candidate(pattern, n_layers, repeat)


def _thin(candidates: list[Candidate], most: int, random: Random) -> list[Candidate]:
    """At most so many of them, in their order, the first and the last among them."""
    n_inner = most - 2
    if len(candidates) <= most or n_inner < 0:
        return candidates[:most]
    inner = sorted(random.sample(range(1, len(candidates) - 1), n_inner))
    return [candidates[place] for place in (0, *inner, len(candidates) - 1)]


def _mutate(candidate: Candidate, space: Space, random: Random) -> Candidate:
    """A candidate that differs in one group, or in depth or repetition."""
    places = ["pattern"] * (space.n_groups if space.patterns is None else 1)
    places += ["n_layers"] * (len(space.depths) > 1) + ["repeat"] * (len(space.repeats) > 1)
    place = random.choice(places)
    if place == "n_layers":
        return replace(candidate, n_layers=random.choice(space.depths))
    if place == "repeat":
        return replace(candidate, repeat=random.choice(space.repeats))
    if space.patterns is not None:
        return replace(candidate, pattern=random.choice(space.patterns))
    group = random.randrange(space.n_groups)
    letters = list(candidate.pattern)
    letters[group] = "c" if letters[group] == "b" else "b"
    return replace(candidate, pattern="".join(letters))


def _count_open(pattern: str) -> int:
    return pattern.count("b")
