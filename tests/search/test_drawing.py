"""Patterns of a shared training, and what is scored afterwards."""

from collections import Counter
from itertools import islice

import pytest

from spacy_lgu.search.drawing import draw_candidates, explore
from spacy_lgu.search.space import Candidate, Space, make_space

from .helpers import SCORES


def draw(space, n, *, seed=0, draw="even"):
    return list(islice(draw_candidates(space, seed, draw), n))


def test_the_least_and_the_most_come_within_every_five_steps():
    patterns = [c.pattern for c in draw(Space(4), 100)]
    for start in range(0, 100, 5):
        assert patterns[start : start + 2] == ["cccc", "bbbb"]
    assert draw(Space(4), 100) == draw(Space(4), 100)
    assert draw(Space(4), 100) != draw(Space(4), 100, seed=1)


@pytest.mark.parametrize(
    ("kind", "shares"), [("even", [1, 1, 1, 1, 1]), ("middle", [1, 4, 6, 4, 1])]
)
def test_how_many_groups_are_open(kind, shares):
    drawn = [c.pattern for c in draw(Space(4), 20_000, draw=kind)]
    counts = Counter(p.count("b") for i, p in enumerate(drawn) if i % 5 > 1)
    found = [counts[n] / sum(counts.values()) for n in range(5)]
    assert found == pytest.approx([share / sum(shares) for share in shares], abs=0.02)


def test_named_patterns_depths_and_repeats_are_drawn():
    space = make_space("c", patterns=["cb", "bb"], depths=[4, 2], repeats=[0, 1])
    drawn = draw(space, 200)
    assert set(drawn) == set(space)
    assert {c.pattern for c in drawn[::5]} == {"cb"}


def test_small_spaces_are_scored_whole():
    scores = explore(Space(4), lambda c: SCORES[c.pattern], most=16, seed=0)
    assert {c.pattern: score for c, score in scores.items()} == SCORES


def test_large_spaces_are_searched_near_good_candidates():
    asked = []

    def score(candidate):
        """The groups 3, 8 and 20 help, all others harm a little."""
        asked.append(candidate)
        opened = {i for i, letter in enumerate(candidate.pattern) if letter == "b"}
        return len(opened & {3, 8, 20}) - 0.1 * len(opened)

    scores = explore(Space(32), score, most=400, seed=0)
    assert len(asked) == len(set(asked)) == len(scores) == 400
    best = max(scores, key=scores.get)
    assert {3, 8, 20} <= {i for i, letter in enumerate(best.pattern) if letter == "b"}
    assert scores[Candidate("c" * 32)] == 0
    assert Candidate("b" * 32) in scores


@pytest.mark.parametrize("most", [1, 2, 3, 16, 256])
def test_both_ends_are_scored_however_large_the_space(most):
    space = make_space("c" * 16, depths=range(16, 33), repeats=[0, 1])
    scores = explore(space, lambda c: c.pattern.count("b"), most=most, seed=0)
    assert len(scores) == most
    patterns = [c.pattern for c in scores]
    assert patterns[0] == "c" * 16
    if most > 3:
        assert "b" * 16 in patterns
        assert len({c.n_layers for c in scores}) > 2


def test_depths_are_changed():
    space = make_space("cb", depths=range(2, 42))
    first = list(explore(space, lambda c: -abs(c.n_layers - 20), most=60, seed=0))
    changed = {c.n_layers for c in first[30:]} - {c.n_layers for c in first[:30]}
    assert len(changed) > 5


def test_large_spaces_of_depths_and_named_patterns():
    space = make_space("c", patterns=["cb", "bb", "cc"], depths=range(1, 9), repeats=[0, 1, 2])
    scores = explore(space, lambda c: c.n_layers, most=30, seed=0)
    assert len(scores) == 30
    assert set(scores) <= set(space)
