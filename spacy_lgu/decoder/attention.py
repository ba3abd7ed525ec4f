"""Attention for packed batches in which each decoder layer has its own direction.

For one packed batch of two sequences, [a b c] and [d e], a row sees the columns marked x:

    causal layer          bidirectional layer
      a b c d e             a b c d e
    a x                   a x x x
    b x x                 b x x x
    c x x x               c x x x
    d       x             d       x x
    e       x x           e       x x

The function is registered with transformers under ATTENTION and looked up by the decoder's
own layers. transformers builds no mask for a name it has no mask function for, so nothing of
size (total, total) ever exists. Lengths and directions travel with the call, as the keyword
arguments `packed` and `unmasked`: module state would be wrong under threads, gradient
checkpointing and shared bases.

Source of the rule that an unmasked layer also loses its sliding window: Dukić & Šnajder, 2024
(arXiv 2401.14556).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from .block_attention import attend_in_blocks, fits_blocks
from .packing import PackedBatch
from .plain_attention import SLIDING_BLOCK, attend_plainly, find_visible
from .varlen import attend_varlen, fits_varlen

ATTENTION = "spacy_lgu_packed"

# Keyword arguments with which model files ask for more than is computed here: biases on the scores,
# and columns picked for each row.
_UNSUPPORTED = ("head_mask", "position_bias", "alibi", "sinks", "indices", "block_indices")


class MaskError(ValueError):
    """A decoder was not called with a packed batch alone, or its model file builds a mask."""


def register_attention() -> None:
    """Make ATTENTION known to transformers. Calling it again changes nothing."""
    AttentionInterface.register(ATTENTION, packed_attention)


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    packed: PackedBatch | None = None,
    unmasked: tuple[bool | torch.Tensor | numpy.ndarray, ...] | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each sequence of a packed batch, in the direction of this layer.

    module (Module): The calling attention layer; its layer_idx picks the direction.
    query (Tensor): Shape: (1, heads, total, head_width).
    key (Tensor): Shape: (1, key_value_heads, total, head_width).
    value (Tensor): Shape: (1, key_value_heads, total, head_width).
    attention_mask (Tensor | None): Must be None: lengths say what a mask would.
    packed (PackedBatch): The batch, with its lengths.
    unmasked (tuple[bool | ndarray | Tensor, ...]): One flag per decoder layer; True sees the whole
        sequence. An array has a flag for each sequence of the batch. A tensor, with one number from
        0 to 1, is a gate: that share of the way from the causal output to the other, exact at both
        ends, with a gradient for the gate.
    scaling (float | None): Factor on the scores; None: 1 / sqrt(head_width).
    dropout (float): Share of the attention weights dropped (training only).
    sliding_window (int | None): Subtokens a causal layer looks back, itself included.
    softcap (float | None): Bound of the scores, as in plain_attention.py, like sinks.
    s_aux (Tensor | None): Sinks, under the name that model files give them. Shape: (heads,).
    RETURNS (tuple[Tensor, None]): Shape: (1, total, heads, head_width). Raises MaskError when the
        decoder was called without a packed batch or with a mask, and ValueError when it asks for
        attention that this function does not compute.
    """
    if packed is None or unmasked is None or attention_mask is not None:
        raise MaskError(
            f"A decoder with attention {ATTENTION!r} runs on packed batches only: call it with "
            "packed=PackedBatch, unmasked=one flag per layer, and without an attention mask."
        )
    for name in _UNSUPPORTED:
        if kwargs.get(name) is not None:
            raise ValueError(
                f"{type(module).__name__} asks for attention with {name}={kwargs[name]!r}, which "
                "packed attention does not compute. Use a decoder without it."
            )
    is_unmasked = unmasked[module.layer_idx]  # type: ignore[index]
    if isinstance(is_unmasked, torch.Tensor | numpy.ndarray):
        again: Callable[..., Any] = partial(
            packed_attention, module, scaling=scaling, dropout=dropout,
            sliding_window=sliding_window, softcap=softcap, s_aux=s_aux, **kwargs,
        )  # fmt: skip
        n = len(unmasked)
        if isinstance(is_unmasked, numpy.ndarray):
            parts, source = packed.part(is_unmasked)
            outputs = []
            for flag, rows, part in parts:
                inputs = (X[:, :, rows] for X in (query, key, value))
                outputs.append(again(*inputs, None, packed=part, unmasked=(flag,) * n)[0])
            return torch.cat(outputs, dim=1)[:, source], None
        causal, whole = (
            again(query, key, value, None, packed=packed, unmasked=(flag,) * n)[0]
            for flag in (False, True)
        )
        return torch.lerp(causal, whole, is_unmasked.to(causal.dtype)), None
    window = None if is_unmasked else sliding_window
    if window is not None and window >= packed.max_length:
        window = None
    if torch.is_autocast_enabled(query.device.type):
        # Rotary embeddings leave float32 queries and keys, which the flash kernel cannot take.
        computing = torch.get_autocast_dtype(query.device.type)
        query, key, value = (X.to(computing) for X in (query, key, value))
    dtype = query.dtype
    if query.device.type == "cpu" and query.requires_grad:
        # On short sequences the CPU kernel's backward takes up to 5 times as long in half precision
        # (benchmarks/cpu_attention.py).
        query, key, value = (X.float() for X in (query, key, value))
    options: dict[str, Any] = {"unmasked": is_unmasked, "window": window, "scaling": scaling}
    is_plain = softcap is not None or s_aux is not None
    if fits_varlen(query, value, window) and not dropout and not is_plain:
        output = attend_varlen(query, key, value, packed, **options)
    else:
        options |= {"dropout": dropout, "softcap": softcap, "sinks": s_aux}
        with torch.autocast(query.device.type, enabled=False):
            output = _bucketed(_attend, query, key, value, packed, **options)
    return output[None].to(dtype), None


def _is_on_gpu(X: torch.Tensor) -> bool:
    return X.is_cuda


def _bucketed(
    attend: Callable[..., torch.Tensor],
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packed: PackedBatch,
    **options: Any,
) -> torch.Tensor:
    """Attention on one padded rectangle per bucket; padding exists only in here."""
    rows_first = [X[0].transpose(0, 1) for X in (query, key, value)]  # (total, heads, head_width)
    outputs = []
    for bucket in packed.buckets.groups:
        # (sequences, longest, heads, head_width) -> (sequences, heads, longest, head_width)
        Q, K, V = (X[bucket.rows].transpose(1, 2) for X in rows_first)
        Y = attend(Q, K, V, bucket.real, **options)
        outputs.append(Y.transpose(1, 2).flatten(0, 1))  # (cells, heads, head_width)
    return torch.cat(outputs)[packed.buckets.source]  # (total, heads, head_width)


def _attend(
    Q: torch.Tensor,
    K: torch.Tensor,
    V: torch.Tensor,
    real: torch.Tensor | None,
    *,
    dropout: float,
    softcap: float | None,
    sinks: torch.Tensor | None,
    **options: Any,
) -> torch.Tensor:
    bent: dict[str, Any] = {"softcap": softcap, "sinks": sinks}
    if not dropout and fits_blocks(Q, K, V, sinks):
        return attend_in_blocks(Q, K, V, real, **bent, **options)
    if softcap is not None or sinks is not None or _is_on_gpu(Q):
        # On a GPU, SDPA may take a kernel that plans for each new shape, of which every batch has
        # some; which one it takes is set for the whole process, for other threads too.
        return attend_plainly(Q, K, V, real, dropout=dropout, **bent, **options)
    return _attend_by_kernel(Q, K, V, real, dropout=dropout, **options)


def _attend_by_kernel(
    Q: torch.Tensor,
    K: torch.Tensor,
    V: torch.Tensor,
    real: torch.Tensor | None,
    *,
    unmasked: bool,
    window: int | None,
    scaling: float | None,
    dropout: float,
) -> torch.Tensor:
    options: dict[str, Any] = {
        "scale": scaling,
        "dropout_p": dropout,
        "enable_gqa": Q.shape[1] != K.shape[1],
    }
    longest = Q.shape[2]
    if unmasked:
        mask = None if real is None else real[:, None, None, :]
        return scaled_dot_product_attention(Q, K, V, attn_mask=mask, **options)
    if window is None or window >= longest:
        # Padding lies on the right, where a causal row never looks.
        return scaled_dot_product_attention(Q, K, V, is_causal=True, **options)
    # A band of the score matrix per block of rows: memory grows with the window, not the length.
    outputs = []
    for start in range(0, longest, SLIDING_BLOCK):
        end = min(start + SLIDING_BLOCK, longest)
        first = max(0, start - window + 1)
        Y = scaled_dot_product_attention(
            Q[:, :, start:end],
            K[:, :, first:end],
            V[:, :, first:end],
            attn_mask=find_visible(start, end, first, end, window, Q.device),
            **options,
        )
        outputs.append(Y)
    return torch.cat(outputs, dim=2)
