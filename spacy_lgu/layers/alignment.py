"""Docs as the sequences of subtokens that the decoder gets, aligned with spaCy's tokens.

Docs are run span by span; tokenizing.py says which subtokens belong to which token, and windows.py
how a span that is too long is cut. Where a span getter returns overlapping spans, each token is
read from the span that gives it the most context, as with windows:

    Doc          w0 w1 w2 w3 w4 w5 w6
    span 0       w0 w1 w2 w3
    span 1             w2 w3 w4 w5
    span 2                   w4 w5 w6
    read from     0  0  0  1  1  2  2    where the smaller of left and right context is larger
    if causal     0  0  0  0  1  1  2    where the left context is larger

Arrays cover a whole batch of Docs: loops run over Docs and spans, never over tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy
from spacy.tokens import Doc, Span
from transformers import PreTrainedTokenizerFast

from ..segments import IntsT, find_bounds, find_segments, find_starts, list_rows, sum_segments
from .tokenizing import TokenizedSpans, fill_unaligned, tokenize_spans
from .windows import Sequences, cut_windows


@dataclass(frozen=True)
class EncodedDocs:
    """A batch of Docs as sequences of subtokens.

    ids (ndarray): Subtoken ids of all sequences, concatenated. Shape: (rows,).
    lengths (ndarray): Length of each sequence. Shape: (sequences,).
    rows (ndarray | None): The row that holds each of the Docs' subtokens, no row twice. None:
        all rows in order. Shape: (subtokens,).
    doc_lengths (ndarray): Subtokens of each Doc, 0 for an empty Doc. Shape: (docs,).
    strings (list[str]): The Docs' subtokens as text, concatenated.
    indices (ndarray): For each token in turn, its subtokens, counted from the first of the
        batch. Shape: (alignments,).
    token_lengths (ndarray): Subtokens of each token, at least 1. Shape: (tokens,).
    """

    ids: numpy.ndarray
    lengths: numpy.ndarray
    rows: numpy.ndarray | None
    doc_lengths: numpy.ndarray
    strings: list[str]
    indices: numpy.ndarray
    token_lengths: numpy.ndarray


def encode_docs(
    docs: Sequence[Doc],
    spans: Sequence[Sequence[Span]],
    tokenizer: PreTrainedTokenizerFast,
    *,
    window: int,
    stride: int | None,
    causal: bool,
    split: bool = True,
) -> EncodedDocs:
    """Tokenize Docs span by span and align the subtokens with spaCy's tokens.

    docs (Sequence[Doc]): The Docs; empty ones are allowed.
    spans (Sequence[Sequence[Span]]): For each Doc, the spans to run as sequences.
    tokenizer (PreTrainedTokenizerFast): The decoder's tokenizer.
    window (int): Most subtokens per sequence, special ones included.
    stride (int | None): Text subtokens from one window's start to the next one's. None: half of
        what a window holds.
    causal (bool): Whether every layer is causal, so that only left context counts.
    split (bool): Whether subtokens that span several tokens are split, so that no two tokens
        other than white space share one, and tokens that the tokenizer swallows get one.
    RETURNS (EncodedDocs): The sequences and the alignment. Raises ValueError for a Doc with
        tokens but without spans and, as window_capacity does, for a window or stride that cannot
        work.
    """
    if len(spans) != len(docs):
        raise ValueError(
            f"get_spans returned {len(spans)} lists of spans for {len(docs)} Docs: expected one "
            "list per Doc."
        )
    kept_spans = [[span for span in doc_spans if len(span)] for doc_spans in spans]
    for doc, doc_spans in zip(docs, kept_spans, strict=True):
        if len(doc) and not doc_spans:
            raise ValueError(
                f"get_spans returned no span for a Doc with {len(doc)} tokens "
                f"({doc.text[:40]!r}...), so that its tokens would have no vectors. Use a span "
                "getter that covers every Doc, such as spacy-lgu.doc_spans.v1."
            )
    flat = tokenize_spans(list(chain.from_iterable(kept_spans)), tokenizer, split=split)
    sequences = cut_windows(
        flat.ids, flat.lengths, flat.n_prefix, flat.n_suffix,
        window=window, stride=stride, causal=causal,
    )  # fmt: skip
    if not _spans_tile_docs(docs, kept_spans):
        return _merge_spans(docs, kept_spans, flat, sequences, causal=causal)
    n_spans = numpy.array([len(doc_spans) for doc_spans in kept_spans], dtype="int64")
    return EncodedDocs(
        *sequences,
        sum_segments(flat.lengths, n_spans),
        flat.strings,
        flat.indices,
        flat.token_lengths,
    )


def _spans_tile_docs(docs: Sequence[Doc], spans: Sequence[Sequence[Span]]) -> bool:
    """Whether every Doc's spans follow each other from its first token to its last."""
    for doc, doc_spans in zip(docs, spans, strict=True):
        position = 0
        for span in doc_spans:
            if span.start != position:
                return False
            position = span.end
        if position != len(doc):
            return False
    return True


def _merge_spans(
    docs: Sequence[Doc],
    spans: Sequence[Sequence[Span]],
    flat: TokenizedSpans,
    sequences: Sequences,
    *,
    causal: bool,
) -> EncodedDocs:
    """Read each token from one span, for spans that overlap or leave tokens out.

    A token in no span takes the last subtoken of its nearest left neighbour, or else the first of
    its Doc.
    """
    n_tokens = numpy.array([len(doc) for doc in docs], dtype="int64")
    source = _choose_sources(spans, n_tokens, flat, causal=causal)
    token_lengths = numpy.where(source >= 0, flat.token_lengths[source], 0)
    indices = flat.indices[list_rows(find_starts(flat.token_lengths)[source], token_lengths)]
    if not token_lengths.all():
        first = find_starts(sum_segments(token_lengths, n_tokens))
        fallback = indices[numpy.minimum(first, len(indices) - 1)]
        indices, token_lengths = fill_unaligned(indices, token_lengths, n_tokens, fallback)
    keep = _kept_subtokens(flat, source[source >= 0])
    kept = numpy.flatnonzero(keep)
    position = keep.cumsum() - 1
    n_spans = numpy.array([len(doc_spans) for doc_spans in spans], dtype="int64")
    return EncodedDocs(
        sequences.ids,
        sequences.lengths,
        kept if sequences.rows is None else sequences.rows[kept],
        sum_segments(sum_segments(keep, flat.lengths), n_spans),
        [flat.strings[i] for i in kept.tolist()],
        position[indices],
        token_lengths,
    )


def _choose_sources(
    spans: Sequence[Sequence[Span]], n_tokens: IntsT, flat: TokenizedSpans, *, causal: bool
) -> IntsT:
    """For each token of the Docs, the token of the spans from which it is read, both counted
    through the batch; -1 for a token in no span. On a tie, the first span wins.

    n_tokens (ndarray): Tokens of each Doc. Shape: (docs,).
    RETURNS (ndarray): Shape: (tokens of all Docs,).
    """
    starts = find_starts(flat.lengths)
    first = starts + flat.n_prefix  # (spans,) of the text
    last = starts + flat.lengths - flat.n_suffix - 1
    bounds = find_bounds(flat.token_lengths)
    left = flat.indices[bounds[:-1]] - numpy.repeat(first, flat.n_tokens)
    right = numpy.repeat(last, flat.n_tokens) - flat.indices[bounds[1:] - 1]
    contexts = numpy.maximum(left if causal else numpy.minimum(left, right), 0)
    best = numpy.full(n_tokens.sum(), -1, dtype="int64")
    source = best.copy()
    n_before = 0
    for doc_start, doc_spans in zip(find_starts(n_tokens).tolist(), spans, strict=True):
        for span in doc_spans:
            place = slice(doc_start + span.start, doc_start + span.end)
            tokens = n_before + numpy.arange(len(span))
            better = contexts[tokens] > best[place]
            best[place][better] = contexts[tokens][better]
            source[place][better] = tokens[better]
            n_before += len(span)
    return source


def _kept_subtokens(flat: TokenizedSpans, sources: numpy.ndarray) -> numpy.ndarray:
    """Flags of the subtokens that are read: special ones, those of tokens read from their span,
    and unaligned ones (white space, mostly) that follow one of these.

    sources (ndarray): The tokens that are read, counted through the spans.
    """
    row = numpy.arange(len(flat.ids))
    span_of = find_segments(flat.lengths)
    start = find_starts(flat.lengths)[span_of]
    position = row - start
    special = (position < flat.n_prefix[span_of]) | (
        position >= (flat.lengths - flat.n_suffix)[span_of]
    )
    is_source = numpy.zeros(len(flat.token_lengths), dtype="bool")
    is_source[sources] = True
    aligned, read = special.copy(), special.copy()
    aligned[flat.indices] = True
    read[flat.indices[numpy.repeat(is_source, flat.token_lengths)]] = True
    left = numpy.maximum.accumulate(numpy.where(aligned, row, -1))
    return numpy.where(left >= start, read[left], True)
