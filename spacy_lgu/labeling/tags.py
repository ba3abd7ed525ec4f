"""IOB2 tags: their numbers, which may follow which, and the spans they mean. Pure numpy.

The tags of the labels X, Y are numbered O, B-X, I-X, B-Y, I-Y. I-X may only follow B-X or I-X;
everything else may follow anything. Here and in the other files of this package, sequences lie end
to end: arrays have one row per token, and `lengths` says where each sequence ends.
"""

from dataclasses import dataclass

import numpy

from ..segments import find_segments, find_starts

OUTSIDE = 0
MISSING = -1  # a token whose tag is not known


@dataclass(frozen=True)
class TokenSpans:
    """Labeled spans of all sequences, in order.

    sequences (ndarray): The sequence each belongs to. Shape: (spans,).
    starts (ndarray): First token, counted in its sequence. Shape: (spans,).
    ends (ndarray): Token after the last. Shape: (spans,).
    labels (ndarray): Index of the label. Shape: (spans,).
    """

    sequences: numpy.ndarray
    starts: numpy.ndarray
    ends: numpy.ndarray
    labels: numpy.ndarray

    def __len__(self) -> int:
        return len(self.starts)


def tag_names(labels: tuple[str, ...]) -> list[str]:
    """The tags by number: "O", then "B-X" and "I-X" of each label."""
    return ["O", *(f"{letter}-{label}" for label in labels for letter in "BI")]


def may_follow(tags: numpy.ndarray, lengths: numpy.ndarray) -> numpy.ndarray:
    """Whether each tag may follow the one before it. Shape: (tokens,)."""
    before = numpy.append(OUTSIDE, tags)[: len(tags)]
    before[find_starts(lengths)[lengths > 0]] = OUTSIDE
    is_inside = (tags > 0) & (tags % 2 == 0)
    return ~is_inside | (before == tags) | (before == tags - 1)


def find_spans(tags: numpy.ndarray, lengths: numpy.ndarray) -> TokenSpans:
    """The spans of valid tags.

    tags (ndarray): As decoding.py returns them. Shape: (tokens,).
    lengths (ndarray): Tokens of each sequence. Shape: (sequences,).
    RETURNS (TokenSpans): The spans.
    """
    rows = numpy.flatnonzero(tags % 2 == 1)
    # A span ends before the next tag that is not an I; the first tag of a sequence never is one.
    others = numpy.append(numpy.flatnonzero((tags % 2 == 1) | (tags == OUTSIDE)), len(tags))
    ends = others[numpy.searchsorted(others, rows, side="right")]
    sequences = find_segments(lengths)[rows]
    firsts = find_starts(lengths)[sequences]
    return TokenSpans(sequences, rows - firsts, ends - firsts, tags[rows] // 2)
