"""Attention written out, for scores that no kernel computes: soft caps and sinks.

A soft cap bends each score, c * tanh(score / c), so that none exceeds c (Gemma 2). A sink is one
more score per head, learned, that takes its share of the softmax and gives nothing (gpt-oss):

    weights of row i  =  exp(score ij) / (sum over j of exp(score ij) + exp(sink))

Scores and softmax are float32. A block of rows is computed at a time, and when gradients are wanted
computed again in the backward pass: memory grows with the length of a sequence, not its square. The
same math runs on CPUs and GPUs.

Source: Gemma 2 (arXiv 2408.00118) for soft caps, Xiao et al., 2023 (arXiv 2309.17453) for sinks,
which are learned since gpt-oss (arXiv 2508.10925).
"""

from collections.abc import Iterator
from functools import partial

import torch
from torch.nn.functional import dropout as drop
from torch.utils.checkpoint import checkpoint

# Most scores computed at once: 64 MiB of them.
_MAX_SCORES = 2**24
# Most rows computed at once where a window leaves few columns.
SLIDING_BLOCK = 512


def attend_plainly(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    real: torch.Tensor | None,
    *,
    unmasked: bool,
    window: int | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attend within padded sequences, with capped scores, a sink per head, or both.

    query (Tensor): Shape: (sequences, heads, longest, head_width).
    key (Tensor): Shape: (sequences, key_value_heads, longest, head_width).
    value (Tensor): Shape: (sequences, key_value_heads, longest, value_width).
    real (Tensor | None): True where a position is not padding. Shape: (sequences, longest). None:
        all are real.
    unmasked (bool): Whether each row sees its whole sequence instead of its past.
    window (int | None): Positions that a causal row looks back, itself included.
    scaling (float | None): Factor on the scores; None: 1 / sqrt(head_width).
    dropout (float): Share of the attention weights dropped.
    softcap (float | None): Bound of the scores.
    sinks (Tensor | None): Shape: (heads,).
    RETURNS (Tensor): Shape: (sequences, heads, longest, value_width); padding rows hold anything.
    """
    n, n_heads, longest, width = query.shape
    n_key_heads = key.shape[1]
    scaling = width**-0.5 if scaling is None else scaling
    # Query heads that share a key head lie beside each other, so that no key is repeated.
    grouped = query.unflatten(1, (n_key_heads, n_heads // n_key_heads))
    attend = partial(_attend_rows, scaling=scaling, dropout=dropout, softcap=softcap)
    sinks = None if sinks is None else sinks.float().view(n_key_heads, -1, 1, 1)
    blocks = list(_find_blocks(longest, n * n_heads, unmasked=unmasked, window=window))
    outputs = []
    for start, end, first, last in blocks:
        if unmasked:
            visible = None if real is None else real[:, None, None, None]
        else:
            visible = find_visible(start, end, first, last, window, query.device)
        inputs = (grouped[..., start:end, :], key[:, :, first:last], value[:, :, first:last])
        if len(blocks) > 1 and torch.is_grad_enabled():
            # Otherwise the scores of all blocks would be kept for the backward pass.
            Y = checkpoint(attend, *inputs, visible, sinks, use_reentrant=False)
        else:
            Y = attend(*inputs, visible, sinks)
        outputs.append(Y)
    return torch.cat(outputs, dim=3).flatten(1, 2)


def _find_blocks(
    longest: int, n_rows: int, *, unmasked: bool, window: int | None
) -> Iterator[tuple[int, int, int, int]]:
    """Blocks of rows [start, end) and the columns [first, last) that they see.

    n_rows is how many rows of scores there are for each position: sequences times heads.
    """
    reach = longest if unmasked or window is None else max(window, SLIDING_BLOCK)
    n_columns = min(longest, 2 * reach)
    size = max(1, min(reach, _MAX_SCORES // (n_rows * n_columns)))
    for start in range(0, longest, size):
        end = min(start + size, longest)
        first = 0 if unmasked or window is None else max(0, start - window + 1)
        yield start, end, first, longest if unmasked else end


def find_visible(
    start: int, end: int, first: int, last: int, window: int | None, device: torch.device
) -> torch.Tensor:
    """Which columns [first, last) the rows [start, end) see under a causal mask.

    window (int | None): Positions that a row looks back, itself included; None: all.
    RETURNS (Tensor): Shape: (rows, columns).
    """
    rows, columns = (torch.arange(*ends, device=device) for ends in ((start, end), (first, last)))
    back = rows[:, None] - columns[None]
    return back >= 0 if window is None else (back >= 0) & (back < window)


def _attend_rows(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    visible: torch.Tensor | None,
    sinks: torch.Tensor | None,
    *,
    scaling: float,
    dropout: float,
    softcap: float | None,
) -> torch.Tensor:
    # (sequences, key_value_heads, group, rows, width) -> (..., group * rows, columns) and back
    shape = query.shape[2:4]
    scores = query.float().flatten(2, 3) @ key.float().mT * scaling
    scores = scores.unflatten(2, shape)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if visible is not None:
        scores = scores.masked_fill(~visible, -torch.inf)
    weights = scores.softmax(-1)
    if sinks is not None:
        # exp(scores) / (exp(lse) + exp(sink)) = softmax(scores) * sigmoid(lse - sink)
        weights = weights * torch.sigmoid(scores.logsumexp(-1, keepdim=True) - sinks)
    weights = drop(weights, dropout).to(value.dtype)
    return (weights.flatten(2, 3) @ value).unflatten(2, shape)
