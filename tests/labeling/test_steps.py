"""Sequences that step together."""

import numpy

from spacy_lgu.labeling.steps import TimeSteps


def test_the_drawing():
    steps = TimeSteps.of(numpy.array([1, 3, 2]))
    rows = numpy.array(["a0", "b0", "b1", "b2", "c0", "c1"])
    ordered = steps.sort(rows)
    assert [ordered[steps.rows(t)].tolist() for t in range(len(steps))] == [
        ["b0", "c0", "a0"],
        ["b1", "c1"],
        ["b2"],
    ]
    assert [steps.n_active(t) for t in range(3)] == [3, 2, 1]
    assert steps.unsort(ordered).tolist() == rows.tolist()


def test_empty_sequences_have_no_step():
    steps = TimeSteps.of(numpy.array([0, 2, 0]))
    assert len(steps) == 2
    assert steps.order.tolist() == [1, 0, 2]
