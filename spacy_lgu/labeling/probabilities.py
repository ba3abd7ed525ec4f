"""Probabilities under the distribution of valid tag sequences.

That is the product of the tags' probabilities, restricted to valid sequences and normalised over
them. The recursions step through sequences together, see steps.py; long ones are cut into pieces
that step together as well, and the results are those of the whole.
"""

import numpy

from ..segments import find_bounds, find_segments, number_rows, pick_segments
from .steps import TimeSteps
from .tags import MISSING, TokenSpans

# No probability below exp(-600): the recursions divide by sums of them, in float64.
_LOWEST = -600.0
# Tokens per piece in the recursions: several times the length of the longest spans, within which
# tokens depend on each other.
_PIECE = 256
# Relative precision at which what one piece hands on equals what the next began with.
_PRECISION = 1e-13


def log_softmax(logits: numpy.ndarray) -> numpy.ndarray:
    """Log-probabilities in float64. Shape: (tokens, tags)."""
    X = logits.astype("float64")
    X -= X.max(axis=1, keepdims=True)
    X -= numpy.log(numpy.exp(X).sum(axis=1, keepdims=True))
    return X


def span_probabilities(
    log_probs: numpy.ndarray, lengths: numpy.ndarray, spans: TokenSpans
) -> numpy.ndarray:
    """The probability of each span: that exactly these tokens are a span with this label.

    It is the marginal under the distribution of valid tag sequences, that is the product of the
    tags' probabilities restricted to valid sequences and normalised over them, computed by the
    forward-backward algorithm. The probabilities of different spans that share a token, and of
    the token being outside, sum to one.

    log_probs (ndarray): Log-probabilities of the tags. Shape: (tokens, tags).
    lengths (ndarray): Tokens of each sequence. Shape: (sequences,).
    spans (TokenSpans): Any spans, not only decoded ones.
    RETURNS (ndarray): Shape: (spans,), float64.
    """
    if not len(spans):
        return numpy.zeros(0, dtype="float64")
    sequences, which = numpy.unique(spans.sequences, return_inverse=True)
    log_probs = numpy.maximum(log_probs[pick_segments(sequences, lengths)], _LOWEST)
    lengths = lengths[sequences]
    probs = numpy.exp(log_probs)
    # Sums over all tokens before, so that a difference is a sum over neighbours.
    before = _sums_before(numpy.log(_growth(probs, lengths, is_forward=True)))
    after = _sums_before(numpy.log(_growth(probs, lengths, is_forward=False)))
    inside = _sums_before(log_probs[:, 2::2])
    bounds = find_bounds(lengths)
    firsts, lasts = bounds[which], bounds[which + 1]
    starts, ends = firsts + spans.starts, firsts + spans.ends
    log_marginals = (
        (before[starts] - before[firsts])
        + log_probs[starts, 2 * spans.labels + 1]
        + (inside[ends, spans.labels] - inside[starts + 1, spans.labels])
        + (after[lasts] - after[ends])
        - (before[lasts] - before[firsts])
    )
    return numpy.exp(numpy.minimum(log_marginals, 0.0))


def log_likelihood(log_probs: numpy.ndarray, lengths: numpy.ndarray, tags: numpy.ndarray) -> float:
    """Log-probability of the tags under the distribution of valid sequences, summed.

    log_probs (ndarray): Log-probabilities of the tags. Shape: (tokens, tags).
    lengths (ndarray): Tokens of each sequence. Shape: (sequences,).
    tags (ndarray): Valid tags, MISSING where not known: all that fit are then summed.
        Shape: (tokens,).
    RETURNS (float): In nats, at most 0.
    """
    probs = numpy.exp(numpy.maximum(log_probs, _LOWEST))
    known = tags != MISSING
    fitting = probs * (~known[:, None] | (tags[:, None] == numpy.arange(probs.shape[1])))
    total = numpy.log(_growth(probs, lengths, is_forward=True)).sum()
    return float(numpy.log(_growth(fitting, lengths, is_forward=True)).sum() - total)


def _growth(probs: numpy.ndarray, lengths: numpy.ndarray, *, is_forward: bool) -> numpy.ndarray:
    """The factor by which each token changes the mass of valid sequences.

    Forward, mass[t] is the sum over valid tags of the tokens 0..t of the products of their
    probabilities, and the result mass[t] / mass[t - 1]. Backward, it is the sum over valid tags
    of the tokens t..end, the first of them no I, and the result mass[t] / mass[t + 1].

    Pieces of long sequences begin with a guess of what the piece before hands on, and are
    computed again until that is what they began with. Dependence fades within a few tokens, so
    that this takes two rounds; after n rounds, the first n pieces are right in any case.

    RETURNS (ndarray): Shape: (tokens,).
    """
    n_pieces = -(-lengths // _PIECE)
    sequences, number = find_segments(n_pieces), number_rows(n_pieces)
    piece_lengths = numpy.minimum(lengths[sequences] - number * _PIECE, _PIECE)
    n_labels = probs.shape[1] // 2
    if is_forward:
        recursion, neighbours = _forward, numpy.arange(len(sequences)) - 1
        has_neighbour = number > 0
    else:
        recursion, neighbours = _backward, numpy.arange(len(sequences)) + 1
        has_neighbour = number < n_pieces[sequences] - 1
    # Not zero, which would make a piece that begins within a span impossible.
    begun = numpy.where(has_neighbour[:, None], 1 / (1 + n_labels), numpy.zeros(n_labels))
    handed_on = numpy.empty_like(begun)
    growth = numpy.empty(len(probs))
    stale = numpy.arange(len(sequences))
    while len(stale):
        rows = pick_segments(stale, piece_lengths)
        growth[rows], handed_on[stale] = recursion(probs[rows], piece_lengths[stale], begun[stale])
        waiting = numpy.flatnonzero(has_neighbour)
        right = handed_on[neighbours[waiting]]
        gaps = numpy.abs(right - begun[waiting]) > _PRECISION * right
        begun[waiting] = right
        stale = waiting[gaps.any(axis=1)]
    return growth


def _forward(
    probs: numpy.ndarray, lengths: numpy.ndarray, begun: numpy.ndarray
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """See _growth. What is handed on is the share of the mass that ends in B-k or I-k. Shape:
    (sequences, labels)."""
    steps = TimeSteps.of(lengths)
    probs = steps.sort(probs)
    outside, begin, inside = probs[:, 0], probs[:, 1::2], probs[:, 2::2]
    growth = numpy.empty(len(probs))
    share = begun[steps.order]
    for t in range(len(steps)):
        rows, n = steps.rows(t), steps.n_active(t)
        open_ = begin[rows] + inside[rows] * share[:n]
        growth[rows] = outside[rows] + open_.sum(axis=1)
        share[:n] = open_ / growth[rows, None]
    return steps.unsort(growth), share[steps.rank]


def _backward(
    probs: numpy.ndarray, lengths: numpy.ndarray, begun: numpy.ndarray
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """See _growth. What is handed on is the mass that I-k and what follows it add after a B-k or
    I-k, as a multiple of the rest. Shape: (sequences, labels)."""
    steps = TimeSteps.of(lengths)
    probs = steps.sort(probs)
    outside, begin, inside = probs[:, 0], probs[:, 1::2], probs[:, 2::2]
    growth = numpy.empty(len(probs))
    added = begun[steps.order]
    for t in reversed(range(len(steps))):
        rows, n = steps.rows(t), steps.n_active(t)
        open_ = 1 + added[:n]
        growth[rows] = outside[rows] + (begin[rows] * open_).sum(axis=1)
        added[:n] = inside[rows] * open_ / growth[rows, None]
    return steps.unsort(growth), added[steps.rank]


def _sums_before(X: numpy.ndarray) -> numpy.ndarray:
    """Cumulative sums along the first axis, one row longer: row i sums the rows before i."""
    Y = numpy.zeros((len(X) + 1, *X.shape[1:]))
    X.cumsum(axis=0, out=Y[1:])
    return Y
