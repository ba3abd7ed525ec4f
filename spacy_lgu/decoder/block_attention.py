"""Attention over long sequences on AMD's CPUs, written out in blocks of rows.

torch's kernel multiplies blocks of 64 columns with MKL, which takes a slow way on these CPUs (see
products.py), in bfloat16 as well, and computes what a causal row does not see in sequences of up to
some 500. Here a block of rows times all columns that it sees is one product of oneDNN, small enough
to stay in the cache: 1.1 to 1.5 times as fast for 256 subtokens, 1.3 to 2 times for 512 and more
(benchmarks/cpu_attention.py). Scores and softmax are float32, as in the kernel.
"""

import math
from functools import lru_cache

import torch

from .plain_attention import find_visible
from .products import has_fast_products, multiply

# Shorter sequences are faster in torch's kernel; so are longer ones on more threads, which it
# gives whole heads, where here they share each product. Measured with 1 and 2 threads.
MIN_LENGTH = 192
# Positions of a block, for each thread, and most rows of scores that they give, one for each query
# head of a group: so that these stay in the cache.
_BLOCK, _ROWS = 128, 512
# Most scores computed at once: 64 MiB of them. Many threads, or heads that share a key, would have
# gigabytes of a long sequence.
_MAX_SCORES = 2**24
# Sequences are padded to multiples of this, as oneDNN compiles its code for each new shape.
_STEP = 64


def fits_blocks(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, sinks: torch.Tensor | None
) -> bool:
    """Whether attend_in_blocks computes these, and faster than torch's kernel.

    query, key, value, sinks (Tensor): As attend_in_blocks takes them.
    """
    inputs = (query, key, value, *(() if sinks is None else (sinks,)))
    return (
        query.device.type == "cpu"
        and query.shape[2] >= MIN_LENGTH * torch.get_num_threads()
        and not (torch.is_grad_enabled() and any(X.requires_grad for X in inputs))
        and has_fast_products(value.dtype)
    )


def attend_in_blocks(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    real: torch.Tensor | None,
    *,
    unmasked: bool,
    window: int | None = None,
    scaling: float | None = None,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attend within padded sequences, without gradients.

    query (Tensor): Shape: (sequences, heads, longest, head_width).
    key (Tensor): Shape: (sequences, key_value_heads, longest, head_width).
    value (Tensor): Shape: (sequences, key_value_heads, longest, value_width).
    real (Tensor | None): True where a position is not padding, which lies on the right. Shape:
        (sequences, longest). None: all are real.
    unmasked (bool): Whether each row sees its whole sequence instead of its past.
    window (int | None): Positions that a causal row looks back, itself included.
    scaling (float | None): Factor on the scores; None: 1 / sqrt(head_width).
    softcap (float | None): Bound of the scores, as in plain_attention.py.
    sinks (Tensor | None): As there. Shape: (heads,).
    RETURNS (Tensor): Shape: (sequences, heads, longest, value_width); padding rows hold anything.
    """
    n, _, longest, width = query.shape
    n_key_heads, size = key.shape[1], -(-longest // _STEP) * _STEP
    scaling = width**-0.5 if scaling is None else scaling
    # Query heads that share a key head lie beside each other: their rows are one block.
    grouped = query.unflatten(1, (n_key_heads, -1))
    sinks = None if sinks is None else sinks.float().view(n_key_heads, -1, 1, 1)
    output = value.new_empty(n, n_key_heads, grouped.shape[2], size, value.shape[-1])
    lengths = [longest] * n if real is None else real.sum(1).tolist()
    for i, length in enumerate(lengths):
        size = -(-length // _STEP) * _STEP
        Q = _pad(grouped[i].float() * scaling, length, size)
        K, V = _pad(key[i].float(), length, size), _pad(value[i], length, size)
        back = None if unmasked else window or size
        _attend_one(Q, K, V, output[i], length, back, softcap, sinks)
    return output[..., :longest, :].flatten(1, 2)


def _pad(X: torch.Tensor, length: int, size: int) -> torch.Tensor:
    """Shape: (..., size, width), from (..., longest, width)."""
    return torch.nn.functional.pad(X[..., :length, :], (0, 0, 0, size - length)).contiguous()


def _attend_one(
    Q: torch.Tensor,
    K: torch.Tensor,
    V: torch.Tensor,
    Y: torch.Tensor,
    length: int,
    back: int | None,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> None:
    """Attend within one sequence, padded to a multiple of _STEP.

    Q (Tensor): Times the scaling. Shape: (key_value_heads, group, size, head_width).
    K, V, Y (Tensor): Keys, values and where the output goes, alike, with the value's width.
    length (int): What is not padding.
    back (int | None): Positions that a causal row sees, itself included; None: it sees all.
    sinks (Tensor | None): Shape: (key_value_heads, group, 1, 1).
    """
    n_key_heads, n_group, size, width = Q.shape
    block = max(_STEP, min(_BLOCK, _ROWS // n_group // _STEP * _STEP)) * torch.get_num_threads()
    n_columns = size if back is None else min(size, back + block)
    block = max(_STEP, min(block, _MAX_SCORES // (n_group * n_columns) // _STEP * _STEP))
    for start in range(0, size, block):
        end = min(start + block, size)
        first, last = 0, size
        if back is not None:
            first, last = max(0, start - back + 1) // _STEP * _STEP, end
            # Columns before the edge are seen by all rows.
            edge = start if back >= end else first
            mask = _mask(end - start, last - edge, start - edge, min(back, end - edge))
        for h in range(n_key_heads):
            rows = Q[h, :, start:end].reshape(-1, width)
            scores = multiply(rows, K[h, first:last]).unflatten(0, (n_group, -1))
            if softcap is not None:
                scores.div_(softcap).tanh_().mul_(softcap)
            if back is not None:
                scores[..., edge - first :] += mask
            else:
                scores[..., length:] = -math.inf
            weights = scores.softmax(-1)
            if sinks is not None:
                weights *= torch.sigmoid(scores.logsumexp(-1, keepdim=True) - sinks[h])
            rows = weights.to(V.dtype).flatten(0, 1)
            Y[h, :, start:end] = multiply(rows, V[h, first:last].t()).unflatten(0, (n_group, -1))


@lru_cache(maxsize=4)
def _mask(n_rows: int, n_columns: int, before: int, back: int) -> torch.Tensor:
    """0 where a row sees a column, else -inf; `before` columns lie before the first row.

    RETURNS (Tensor): Shape: (rows, columns).
    """
    visible = find_visible(before, before + n_rows, 0, n_columns, back, torch.device("cpu"))
    # The default device is the user's, and may be another.
    mask = torch.zeros(visible.shape, device=visible.device)
    return mask.masked_fill_(~visible, -math.inf)
