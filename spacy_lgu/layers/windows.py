"""Windows: how a span that is longer than the decoder may see is cut into sequences.

Seven words after one special subtoken, in windows of 5 subtokens:

    span        <s> w0 w1 w2 w3 w4 w5 w6
    window 0    <s> w0 w1 w2 w3              each with the special subtokens of the span
    window 1    <s>       w2 w3 w4 w5        half of what a window holds further on
    window 2    <s>          w3 w4 w5 w6     moved left, so that the last is full as well
    read from    0   0  0  0  1  1  2  2     where the smaller of left and right context is larger
    if causal    0   0  0  0  0  1  1  2     where the left context is larger

Each subtoken is read from one window, and on a tie from the first. Special subtokens before the
text are read from the first window, those after it from the last. Nothing is ever cut off.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy

from ..decoder.pack_size import AUTO_WINDOW
from ..segments import IntsT, find_starts


@dataclass(frozen=True)
class Windows:
    """What a config says about windows. Raises ValueError for what cannot work with any decoder.

    window (int | None): Most subtokens per sequence, special ones included, at least 2; each is
        counted once, however often the sequence is repeated. None: the decoder's context, at most
        what fits into one forward pass, divided among the copies.
    stride (int | None): Text subtokens from the start of one window to that of the next, at least 1
        and at most the window. None: half of what a window holds.
    """

    window: int | None = None
    stride: int | None = None

    def __post_init__(self) -> None:
        window, stride = self.window, self.stride
        if window is not None and window < 2:
            raise ValueError(f"The window is {window} subtokens: expected at least 2, or null.")
        if stride is not None and not 0 < stride <= (window or stride):
            most = "" if window is None else f" and at most {window}, the window"
            raise ValueError(
                f"The stride is {stride} subtokens: expected at least 1{most}, or null."
            )

    def find_limit(self, *, context: int, max_batch_items: int | str, repeat: int = 0) -> int:
        """Most subtokens per sequence, each counted once.

        context (int): Subtokens that the decoder was made for.
        max_batch_items (int | str): Subtokens that one forward pass may have. "auto": as many as a
            given window takes, or else AUTO_WINDOW.
        repeat (int): As in DecoderSettings: context and forward pass must hold all copies.
        RETURNS (int): Raises ValueError when the window exceeds one of them.
        """
        n_copies = repeat + 1
        if isinstance(max_batch_items, str):
            max_batch_items = AUTO_WINDOW if self.window is None else self.window * n_copies
        if self.window is None:
            limit = min(context, max_batch_items) // n_copies
            if repeat and limit < 2:
                raise ValueError(
                    f"repeat = {repeat} runs each sequence {n_copies} times, which leaves no room "
                    f"for text: the decoder was made for at most {context} subtokens, and "
                    f"max_batch_items allows {max_batch_items} per forward pass. Use a smaller "
                    f"repeat{' or a larger max_batch_items' if max_batch_items < context else ''}."
                )
            return limit
        times = f", and {n_copies} times as many with repeat = {repeat}" if repeat else ""
        if self.window * n_copies > context:
            raise ValueError(
                f"The window is {self.window} subtokens{times}, but the decoder was made for at "
                f"most {context}. Use a smaller window, or null for the decoder's context."
            )
        if self.window * n_copies > max_batch_items:
            raise ValueError(
                f"The window is {self.window} subtokens{times}, but max_batch_items allows "
                f"{max_batch_items} per forward pass. Raise max_batch_items (an option of the "
                "factory lgu_transformer and of the architecture Tok2VecLGU), or use a smaller "
                "window."
            )
        return self.window


class Sequences(NamedTuple):
    """The sequences that the decoder gets.

    ids (ndarray): Subtoken ids of all sequences, concatenated. Shape: (rows,).
    lengths (ndarray): Length of each sequence. Shape: (sequences,).
    rows (ndarray | None): The row from which each subtoken is read, no row twice. None: all
        rows in order. Shape: (subtokens,).
    """

    ids: numpy.ndarray
    lengths: numpy.ndarray
    rows: numpy.ndarray | None


def window_capacity(window: int, stride: int | None, *, n_special: int) -> tuple[int, int]:
    """How much text a window holds, and how far on the next one begins.

    window (int): Most subtokens per sequence, special ones included.
    stride (int | None): As in Windows.
    n_special (int): Special subtokens in each window.
    RETURNS (tuple[int, int]): Text subtokens per window, and from the start of one window to that
        of the next. Raises ValueError when a window holds no text or the stride skips some.
    """
    capacity = window - n_special
    if capacity < 1:
        raise ValueError(
            f"The window of {window} subtokens leaves no room for text besides the {n_special} "
            "special subtokens of the tokenizer. Use a larger window."
        )
    step = max(1, capacity // 2) if stride is None else stride
    if step > capacity:
        raise ValueError(
            f"The stride is {step}, but a window of {window} subtokens holds {capacity} besides "
            f"the special ones: text would be skipped. Use a stride of 1 to {capacity}."
        )
    return capacity, step


def cut_windows(
    ids: IntsT,
    lengths: IntsT,
    n_prefix: IntsT,
    n_suffix: IntsT,
    *,
    window: int,
    stride: int | None,
    causal: bool,
) -> Sequences:
    """Cut spans into sequences of at most `window` subtokens.

    ids (ndarray): Subtoken ids of all spans, concatenated. Shape: (subtokens,).
    lengths (ndarray): Subtokens of each span. Shape: (spans,).
    n_prefix, n_suffix (ndarray): Special subtokens before and after its text. Shape: (spans,).
    window, stride: As in window_capacity, whose errors this raises for a span that is cut.
    causal (bool): Whether every layer is causal, so that only left context counts.
    RETURNS (Sequences): A sequence for each span that fits, several for one that does not.
    """
    if (lengths <= window).all():
        return Sequences(ids, lengths, None)
    pieces, piece_lengths, rows = [], [], []
    n_rows = 0
    for i, start in enumerate(find_starts(lengths).tolist()):
        length = int(lengths[i])
        if length <= window:
            read: IntsT = numpy.arange(length)
            cells: IntsT = read[None]
        else:
            n_special = int(n_prefix[i]), int(n_suffix[i])
            cells, read = _cut_span(length, *n_special, window, stride, causal=causal)
        pieces.append(ids[start + cells].ravel())
        piece_lengths += [cells.shape[1]] * len(cells)
        rows.append(n_rows + read)
        n_rows += cells.size
    return Sequences(
        numpy.concatenate(pieces),
        numpy.array(piece_lengths, dtype="int64"),
        numpy.concatenate(rows),
    )


def _cut_span(
    length: int, n_prefix: int, n_suffix: int, window: int, stride: int | None, *, causal: bool
) -> tuple[IntsT, IntsT]:
    """The subtokens of a span in each of its windows, and where among those each one is read.

    RETURNS (tuple[ndarray, ndarray]): Shapes: (windows, window) and (length,).
    """
    capacity, step = window_capacity(window, stride, n_special=n_prefix + n_suffix)
    n_text = length - n_prefix - n_suffix
    n_windows = 1 + -(-(n_text - capacity) // step)
    # The last window is moved left, so that it is full as well.
    starts = numpy.minimum(numpy.arange(n_windows) * step, n_text - capacity)
    prefix, suffix, text = numpy.arange(n_prefix), numpy.arange(n_suffix), numpy.arange(n_text)
    cells = numpy.concatenate(
        [
            numpy.broadcast_to(prefix, (n_windows, n_prefix)),
            n_prefix + starts[:, None] + text[:capacity],
            numpy.broadcast_to(length - n_suffix + suffix, (n_windows, n_suffix)),
        ],
        axis=1,
    )
    if causal:
        # Most left context: the first window that holds the subtoken.
        owners = numpy.searchsorted(starts + capacity, text, side="right")
    else:
        # All windows are of one size, so the smaller context is largest where the window's middle
        # is nearest; doubled to stay in whole numbers, ties to the left.
        owners = numpy.searchsorted(starts[:-1] + starts[1:] + capacity - 1, 2 * text)
    text_read = owners * window + n_prefix + text - starts[owners]
    read = numpy.concatenate([prefix, text_read, n_windows * window - n_suffix + suffix])
    return cells, read
