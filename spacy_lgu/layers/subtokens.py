"""The subtokens of a batch of texts, as the tokenizer makes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy
from transformers import PreTrainedTokenizerFast

from ..segments import find_starts


@dataclass(frozen=True)
class Subtokens:
    """The subtokens of a batch of texts, concatenated.

    ids (ndarray): Their ids. Shape: (subtokens,).
    special (ndarray): Whether the tokenizer put it around the text. Shape: (subtokens,).
    starts, ends (ndarray): First and one-past-last character of each, counted through the batch.
        Shape: (subtokens,).
    strings (list[str]): The subtokens as text.
    lengths (ndarray): Subtokens of each text. Shape: (texts,).
    """

    ids: numpy.ndarray
    special: numpy.ndarray
    starts: numpy.ndarray
    ends: numpy.ndarray
    strings: list[str]
    lengths: numpy.ndarray


def encode_texts(
    texts: Sequence[str], text_starts: numpy.ndarray, tokenizer: PreTrainedTokenizerFast
) -> Subtokens:
    """The subtokens as the tokenizer makes them.

    texts (Sequence[str]): The texts.
    text_starts (ndarray): First character of each, counted through the batch, in which texts are
        at least one character apart. Shape: (texts,).
    tokenizer (PreTrainedTokenizerFast): The tokenizer.
    RETURNS (Subtokens): A text that the tokenizer swallows whole has none.
    """
    # The backend is called directly: transformers' own call sets padding and truncation on the
    # shared tokenizer, which is not thread-safe, and pads.
    encodings = tokenizer.backend_tokenizer.encode_batch(texts)
    lengths = numpy.array([len(e) for e in encodings], dtype="int64")
    offsets = _flatten([chain.from_iterable(e.offsets) for e in encodings], "int64").reshape(-1, 2)
    starts, ends = (offsets + numpy.repeat(text_starts, lengths)[:, None]).T
    return Subtokens(
        _flatten([e.ids for e in encodings], "int64"),
        _flatten([e.special_tokens_mask for e in encodings], "bool"),
        starts,
        ends,
        list(chain.from_iterable(e.tokens for e in encodings)),
        lengths,
    )


def fill_empty(subtokens: Subtokens, tokenizer: PreTrainedTokenizerFast) -> Subtokens:
    """Give each text without subtokens a special one, so that it has a row."""
    i = _first_known(tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id)
    text = tokenizer.convert_ids_to_tokens([i])[0]
    at = find_starts(subtokens.lengths)[subtokens.lengths == 0]
    strings = list(subtokens.strings)
    for place in at[::-1].tolist():
        strings.insert(place, text)
    return Subtokens(
        numpy.insert(subtokens.ids, at, i),
        numpy.insert(subtokens.special, at, True),
        numpy.insert(subtokens.starts, at, 0),
        numpy.insert(subtokens.ends, at, 0),
        strings,
        numpy.maximum(subtokens.lengths, 1),
    )


def filler_subtoken(tokenizer: PreTrainedTokenizerFast) -> tuple[int, str]:
    """Id and string of the subtoken that stands for what has none."""
    i = _first_known(tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
    return i, tokenizer.convert_ids_to_tokens([i])[0]


def _first_known(*ids: int | None) -> int:
    return next((i for i in ids if i is not None), 0)


def _flatten(lists: Sequence, dtype: str) -> numpy.ndarray:
    return numpy.fromiter(chain.from_iterable(lists), dtype=dtype)
