"""Candidates, and what users may say of them."""

import pytest

from spacy_lgu.search.space import Candidate, Space, make_space


def test_all_patterns_of_as_many_groups_as_the_config_has():
    space = make_space("cb")
    assert [c.pattern for c in space] == ["cc", "cb", "bc", "bb"]
    assert space.n_candidates == 4
    assert (space.causal, space.open) == ("cc", "bb")


def test_other_groups_depths_and_repetitions():
    space = make_space("ccbb", groups=1, depths=[4, 2], repeats=[1, 2])
    assert [(c.pattern, c.n_layers, c.repeat) for c in space] == [
        ("c", 4, 1), ("b", 4, 1), ("c", 4, 2), ("b", 4, 2),
        ("c", 2, 1), ("b", 2, 1), ("c", 2, 2), ("b", 2, 2),
    ]  # fmt: skip
    assert space.n_candidates == 8
    assert Candidate("b", 2, 1) in space
    assert Candidate("b", 3, 1) not in space
    assert Candidate("bb", 2, 1) not in space


def test_named_patterns_in_letters_or_digits():
    space = make_space("ccbb", patterns=["001", "bbb"])
    assert space.n_groups == 3
    assert [c.pattern for c in space] == ["ccb", "bbb"]
    assert Candidate("ccc") not in space


def test_what_a_candidate_sets():
    assert Candidate("cb").values == {"unmasking": "cb"}
    assert Candidate("cb", 3, 2).values == {"unmasking": "cb", "n_layers": 3, "repeat": 2}
    assert str(Candidate("cb", 3, 2)) == "cb, 3 layers, 2 repeats"


def test_a_group_per_layer_is_not_listed():
    space = Space(32)
    assert space.n_candidates == 2**32
    assert Candidate("c" * 32) in space
    with pytest.raises(
        ValueError, match=r"There are 4,294,967,296 candidates, .* oneshot or gates"
    ):
        space.listed  # noqa: B018


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patterns": ["cb", "ccb"]}, "Expected patterns of 2 letters, .* got cb, ccb"),
        ({"patterns": ["cb"], "groups": 3}, "Expected patterns of 3 letters, .* got cb"),
        ({"groups": 0}, "Expected at least 1 layer group, but got 0"),
        ({"depths": [4, 0]}, "Expected depths of at least 1, but got 4, 0"),
        ({"repeats": [-1]}, "Expected repeats of at least 0, but got -1"),
        ({"repeats": [2, 2]}, "Expected different repeats, but got 2, 2"),
        ({"patterns": ["cb", "01"]}, "Expected different patterns, but got cb, cb"),
        ({"patterns": ["cx"]}, "The unmasking pattern is 'cx'"),
    ],
)
def test_what_is_no_space(options, message):
    with pytest.raises(ValueError, match=message):
        make_space("ccbb", **options)
