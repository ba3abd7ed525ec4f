"""What is done with the gradients of a batch."""

import numpy
import pytest

from spacy_lgu.listeners import waiting
from spacy_lgu.listeners.waiting import sum_squares


def arrays(*values):
    return [numpy.array(rows, dtype="float32") for rows in values]


def test_sum_of_squares_by_eye():
    assert sum_squares([arrays([[1.0, 2.0]]), arrays([[3.0, 0.0], [0.0, 4.0]])]) == 5.0 + 25.0
    assert sum_squares([[], []]) == 0.0
    assert isinstance(sum_squares([arrays([[1.0]])]), float)


@pytest.mark.parametrize("n", [1, 7, 100])
def test_it_is_read_once_and_as_exact_as_one_by_one(monkeypatch, n):
    read = []
    to_numpy = waiting.to_numpy
    monkeypatch.setattr(waiting, "to_numpy", lambda X: read.append(X.shape) or to_numpy(X))
    generator = numpy.random.default_rng(0)
    gradients = [[generator.normal(size=(1, i + 1, 8)).astype("float32")] for i in range(n)]
    assert sum_squares(gradients) == sum(float((dX**2).sum()) for (dX,) in gradients)
    assert read == [(n,)]
