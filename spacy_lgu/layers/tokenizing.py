"""Which subtokens belong to which of spaCy's tokens.

    span         Ann  ate  naan          spaCy tokens
    subtokens    <s> Ann Ġate Ġna an     of one span, special ones included
    indices      -   1    2   3  4       Ann 1, ate 2, naan 3 and 4: rows of the subtokens
    lengths      Ann 1, ate 1, naan 2    of the Ragged that pooling reads

Tokens share no subtoken (see splitting.py), unless the decoder was trained when they still did:

    span         say  "  yes  "  .       tokens
    split        Ġsay Ġ" yes  "  .       so that every head can tell " and . apart
    shared       Ġsay Ġ" yes  ".         both tokens have the vector of ".

Arrays cover all spans of a batch: loops run over spans, and of the tokens only over those that are
split.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from spacy.attrs import IDX, IS_SPACE, LENGTH
from spacy.tokens import Doc, Span
from transformers import PreTrainedTokenizerFast

from ..segments import IntsT, count_leading, find_segments, find_starts, list_rows
from .splitting import split_shared
from .subtokens import Subtokens, encode_texts, fill_empty


@dataclass(frozen=True)
class TokenizedSpans:
    """A batch of spans. Subtokens and tokens are counted through the batch.

    ids (ndarray): Subtoken ids. Shape: (subtokens,).
    strings (list[str]): The subtokens as text.
    lengths (ndarray): Subtokens of each span. Shape: (spans,).
    n_prefix, n_suffix (ndarray): Special subtokens before and after its text. Shape: (spans,).
    n_tokens (ndarray): Its tokens. Shape: (spans,).
    indices (ndarray): For each token in turn, its subtokens. Shape: (alignments,).
    token_lengths (ndarray): Subtokens of each token, at least 1. Shape: (tokens,).
    """

    ids: numpy.ndarray
    strings: list[str]
    lengths: numpy.ndarray
    n_prefix: numpy.ndarray
    n_suffix: numpy.ndarray
    n_tokens: numpy.ndarray
    indices: numpy.ndarray
    token_lengths: numpy.ndarray


def tokenize_spans(
    spans: Sequence[Span], tokenizer: PreTrainedTokenizerFast, *, split: bool
) -> TokenizedSpans:
    """The subtokens of spans, aligned with their tokens.

    spans (Sequence[Span]): The spans, none of them empty.
    tokenizer (PreTrainedTokenizerFast): The decoder's tokenizer.
    split (bool): Whether subtokens that span several tokens are split, so that no two tokens
        other than white space share one, and tokens that the tokenizer swallows get one.
    RETURNS (TokenizedSpans): Each span and each token has at least one subtoken.
    """
    texts = [span.text for span in spans]
    # One axis of characters for the whole batch: spans follow each other, one apart.
    text_starts = find_starts(numpy.array([len(text) for text in texts], dtype="int64") + 1)
    token_starts, token_ends, is_space = _token_characters(spans, text_starts)
    subtokens = encode_texts(texts, text_starts, tokenizer)
    if split:
        word_starts, word_ends = token_starts[~is_space], token_ends[~is_space]
        subtokens = split_shared(subtokens, texts, text_starts, word_starts, word_ends, tokenizer)
    if not subtokens.lengths.all():
        subtokens = fill_empty(subtokens, tokenizer)
    lengths, special = subtokens.lengths, subtokens.special
    n_prefix = count_leading(special, lengths)
    n_suffix = count_leading(special[::-1], lengths[::-1])[::-1]
    n_suffix = numpy.where(n_prefix == lengths, 0, n_suffix)
    n_tokens = numpy.array([len(span) for span in spans], dtype="int64")
    indices, token_lengths = _align(subtokens, token_starts, token_ends)
    if not token_lengths.all():
        fallback = find_starts(lengths) + numpy.where(n_prefix < lengths, n_prefix, 0)
        indices, token_lengths = fill_unaligned(indices, token_lengths, n_tokens, fallback)
    return TokenizedSpans(
        subtokens.ids,
        subtokens.strings,
        lengths,
        n_prefix,
        n_suffix,
        n_tokens,
        indices,
        token_lengths,
    )


def count_subtokens(docs: Sequence[Doc], tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Subtokens of each Doc as one sequence, special ones included; tokens share none.

    docs (Sequence[Doc]): The Docs.
    tokenizer (PreTrainedTokenizerFast): The decoder's tokenizer.
    RETURNS (list[int]): At least 1 each.
    """
    return tokenize_spans([doc[:] for doc in docs], tokenizer, split=True).lengths.tolist()


def fill_unaligned(
    indices: numpy.ndarray,
    token_lengths: numpy.ndarray,
    n_tokens: numpy.ndarray,
    fallback: numpy.ndarray,
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Give tokens without a subtoken the last one of their nearest left neighbour in the span, or
    else the span's fallback.

    indices, token_lengths (ndarray): As in TokenizedSpans, but a token may have none.
    n_tokens (ndarray): Tokens of each span. Shape: (spans,).
    fallback (ndarray): A subtoken per span. Shape: (spans,).
    RETURNS (tuple[ndarray, ndarray]): indices and token_lengths.
    """
    tokens = numpy.arange(len(token_lengths))
    span_of = find_segments(n_tokens)
    span_first = find_starts(n_tokens)[span_of]
    missing = numpy.flatnonzero(token_lengths == 0)
    left = numpy.maximum.accumulate(numpy.where(token_lengths > 0, tokens, -1))[missing]
    has_left = left >= span_first[missing]
    ends = token_lengths.cumsum()
    filled = fallback[span_of[missing]]
    filled[has_left] = indices[ends[left[has_left]] - 1]
    return numpy.insert(indices, ends[missing], filled), numpy.maximum(token_lengths, 1)


def _token_characters(
    spans: Sequence[Span], text_starts: numpy.ndarray
) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """First and one-past-last character of each token, on the batch's axis, and whether it is
    white space. Shapes: (tokens,)."""
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


def _align(
    subtokens: Subtokens, token_starts: IntsT, token_ends: IntsT
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The subtokens that show characters of each token; indices and token_lengths."""
    first = numpy.searchsorted(token_ends, subtokens.starts, side="right")
    stop = numpy.searchsorted(token_starts, subtokens.ends, side="left")
    is_empty = subtokens.special | (subtokens.starts == subtokens.ends)
    n_aligned = numpy.where(is_empty, 0, numpy.maximum(stop - first, 0))
    aligned, tokens = find_segments(n_aligned), list_rows(first, n_aligned)
    order = numpy.argsort(tokens, kind="stable")
    return aligned[order], numpy.bincount(tokens, minlength=len(token_starts))
