"""Recursions over many sequences at once.

Loops go over positions, never over sequences or tags. Sequences are sorted by length and step in
time together, those that have ended left out, so that one long sequence among short ones costs
no padding. Three sequences, of the lengths 1, 3 and 2:

    rows      a0  b0 b1 b2  c0 c1
    step 0    b0 c0 a0
    step 1    b1 c1
    step 2    b2
"""

from dataclasses import dataclass

import numpy

from ..segments import find_bounds, find_segments, number_rows


@dataclass(frozen=True)
class TimeSteps:
    """Rows sorted by position, within a position by length of the sequence, longest first.

    order (ndarray): The sequences, longest first. Shape: (sequences,).
    rank (ndarray): For each sequence, its place in this order. Shape: (sequences,).
    target (ndarray): For each row as given, its place in the order of rows. Shape: (tokens,).
    bounds (list[int]): Step t has the rows bounds[t] to bounds[t + 1].
    """

    order: numpy.ndarray
    rank: numpy.ndarray
    target: numpy.ndarray
    bounds: list[int]

    @classmethod
    def of(cls, lengths: numpy.ndarray) -> "TimeSteps":
        order = numpy.argsort(-lengths, kind="stable")
        rank = numpy.empty(len(lengths), dtype="int64")
        rank[order] = numpy.arange(len(lengths))
        longest = int(lengths.max(initial=0))
        n_active = numpy.searchsorted(-lengths[order], -numpy.arange(longest))
        bounds = find_bounds(n_active)
        target = bounds[number_rows(lengths)] + rank[find_segments(lengths)]
        return cls(order, rank, target, bounds.tolist())

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def rows(self, t: int) -> slice:
        return slice(self.bounds[t], self.bounds[t + 1])

    def n_active(self, t: int) -> int:
        return self.bounds[t + 1] - self.bounds[t]

    def sort(self, X: numpy.ndarray) -> numpy.ndarray:
        Y = numpy.empty_like(X)
        Y[self.target] = X
        return Y

    def unsort(self, Y: numpy.ndarray) -> numpy.ndarray:
        return Y[self.target]
