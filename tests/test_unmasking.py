import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_lgu.unmasking import (
    LayerKind,
    describe_fixed,
    describe_layers,
    find_groups,
    group_sizes,
    list_patterns,
    normalize_pattern,
    parse_pattern,
    unmask_layers,
)

C, B = False, True


@pytest.mark.parametrize(
    ("n_layers", "n_groups", "sizes"),
    [
        (32, 4, [8, 8, 8, 8]),
        (8, 4, [2, 2, 2, 2]),
        (4, 4, [1, 1, 1, 1]),
        (30, 4, [8, 8, 7, 7]),
        (7, 3, [3, 2, 2]),
        (5, 1, [5]),
        (1, 1, [1]),
    ],
)
def test_first_groups_take_the_remainder(n_layers, n_groups, sizes):
    assert group_sizes(n_layers, n_groups) == sizes


def test_layers_of_groups():
    assert find_groups(5, 2) == [range(3), range(3, 5)]


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))))
def test_groups_cover_all_layers_evenly(numbers):
    n_layers, n_groups = numbers
    sizes = group_sizes(n_layers, n_groups)
    assert sum(sizes) == n_layers
    assert len(sizes) == n_groups
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] in (0, 1)


@pytest.mark.parametrize(("n_layers", "n_groups"), [(4, 5), (4, 0), (4, -1), (0, 1)])
def test_impossible_groups_are_refused(n_layers, n_groups):
    message = f"Cannot divide {n_layers} decoder layers into {n_groups} layer groups"
    with pytest.raises(ValueError, match=message):
        group_sizes(n_layers, n_groups)


@pytest.mark.parametrize(
    ("pattern", "flags"),
    [("ccbb", (C, C, B, B)), ("0011", (C, C, B, B)), ("b", (B,)), ("cbc", (C, B, C))],
)
def test_pattern_is_read_from_the_input_side(pattern, flags):
    assert parse_pattern(pattern) == flags


@pytest.mark.parametrize(("given_", "letters"), [("0011", "ccbb"), ("ccbb", "ccbb"), ("1", "b")])
def test_digits_become_letters(given_, letters):
    assert normalize_pattern(given_) == letters


@pytest.mark.parametrize("pattern", ["ccbx", "CCBB", "c0b1", " ccbb", "cc bb", "c-b", "²²"])
def test_other_letters_are_refused(pattern):
    with pytest.raises(ValueError, match=f"pattern is '{pattern}'. Expected a string with one"):
        parse_pattern(pattern)


@pytest.mark.parametrize("pattern", [None, ["c", "b"], 1.5, b"ccbb"])
def test_other_types_are_refused(pattern):
    with pytest.raises(ValueError, match=r"The unmasking pattern is .*for example 'ccbb'"):
        parse_pattern(pattern)


def test_empty_pattern_is_refused():
    with pytest.raises(ValueError, match="The unmasking pattern is empty"):
        parse_pattern("")


@pytest.mark.parametrize("pattern", [11, 0, True])
def test_integer_is_explained(pattern):
    with pytest.raises(ValueError, match=f"integer {pattern}: spaCy's override .*Use letters"):
        parse_pattern(pattern)


@given(st.text(max_size=6))
def test_any_text_is_read_or_refused(text):
    if text and (set(text) <= set("cb") or set(text) <= set("01")):
        assert len(parse_pattern(text)) == len(text)
    else:
        with pytest.raises(ValueError, match="Expected a string with one letter per layer group"):
            parse_pattern(text)


def test_layers_get_the_direction_of_their_group():
    assert unmask_layers("ccbb", 8) == (C, C, C, C, B, B, B, B)
    assert unmask_layers("bc", 5) == (B, B, B, C, C)
    assert unmask_layers("cbcb", 4) == (C, B, C, B)


def test_more_groups_than_layers_are_refused():
    with pytest.raises(ValueError, match="1 to 3 groups, that is an unmasking pattern of 1 to 3"):
        unmask_layers("ccbb", 3)


def test_all_patterns_of_four_groups_in_the_papers_order():
    assert list_patterns(4) == [
        *["cccc", "cccb", "ccbc", "ccbb", "cbcc", "cbcb", "cbbc", "cbbb"],
        *["bccc", "bccb", "bcbc", "bcbb", "bbcc", "bbcb", "bbbc", "bbbb"],
    ]
    assert list_patterns(1) == ["c", "b"]


def test_patterns_need_a_group():
    with pytest.raises(ValueError, match="at least 1 layer group, but got 0"):
        list_patterns(0)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((C, C, C, C, B, B, B, B), "layers 0-3 causal, layers 4-7 bidirectional"),
        ((B, C, C, B), "layer 0 bidirectional, layers 1-2 causal, layer 3 bidirectional"),
        ((C,), "layer 0 causal"),
        ((B, B), "layers 0-1 bidirectional"),
    ],
)
def test_layer_map_in_words(flags, words):
    assert describe_layers(flags) == words


R, A, P, F = LayerKind.RECURRENT, LayerKind.ATTENTION, LayerKind.PARALLEL, LayerKind.FEED_FORWARD


@pytest.mark.parametrize(
    ("pattern", "kinds", "flags"),
    [
        ("cb", (R, R, R, A, R, R, R, A), (C, C, C, C, C, C, C, B)),
        ("b", (R, R, R, A), (C, C, C, B)),
        ("bb", (R, R, A, A), (C, C, B, B)),  # the first group has nothing to open, the other has
        ("cc", (R, R, R, R), (C, C, C, C)),
        ("bc", (P, F, A, A), (B, C, C, C)),
    ],
)
def test_only_layers_with_a_mask_are_unmasked(pattern, kinds, flags):
    assert unmask_layers(pattern, len(kinds), kinds) == flags


@pytest.mark.parametrize(
    ("pattern", "kinds", "opened", "others"),
    [
        ("bccc", (R, A, R, A), "layer 0", "layers 1, 3"),
        ("bbcc", (R, F, A, A), "layers 0-1", "layers 2-3"),
        ("bcb", (R, R, A, R, R), "layers 0-1, 4", "layer 2"),
    ],
)
def test_patterns_that_open_no_mask_are_refused(pattern, kinds, opened, others):
    message = (
        f"The unmasking pattern '{pattern}' unmasks {opened}, none of which has a causal mask to "
        rf"remove: in this decoder only {others} can be unmasked \(softmax attention\)\. Choose a"
    )
    with pytest.raises(ValueError, match=message):
        unmask_layers(pattern, len(kinds), kinds)


@pytest.mark.parametrize(
    ("kinds", "flags", "words"),
    [
        ((A, A), (C, B), "layer 0 causal, layer 1 bidirectional"),
        ((R, R, R, A), (C, C, C, B), "layers 0-2 recurrent (always causal), layer 3 bidirectional"),
        (
            (R, A, R, A, R, A),
            (C, C, C, B, C, C),
            "layers 0, 2, 4 recurrent (always causal), layers 1, 5 causal, layer 3 bidirectional",
        ),
        (
            (P, P, F),
            (C, B, C),
            "layer 0 causal beside a recurrent part (always causal), layer 1 bidirectional beside "
            "a recurrent part (always causal), layer 2 feed-forward (sees one position)",
        ),
    ],
)
def test_layers_that_no_pattern_opens_are_named(kinds, flags, words):
    assert describe_layers(flags, kinds) == words


def test_what_no_pattern_changes():
    assert describe_fixed((R, R, A, R, F)) == (
        "layers 0-1, 3 recurrent (always causal), layer 4 feed-forward (sees one position)"
    )
    assert describe_fixed((A, P)) == ""
