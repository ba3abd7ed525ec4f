"""spaCy tokens and subtokens: which belong together, and in which sequences they are computed.

    Doc          Ann  ate  naan          spaCy tokens
    span         <s> Ann Ġate Ġna an     subtokens of one span, special ones included
    alignment     -   0    1   2  2
    lengths      Ann 1, ate 1, naan 2    of the Ragged that pooling reads

A span longer than the window is cut into overlapping windows, see windows.py, and every subtoken is
read from the one that shows it most context. The same choice is made, token by token, where a span
getter returns overlapping spans. Nothing is ever cut off.
Tokens share no subtoken, see subtokens.py, unless the decoder was trained when they did:

    Doc          say  "  yes  "  .       tokens
    split        Ġsay Ġ" yes  "  .       so that every head can tell " and . apart
    shared       Ġsay Ġ" yes  ".         both tokens have the vector of ".

All arrays cover a whole batch of Docs: there are loops over Docs and spans, none over tokens but
over those that are split.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy
from spacy.attrs import IDX, IS_SPACE, LENGTH
from spacy.tokens import Doc, Span
from transformers.tokenization_utils_fast import PreTrainedTokenizerFast

from .subtokens import count_leading, encode_texts, fill_empty, split_shared
from .windows import cut_windows


@dataclass(frozen=True)
class EncodedDocs:
    """A batch of Docs as sequences of subtokens.

    ids (ndarray): Subtoken ids of all sequences, concatenated. Shape: (rows,).
    lengths (ndarray): Length of each sequence. Shape: (sequences,).
    rows (ndarray | None): The row that holds each of the Docs' subtokens, no row twice; None:
        they are the rows in order. Shape: (subtokens,).
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


@dataclass(frozen=True)
class _Spans:
    """All spans of a batch, tokenized. Subtokens and tokens are counted through the batch."""

    ids: numpy.ndarray  # (subtokens,)
    strings: list[str]
    lengths: numpy.ndarray  # (spans,) subtokens
    n_prefix: numpy.ndarray  # (spans,) special subtokens before the text
    n_suffix: numpy.ndarray  # (spans,) special subtokens behind it
    n_tokens: numpy.ndarray  # (spans,)
    indices: numpy.ndarray  # (alignments,)
    token_lengths: numpy.ndarray  # (tokens,)


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
    split (bool): Whether subtokens over several tokens are split, so that no two tokens that are
        not white space share one, and tokens that the tokenizer swallows get one.
    RETURNS (EncodedDocs): The sequences and the alignment. Raises ValueError for a Doc with
        tokens but without spans and, as window_capacity, for a window or stride that cannot work.
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
                "getter that covers every Doc, such as spacy-transformers.doc_spans.v1."
            )
    flat = _tokenize_spans(list(chain.from_iterable(kept_spans)), tokenizer, split=split)
    ids, lengths, rows = cut_windows(
        flat.ids, flat.lengths, flat.n_prefix, flat.n_suffix,
        window=window, stride=stride, causal=causal,
    )  # fmt: skip
    n_spans = numpy.array([len(doc_spans) for doc_spans in kept_spans], dtype="int64")
    span_docs = numpy.repeat(numpy.arange(len(docs)), n_spans)
    if _spans_tile_docs(docs, kept_spans):
        doc_lengths = numpy.bincount(span_docs, flat.lengths, len(docs)).astype("int64")
        return EncodedDocs(
            ids, lengths, rows, doc_lengths, flat.strings, flat.indices, flat.token_lengths
        )
    return _merge_spans(docs, kept_spans, flat, ids, lengths, rows, causal=causal)


def count_subtokens(docs: Sequence[Doc], tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Subtokens of each Doc as one sequence, special ones included, tokens sharing none.

    docs (Sequence[Doc]): The Docs.
    tokenizer (PreTrainedTokenizerFast): The decoder's tokenizer.
    RETURNS (list[int]): At least 1 each.
    """
    return _tokenize_spans([doc[:] for doc in docs], tokenizer, split=True).lengths.tolist()


def _tokenize_spans(
    spans: list[Span], tokenizer: PreTrainedTokenizerFast, *, split: bool
) -> _Spans:
    texts = [span.text for span in spans]
    # One axis of characters for the whole batch: spans lie behind each other, one apart.
    text_lengths = numpy.array([len(text) for text in texts], dtype="int64") + 1
    text_starts = text_lengths.cumsum() - text_lengths
    n_tokens = numpy.array([len(span) for span in spans], dtype="int64")
    token_starts, token_ends, is_space = _token_characters(spans, text_starts)
    subtokens = encode_texts(texts, text_starts, tokenizer)
    if split:
        word_starts, word_ends = token_starts[~is_space], token_ends[~is_space]
        subtokens = split_shared(subtokens, texts, text_starts, word_starts, word_ends, tokenizer)
    if not subtokens.lengths.all():
        subtokens = fill_empty(subtokens, tokenizer)
    lengths, special = subtokens.lengths, subtokens.special
    ends = lengths.cumsum()
    starts = ends - lengths
    span_of = numpy.repeat(numpy.arange(len(spans)), lengths)
    n_special = numpy.bincount(span_of, special, len(spans)).astype("int64")
    n_prefix = count_leading(special, starts, lengths)
    n_suffix = numpy.minimum(
        count_leading(special[::-1], ends.max(initial=0) - ends, lengths), n_special
    )
    n_suffix = numpy.where(n_prefix == lengths, 0, n_suffix)

    first = numpy.searchsorted(token_ends, subtokens.starts, side="right")
    stop = numpy.searchsorted(token_starts, subtokens.ends, side="left")
    is_empty = special | (subtokens.starts == subtokens.ends)
    n_aligned = numpy.where(is_empty, 0, numpy.maximum(stop - first, 0))
    aligned = numpy.repeat(numpy.arange(len(special)), n_aligned)
    tokens = numpy.repeat(first - (n_aligned.cumsum() - n_aligned), n_aligned) + numpy.arange(
        n_aligned.sum()
    )
    order = numpy.argsort(tokens, kind="stable")
    indices, token_lengths = aligned[order], numpy.bincount(tokens, minlength=n_tokens.sum())
    if not token_lengths.all():
        fallback = starts + numpy.where(n_prefix < lengths, n_prefix, 0)
        indices, token_lengths = _fill_unaligned(indices, token_lengths, n_tokens, fallback)
    return _Spans(
        subtokens.ids,
        subtokens.strings,
        lengths,
        n_prefix,
        n_suffix,
        n_tokens,
        indices,
        token_lengths,
    )


def _token_characters(
    spans: list[Span], text_starts: numpy.ndarray
) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """First and one-past-last character of each token, on the batch's axis, and whether it is
    white space."""
    if not spans:
        nothing = numpy.zeros(0, dtype="int64")
        return nothing, nothing, nothing.astype("bool")
    arrays: dict[int, numpy.ndarray] = {}
    pieces = []
    for span, text_start in zip(spans, text_starts, strict=True):
        key = id(span.doc)
        if key not in arrays:
            arrays[key] = span.doc.to_array([IDX, LENGTH, IS_SPACE]).astype("int64")
        in_doc = arrays[key][span.start : span.end]
        pieces.append(in_doc + numpy.array([text_start - span.start_char, 0, 0]))
    starts, lengths, is_space = numpy.concatenate(pieces).T
    return starts, starts + lengths, is_space > 0


def _fill_unaligned(
    indices: numpy.ndarray,
    token_lengths: numpy.ndarray,
    n_tokens: numpy.ndarray,
    fallback: numpy.ndarray,
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Tokens without a subtoken take the last one of the nearest left neighbour in their span,
    else the span's fallback.

    indices, token_lengths: As in EncodedDocs.
    n_tokens (ndarray): Tokens of each span. Shape: (spans,).
    fallback (ndarray): A subtoken per span. Shape: (spans,).
    """
    tokens = numpy.arange(len(token_lengths))
    span_of = numpy.repeat(numpy.arange(len(n_tokens)), n_tokens)
    span_first = (n_tokens.cumsum() - n_tokens)[span_of]
    missing = numpy.flatnonzero(token_lengths == 0)
    left = numpy.maximum.accumulate(numpy.where(token_lengths > 0, tokens, -1))[missing]
    has_left = left >= span_first[missing]
    ends = token_lengths.cumsum()
    filled = fallback[span_of[missing]]
    filled[has_left] = indices[ends[left[has_left]] - 1]
    return numpy.insert(indices, ends[missing], filled), numpy.maximum(token_lengths, 1)


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
    flat: _Spans,
    ids: numpy.ndarray,
    lengths: numpy.ndarray,
    rows: numpy.ndarray | None,
    *,
    causal: bool,
) -> EncodedDocs:
    """Read each token from one span, for spans that overlap or leave tokens out.

    The span with the larger smaller context wins (or the larger left one), the first on a tie. A
    token in no span takes the last subtoken of its nearest left neighbour, else the first there is.
    """
    sub_starts = flat.lengths.cumsum() - flat.lengths
    token_firsts = flat.n_tokens.cumsum() - flat.n_tokens
    alignment_ends = flat.token_lengths.cumsum()
    alignment_starts = alignment_ends - flat.token_lengths
    indices, token_lengths, sources = [], [], []
    flat_index = 0
    for doc, doc_spans in zip(docs, spans, strict=True):
        best = numpy.full(len(doc), -1, dtype="int64")
        source = numpy.full(len(doc), -1, dtype="int64")  # token, counted through the spans
        for span in doc_spans:
            tokens = token_firsts[flat_index] + numpy.arange(len(span))
            start = sub_starts[flat_index]
            left = flat.indices[alignment_starts[tokens]] - start - flat.n_prefix[flat_index]
            last = start + flat.lengths[flat_index] - flat.n_suffix[flat_index] - 1
            right = last - flat.indices[alignment_ends[tokens] - 1]
            context = numpy.maximum(left if causal else numpy.minimum(left, right), 0)
            better = context > best[span.start : span.end]
            best[span.start : span.end][better] = context[better]
            source[span.start : span.end][better] = tokens[better]
            flat_index += 1
        covered = numpy.flatnonzero(source >= 0)
        doc_indices, doc_token_lengths = _token_alignment(source, covered, flat, alignment_starts)
        indices.append(doc_indices)
        token_lengths.append(doc_token_lengths)
        sources.append(source[covered])
    keep = _kept_subtokens(flat, numpy.concatenate(sources))
    n_spans = [len(doc_spans) for doc_spans in spans]
    doc_of = numpy.repeat(numpy.repeat(numpy.arange(len(docs)), n_spans), flat.lengths)
    kept = numpy.flatnonzero(keep)
    position = keep.cumsum() - 1
    return EncodedDocs(
        ids,
        lengths,
        kept if rows is None else rows[kept],
        numpy.bincount(doc_of, keep, len(docs)).astype("int64"),
        [flat.strings[i] for i in kept.tolist()],
        position[numpy.concatenate(indices)],
        numpy.concatenate(token_lengths),
    )


def _kept_subtokens(flat: _Spans, sources: numpy.ndarray) -> numpy.ndarray:
    """Flags of the subtokens that are read: special ones, those of tokens read from their span,
    and unaligned ones (white space, mostly) that follow one of these.

    sources (ndarray): The tokens that are read, counted through the spans.
    """
    row = numpy.arange(len(flat.ids))
    span_of = numpy.repeat(numpy.arange(len(flat.lengths)), flat.lengths)
    start = (flat.lengths.cumsum() - flat.lengths)[span_of]
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


def _token_alignment(
    source: numpy.ndarray,
    covered: numpy.ndarray,
    flat: _Spans,
    alignment_starts: numpy.ndarray,
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Subtokens of each token of a Doc, given the token of the spans it is read from (or -1)."""
    if not len(source):
        return numpy.zeros(0, dtype="int64"), numpy.zeros(0, dtype="int64")
    lengths = flat.token_lengths[source[covered]]
    ends = lengths.cumsum()
    indices = flat.indices[
        numpy.repeat(alignment_starts[source[covered]] - (ends - lengths), lengths)
        + numpy.arange(ends[-1])
    ]
    all_lengths = numpy.zeros(len(source), dtype="int64")
    all_lengths[covered] = lengths
    if len(covered) == len(source):
        return indices, all_lengths
    return _fill_unaligned(indices, all_lengths, numpy.array([len(source)]), indices[:1])
