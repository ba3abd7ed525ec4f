"""Row arithmetic of segments that lie end to end in one array: starts, positions, rows.

The sequences of a packed batch, the tokens of a Doc and the subtokens of a token are all described
by their lengths alone; what follows from the lengths is computed here, once.
"""

import numpy
from numpy.typing import NDArray

IntsT = NDArray[numpy.integer]


def find_starts(lengths: IntsT) -> IntsT:
    """The row at which each segment begins.

    lengths (ndarray): Rows of each segment; may be 0. Shape: (n,).
    RETURNS (ndarray): Shape: (n,).
    """
    return lengths.cumsum() - lengths


def find_bounds(lengths: IntsT) -> IntsT:
    """Where each segment begins, and the end of the last: segment i is bounds[i]:bounds[i + 1].

    lengths (ndarray): Rows of each segment. Shape: (n,).
    RETURNS (ndarray): Shape: (n + 1,).
    """
    return numpy.append(0, lengths.cumsum())


def number_rows(lengths: IntsT) -> IntsT:
    """Each row's position in its segment: lengths 2, 0, 3 give 0 1 0 1 2.

    lengths (ndarray): Rows of each segment. Shape: (n,).
    RETURNS (ndarray): Shape: (sum of lengths,).
    """
    return list_rows(numpy.zeros_like(lengths), lengths)


def list_rows(starts: IntsT, lengths: IntsT) -> IntsT:
    """The rows of segments at any places: starts 7, 3 and lengths 2, 3 give 7 8 3 4 5.

    starts (ndarray): First row of each segment. Shape: (n,).
    lengths (ndarray): Rows of each segment. Shape: (n,).
    RETURNS (ndarray): Shape: (sum of lengths,).
    """
    return numpy.repeat(starts - find_starts(lengths), lengths) + numpy.arange(lengths.sum())


def pick_segments(segments: IntsT, lengths: IntsT) -> IntsT:
    """The rows of some segments, in the order given: with lengths 2, 0, 3, the segments 2, 0 have
    the rows 2 3 4 0 1.

    segments (ndarray): Their indices. Shape: (picked,).
    lengths (ndarray): Rows of each segment. Shape: (n,).
    RETURNS (ndarray): Shape: (rows picked,).
    """
    return list_rows(find_starts(lengths)[segments], lengths[segments])


def find_segments(lengths: IntsT) -> IntsT:
    """The segment to which each row belongs: lengths 2, 0, 3 give 0 0 2 2 2.

    lengths (ndarray): Rows of each segment. Shape: (n,).
    RETURNS (ndarray): Shape: (sum of lengths,).
    """
    return numpy.repeat(numpy.arange(len(lengths)), lengths)


def sum_segments(values: numpy.ndarray, lengths: IntsT) -> IntsT:
    """The sum of each segment's values: 1 1 9 9 9 with lengths 2, 0, 3 give 2 0 27.

    values (ndarray): Whole numbers or flags. Shape: (sum of lengths,).
    lengths (ndarray): Rows of each segment. Shape: (n,).
    RETURNS (ndarray): Shape: (n,).
    """
    return numpy.diff(find_bounds(values)[find_bounds(lengths)])


def count_leading(flags: numpy.ndarray, lengths: IntsT) -> IntsT:
    """How many flags are set at the start of each segment.

    flags (ndarray): Shape: (sum of lengths,).
    lengths (ndarray): Rows of each segment. Shape: (n,).
    RETURNS (ndarray): Shape: (n,).
    """
    starts = find_starts(lengths)
    clear = numpy.append(numpy.flatnonzero(~flags), len(flags))
    return numpy.minimum(clear[numpy.searchsorted(clear, starts)] - starts, lengths)
