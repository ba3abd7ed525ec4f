"""From scores of tags to valid tags."""

import numpy

from ..segments import find_segments, find_starts, pick_segments
from .steps import TimeSteps
from .tags import OUTSIDE, may_follow


def decode_viterbi(scores: numpy.ndarray, lengths: numpy.ndarray) -> numpy.ndarray:
    """The valid tag sequences with the highest sums of scores, exactly.

    scores (ndarray): Log-probabilities of the tags, -inf for a B that is not allowed.
        Shape: (tokens, tags).
    lengths (ndarray): Tokens of each sequence. Shape: (sequences,).
    RETURNS (ndarray): Tags. Shape: (tokens,).
    """
    tags = scores.argmax(axis=1)
    is_valid = may_follow(tags, lengths)
    # Where B-k is as good as I-k for every k, no best sequence needs an I: cut there.
    is_first: numpy.ndarray = numpy.all(scores[:, 1::2] >= scores[:, 2::2], axis=1)
    is_first[find_starts(lengths)[lengths > 0]] = True
    lengths = numpy.diff(numpy.append(numpy.flatnonzero(is_first), len(tags)))
    # Where the best tags are valid, no valid sequence is better: in a trained model, almost all.
    pieces = numpy.unique(find_segments(lengths)[~is_valid])
    if len(pieces):
        rows = pick_segments(pieces, lengths)
        tags[rows] = _viterbi(scores[rows], lengths[pieces])
    return tags


def decode_greedy(scores: numpy.ndarray, lengths: numpy.ndarray) -> numpy.ndarray:
    """The best tag of each token. I-X after anything but B-X or I-X begins a span, as in the
    conlleval script of the CoNLL shared tasks, or is O where none may begin.

    scores, lengths (ndarray): As in decode_viterbi.
    RETURNS (ndarray): Tags. Shape: (tokens,).
    """
    tags = scores.argmax(axis=1)
    while True:
        invalid = numpy.flatnonzero(~may_follow(tags, lengths))
        barred = invalid[numpy.isneginf(scores[invalid, tags[invalid] - 1])]
        if not len(barred):
            break
        tags[barred] = OUTSIDE  # an I after it may now be invalid
    tags[invalid] -= 1
    return tags


def _viterbi(scores: numpy.ndarray, lengths: numpy.ndarray) -> numpy.ndarray:
    steps = TimeSteps.of(lengths)
    scores = steps.sort(scores)
    outside, begin, inside = scores[:, 0], scores[:, 1::2], scores[:, 2::2]
    # The best tag of a row if no I follows, and whether I-k is better than B-k if I-k follows.
    best_tags = numpy.empty(len(scores), dtype="int64")
    from_inside = numpy.empty(begin.shape, dtype="bool")
    best = numpy.zeros(steps.n_active(0))
    best_open = numpy.full((steps.n_active(0), begin.shape[1]), -numpy.inf)
    for t in range(len(steps)):
        rows, n = steps.rows(t), steps.n_active(t)
        after_open = inside[rows] + best_open[:n]
        after_any = begin[rows] + best[:n, None]
        from_inside[rows] = after_open > after_any
        best_open = numpy.maximum(after_any, after_open)
        label = best_open.argmax(axis=1)
        ranks = numpy.arange(n)
        after_outside = outside[rows] + best[:n]
        open_is_better = best_open[ranks, label] > after_outside
        open_tags = 2 * label + 1 + from_inside[rows][ranks, label]
        best_tags[rows] = numpy.where(open_is_better, open_tags, OUTSIDE)
        best = numpy.maximum(best_open[ranks, label], after_outside)
    tags = best_tags
    following = numpy.zeros(0, dtype="int64")
    for t in reversed(range(len(steps))):
        rows = steps.rows(t)
        ranks = numpy.flatnonzero((following > 0) & (following % 2 == 0))
        label = following[ranks] // 2 - 1
        tags[rows.start + ranks] = 2 * label + 1 + from_inside[rows][ranks, label]
        following = tags[rows]
    return steps.unsort(tags)
