"""Splits subtokens that belong to several tokens.

    text                (  "  yes  "  )  .     spaCy tokens
    the tokenizer's     ("    yes  ").         subtokens: two tokens with one vector, then three
    split               (  "  yes  "  )  .     each token has a subtoken of its own

Tokens that share a vector get the same scores from every head, so that no span could end between
them. A subtoken that crosses the border of two tokens is cut there, and its parts are tokenized by
the tokenizer's own model, without the space that the tokenizer puts before a text; everything else
stays as the tokenizer made it. A token that the tokenizer swallows, such as a control character,
gets a subtoken that stands for it. White space does not count as a token here: it may share a
subtoken with one, as in Ġyes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from ..segments import count_leading, find_starts
from .subtokens import Subtokens, filler_subtoken

# Put before a part of a text while it is normalized: what a tokenizer puts before every text then
# comes before this letter. No normalizer combines the letter with a mark that follows it.
_GUARD = "q"
# How subtokens spell a space: in sentencepiece, and at byte level.
_SPACES = "▁Ġ"


class _Added(NamedTuple):
    """A new subtoken. Its place is twice the row of the subtoken that it replaces, or one more to
    come after that one."""

    place: int
    id: int
    start: int
    end: int
    string: str


def split_shared(
    subtokens: Subtokens,
    texts: Sequence[str],
    text_starts: numpy.ndarray,
    token_starts: numpy.ndarray,
    token_ends: numpy.ndarray,
    tokenizer: PreTrainedTokenizerFast,
) -> Subtokens:
    """Give each token a subtoken that no other token has.

    subtokens (Subtokens): What encode_texts returned for the texts.
    texts, text_starts, tokenizer: As in encode_texts.
    token_starts, token_ends (ndarray): First and one-past-last character of each token that is
        not white space, counted through the batch. Shape: (tokens,).
    RETURNS (Subtokens): The same object if each token has one already.
    """
    # A run: subtokens that show parts of the same characters, such as bytes; mostly just one. It
    # shows the tokens from `first` up to, but not including, `stop`.
    shown = numpy.flatnonzero(~subtokens.special & (subtokens.starts < subtokens.ends))
    starts, ends = subtokens.starts[shown], subtokens.ends[shown]
    reach = numpy.maximum.accumulate(ends)
    run_rows = numpy.flatnonzero(starts >= numpy.append(0, reach)[:-1])
    run_starts = numpy.minimum.reduceat(starts, run_rows)
    run_ends = numpy.maximum.reduceat(ends, run_rows)
    first = numpy.searchsorted(token_ends, run_starts, side="right")
    stop = numpy.searchsorted(token_starts, run_ends, side="left")
    is_shared = stop - first > 1
    swallowed = numpy.flatnonzero(_count_ranges(first, stop, len(token_starts)) == 0)
    if not is_shared.any() and not len(swallowed):
        return subtokens

    # A token that a cut affects is tokenized again as a whole, with all of its runs. Runs with a
    # token in common are cut together, where tokens end.
    is_cut = _count_ranges(first[is_shared], stop[is_shared], len(token_starts)) > 0
    replaced = numpy.flatnonzero((first < stop) & numpy.append(is_cut, False)[first])
    is_new = first[replaced] >= numpy.append(0, stop[replaced])[:-1]
    groups = zip(replaced[is_new], replaced[numpy.append(is_new, True)[1:]], strict=True)
    run_stops = numpy.append(run_rows, len(shown))[1:]
    is_kept = numpy.ones(len(subtokens.ids), dtype="bool")
    added: list[_Added] = []
    known: dict[tuple[str, str, str], list[tuple[int, str]]] = {}
    for begin, last in groups:
        rows = slice(int(shown[run_rows[begin]]), int(shown[run_stops[last] - 1]) + 1)
        is_kept[rows] = False
        spelling = "".join(subtokens.strings[rows])
        start, final = int(run_starts[begin]), int(run_ends[last])
        text = int(numpy.searchsorted(text_starts, start, side="right")) - 1
        origin = int(text_starts[text])
        lead = _spaces(spelling)
        for end in [*token_ends[first[begin] : stop[last] - 1].tolist(), final]:
            trail = _spaces(spelling[::-1]) if end == final else ""
            key = (texts[text][start - origin : end - origin], lead, trail)
            if key not in known:
                known[key] = _tokenize_part(*key, tokenizer)
            added += [_Added(2 * rows.start, i, start, end, string) for i, string in known[key]]
            start, lead = end, ""

    # After what is shown before it, or after the special subtokens before the text.
    at = token_starts[swallowed]
    shown_before = numpy.append(-1, shown)[numpy.searchsorted(reach, at, side="right")]
    text_rows = find_starts(subtokens.lengths)
    text_rows += count_leading(subtokens.special, subtokens.lengths)
    text_rows = text_rows[numpy.searchsorted(text_starts, at, side="right") - 1]
    places = numpy.maximum(2 * shown_before + 1, 2 * text_rows - 1)
    filler = filler_subtoken(tokenizer)
    for place, start, end in zip(places, at, token_ends[swallowed], strict=True):
        added.append(_Added(int(place), filler[0], int(start), int(end), filler[1]))
    return _exchange(subtokens, is_kept, added, text_starts)


def _exchange(
    subtokens: Subtokens, is_kept: numpy.ndarray, added: list[_Added], text_starts: numpy.ndarray
) -> Subtokens:
    kept = numpy.flatnonzero(is_kept)
    places, ids, starts, ends = numpy.array([new[:4] for new in added], dtype="int64").T
    order = numpy.argsort(numpy.append(2 * kept, places), kind="stable")
    starts = numpy.append(subtokens.starts[kept], starts)[order]
    strings = [*map(subtokens.strings.__getitem__, kept.tolist()), *(new.string for new in added)]
    texts = numpy.searchsorted(text_starts, starts, side="right") - 1
    return Subtokens(
        numpy.append(subtokens.ids[kept], ids)[order],
        numpy.append(subtokens.special[kept], numpy.zeros(len(added), dtype="bool"))[order],
        starts,
        numpy.append(subtokens.ends[kept], ends)[order],
        [strings[i] for i in order.tolist()],
        numpy.bincount(texts, minlength=len(text_starts)),
    )


def _tokenize_part(
    part: str, lead: str, trail: str, tokenizer: PreTrainedTokenizerFast
) -> list[tuple[int, str]]:
    """Id and string of each subtoken of a part of a text, at least one.

    part (str): The part.
    lead, trail (str): Spaces around it as subtokens spell them, which the part may lack: the
        tokenizer made them up, or left them out of its offsets.
    """
    backend = tokenizer.backend_tokenizer
    words = _spell(part, backend)
    if words:
        words[0] = lead[len(_spaces(words[0])) :] + words[0]
        words[-1] += trail[len(_spaces(words[-1][::-1])) :]
    try:
        pieces = [piece for word in words for piece in backend.model.tokenize(word)]
    except Exception as error:
        # tokenizers raises a bare Exception where a part of a word is unknown and the model has no
        # subtoken for the unknown.
        if type(error) is not Exception:
            raise
        pieces = []
    return [(piece.id, piece.value) for piece in pieces] or [filler_subtoken(tokenizer)]


def _spell(part: str, backend: Tokenizer) -> list[str]:
    """A part of a text, normalized and cut into words, as the model gets it within the text."""
    words = _normalize(_GUARD + part, backend)
    for i, word in enumerate(words):
        _, guard, rest = word.partition(_GUARD)
        if guard:
            return [word for word in [rest, *words[i + 1 :]] if word]
    return _normalize(part, backend)  # the tokenizer does not know the guard


def _normalize(text: str, backend: Tokenizer) -> list[str]:
    if backend.normalizer is not None:
        text = backend.normalizer.normalize_str(text)
    if backend.pre_tokenizer is None:
        return [text]
    return [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(text)]


def _spaces(spelling: str) -> str:
    """The spaces that a spelling begins with."""
    return spelling[: len(spelling) - len(spelling.lstrip(_SPACES))]


def _count_ranges(first: numpy.ndarray, stop: numpy.ndarray, length: int) -> numpy.ndarray:
    """How many of the ranges [first, stop) contain 0, 1 ... Shape: (length,)."""
    changes = numpy.bincount(first, minlength=length + 1)
    changes -= numpy.bincount(stop, minlength=length + 1)
    return changes[:-1].cumsum()
