"""IOB2 tags: decoding, spans and their probabilities. Pure numpy, a whole batch at once.

The tags of the labels X, Y are numbered O, B-X, I-X, B-Y, I-Y. I-X may only follow B-X or I-X;
everything else may follow anything. Sequences lie end to end: arrays have one row per token, and
`lengths` says where each sequence ends.

Loops go over positions, never over sequences or tags. Sequences are sorted by length and step in
time together, those that have ended left out, so that one long sequence among short ones costs
no padding. Long sequences are cut into pieces that step together as well, and the results are
those of the whole.
"""

from dataclasses import dataclass

import numpy

OUTSIDE = 0
MISSING = -1  # a token whose tag is not known

# No probability below exp(-600): the recursions divide by sums of them, in float64.
_LOWEST = -600.0
# Tokens per piece in the recursions: some times the length of the longest spans, whose tokens are
# what depends on each other.
_PIECE = 256
# Relative precision at which what one piece hands on is what the next began with.
_PRECISION = 1e-13


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


def log_softmax(logits: numpy.ndarray) -> numpy.ndarray:
    """Log-probabilities in float64. Shape: (tokens, tags)."""
    X = logits.astype("float64")
    X -= X.max(axis=1, keepdims=True)
    X -= numpy.log(numpy.exp(X).sum(axis=1, keepdims=True))
    return X


def decode_viterbi(scores: numpy.ndarray, lengths: numpy.ndarray) -> numpy.ndarray:
    """The valid tag sequences with the highest sums of scores, exactly.

    scores (ndarray): Log-probabilities of the tags, -inf for a B that is not allowed.
        Shape: (tokens, tags).
    lengths (ndarray): Tokens of each sequence. Shape: (sequences,).
    RETURNS (ndarray): Tags. Shape: (tokens,).
    """
    tags = scores.argmax(axis=1)
    is_valid = _is_valid(tags, lengths)
    # Where B-k is as good as I-k for every k, no best sequence needs an I: cut there.
    is_first: numpy.ndarray = numpy.all(scores[:, 1::2] >= scores[:, 2::2], axis=1)
    is_first[(lengths.cumsum() - lengths)[lengths > 0]] = True
    lengths = numpy.diff(numpy.append(numpy.flatnonzero(is_first), len(tags)))
    # Where the best tags are valid, no valid sequence is better: in a trained model, almost all.
    pieces = numpy.unique(_sequence_of(lengths)[~is_valid])
    if len(pieces):
        rows = _rows_of(pieces, lengths)
        tags[rows] = _viterbi(scores[rows], lengths[pieces])
    return tags


def decode_greedy(scores: numpy.ndarray, lengths: numpy.ndarray) -> numpy.ndarray:
    """The best tag of each token. I-X after anything but B-X or I-X begins a span, as in the
    conlleval script of the CoNLL shared tasks, or is O where none may begin. Arguments and result
    as in decode_viterbi."""
    tags = scores.argmax(axis=1)
    while True:
        invalid = numpy.flatnonzero(~_is_valid(tags, lengths))
        barred = invalid[numpy.isneginf(scores[invalid, tags[invalid] - 1])]
        if not len(barred):
            break
        tags[barred] = OUTSIDE  # an I behind it may now be invalid
    tags[invalid] -= 1
    return tags


def find_spans(tags: numpy.ndarray, lengths: numpy.ndarray) -> TokenSpans:
    """The spans of valid tags.

    tags (ndarray): As decode_viterbi and decode_greedy return them. Shape: (tokens,).
    lengths (ndarray): Tokens of each sequence. Shape: (sequences,).
    RETURNS (TokenSpans): The spans.
    """
    rows = numpy.flatnonzero(tags % 2 == 1)
    # A span ends before the next tag that is no I; the first tag of a sequence never is one.
    others = numpy.append(numpy.flatnonzero((tags % 2 == 1) | (tags == OUTSIDE)), len(tags))
    ends = others[numpy.searchsorted(others, rows, side="right")]
    sequences = _sequence_of(lengths)[rows]
    firsts = (lengths.cumsum() - lengths)[sequences]
    return TokenSpans(sequences, rows - firsts, ends - firsts, tags[rows] // 2)


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
    log_probs = numpy.maximum(log_probs[_rows_of(sequences, lengths)], _LOWEST)
    lengths = lengths[sequences]
    probs = numpy.exp(log_probs)
    # Sums over all tokens before, so that a difference is a sum over neighbours.
    before = _sums_before(numpy.log(_growth(probs, lengths, is_forward=True)))
    after = _sums_before(numpy.log(_growth(probs, lengths, is_forward=False)))
    inside = _sums_before(log_probs[:, 2::2])
    lasts = lengths.cumsum()[which]
    firsts = lasts - lengths[which]
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
    computed again until it is what they began with. What tokens depend on fades in a few
    tokens, so that this takes two rounds; in n rounds, the first n pieces are right in any case.

    RETURNS (ndarray): Shape: (tokens,).
    """
    n_pieces = -(-lengths // _PIECE)
    sequences = numpy.repeat(numpy.arange(len(lengths)), n_pieces)
    number = numpy.arange(len(sequences)) - (n_pieces.cumsum() - n_pieces)[sequences]
    piece_lengths = numpy.minimum(lengths[sequences] - number * _PIECE, _PIECE)
    n_labels = probs.shape[1] // 2
    if is_forward:
        recursion, neighbours = _forward, numpy.arange(len(sequences)) - 1
        has_neighbour = number > 0
    else:
        recursion, neighbours = _backward, numpy.arange(len(sequences)) + 1
        has_neighbour = number < n_pieces[sequences] - 1
    # Not zero, which would make a piece impossible that begins within a span.
    begun = numpy.where(has_neighbour[:, None], 1 / (1 + n_labels), numpy.zeros(n_labels))
    handed_on = numpy.empty_like(begun)
    growth = numpy.empty(len(probs))
    stale = numpy.arange(len(sequences))
    while len(stale):
        rows = _rows_of(stale, piece_lengths)
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
    steps = _TimeSteps.of(lengths)
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
    steps = _TimeSteps.of(lengths)
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


def _viterbi(scores: numpy.ndarray, lengths: numpy.ndarray) -> numpy.ndarray:
    steps = _TimeSteps.of(lengths)
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


@dataclass(frozen=True)
class _TimeSteps:
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
    def of(cls, lengths: numpy.ndarray) -> "_TimeSteps":
        order = numpy.argsort(-lengths, kind="stable")
        rank = numpy.empty(len(lengths), dtype="int64")
        rank[order] = numpy.arange(len(lengths))
        longest = int(lengths.max(initial=0))
        n_active = numpy.searchsorted(-lengths[order], -numpy.arange(longest))
        bounds = numpy.append(0, n_active.cumsum())
        sequence = _sequence_of(lengths)
        position = numpy.arange(len(sequence)) - (lengths.cumsum() - lengths)[sequence]
        return cls(order, rank, bounds[position] + rank[sequence], bounds.tolist())

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


def _is_valid(tags: numpy.ndarray, lengths: numpy.ndarray) -> numpy.ndarray:
    """Whether each tag may follow the one before it. Shape: (tokens,)."""
    before = numpy.append(OUTSIDE, tags)[: len(tags)]
    before[(lengths.cumsum() - lengths)[lengths > 0]] = OUTSIDE
    is_inside = (tags > 0) & (tags % 2 == 0)
    return ~is_inside | (before == tags) | (before == tags - 1)


def _sequence_of(lengths: numpy.ndarray) -> numpy.ndarray:
    """The sequence of each token. Shape: (tokens,)."""
    return numpy.repeat(numpy.arange(len(lengths)), lengths)


def _rows_of(sequences: numpy.ndarray, lengths: numpy.ndarray) -> numpy.ndarray:
    """The rows of some sequences, in order. Shape: (tokens of these,)."""
    n = lengths[sequences]
    firsts = (lengths.cumsum() - lengths)[sequences]
    ends = n.cumsum()
    return numpy.repeat(firsts - (ends - n), n) + numpy.arange(n.sum())


def _sums_before(X: numpy.ndarray) -> numpy.ndarray:
    """Cumulative sums along the first axis, one row longer: row i sums the rows before i."""
    Y = numpy.zeros((len(X) + 1, *X.shape[1:]))
    X.cumsum(axis=0, out=Y[1:])
    return Y
