"""Row arithmetic of packed segments, by literal values."""

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_lgu.segments import (
    count_leading,
    find_bounds,
    find_segments,
    find_starts,
    list_rows,
    number_rows,
    pick_segments,
    sum_segments,
)

LENGTHS = numpy.array([2, 0, 3])
FLAGS = numpy.array([True, True, True, False, True])


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (find_starts(LENGTHS), [0, 2, 2]),
        (find_bounds(LENGTHS), [0, 2, 2, 5]),
        (number_rows(LENGTHS), [0, 1, 0, 1, 2]),
        (find_segments(LENGTHS), [0, 0, 2, 2, 2]),
        (list_rows(numpy.array([7, 9, 3]), LENGTHS), [7, 8, 3, 4, 5]),
        (pick_segments(numpy.array([2, 0]), LENGTHS), [2, 3, 4, 0, 1]),
        (sum_segments(numpy.array([1, 1, 9, 9, 9]), LENGTHS), [2, 0, 27]),
        (sum_segments(FLAGS, LENGTHS), [2, 0, 2]),
        (count_leading(FLAGS, LENGTHS), [2, 0, 1]),
        (count_leading(~FLAGS, LENGTHS), [0, 0, 0]),
        (find_bounds(numpy.zeros(0, dtype="int64")), [0]),
        (number_rows(numpy.zeros(0, dtype="int64")), []),
    ],
)
def test_values(found, expected):
    assert found.tolist() == expected


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=8))
def test_rows_are_those_of_ranges(segments):
    starts, lengths = numpy.array(segments, dtype="int64").reshape(-1, 2).T
    expected = [row for start, length in segments for row in range(start, start + length)]
    assert list_rows(starts, lengths).tolist() == expected
    positions = [position for _, length in segments for position in range(length)]
    assert number_rows(lengths).tolist() == positions
