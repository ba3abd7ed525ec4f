"""Numbers of tags, and spans of valid ones."""

import numpy

from spacy_lgu.labeling.tags import find_spans, tag_names

from .helpers import (
    B_X,
    B_Y,
    I_X,
    O,
    as_lengths,
    as_tuples,
)


def test_tags_are_numbered_by_label():
    assert tag_names(("X", "Y")) == ["O", "B-X", "I-X", "B-Y", "I-Y"]


def test_spans_end_where_the_next_begins():
    tags = numpy.array([B_X, I_X, B_X, O, B_Y, B_X, I_X, I_X, O, B_Y])
    spans = find_spans(tags, as_lengths(0, 5, 0, 3, 2, 0))
    assert as_tuples(spans) == [
        (1, 0, 2, 0),
        (1, 2, 3, 0),
        (1, 4, 5, 1),
        (3, 0, 3, 0),
        (4, 1, 2, 1),
    ]
    assert len(spans) == 5
