"""Ways to attend within the sequences of a pack, with the same arguments and the same result."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from spacy_lgu.decoder.attention import _attend_by_kernel, _bucketed
from spacy_lgu.decoder.packing import PackedBatch
from spacy_lgu.decoder.plain_attention import attend_plainly
from spacy_lgu.decoder.varlen import attend_varlen

from .clock import COMPILER, DEVICE


@dataclass(frozen=True)
class Kernel:
    """A way to attend.

    attend (Callable): Takes query, key and value as packed_attention does, then the pack, whether
        it is unmasked, and what prepare returned. Returns the output. Shape: (total, heads, width).
    prepare (Callable | None): Takes the pack and whether it is unmasked; makes what all layers of a
        direction share.
    is_slow (bool): Whether it compiles, or plans for each new shape, for seconds.
    """

    attend: Callable[..., torch.Tensor]
    prepare: Callable[[PackedBatch, bool], Any] | None = None
    is_slow: bool = False


def _varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packed: PackedBatch,
    unmasked: bool,
    _: None,
) -> torch.Tensor:
    return attend_varlen(query, key, value, packed, unmasked=unmasked, window=None, scaling=None)


def _in_buckets(
    attend: Callable[..., torch.Tensor],
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packed: PackedBatch,
    unmasked: bool,
    _: None,
) -> torch.Tensor:
    return _bucketed(
        attend, query, key, value, packed,
        unmasked=unmasked, window=None, scaling=None, dropout=0.0,
    )  # fmt: skip


def _sdpa(
    backend: SDPBackend,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *rest: Any,
    repeat_keys: bool = False,
) -> torch.Tensor:
    if repeat_keys:
        times = query.shape[1] // key.shape[1]
        key, value = (X.repeat_interleave(times, dim=1) for X in (key, value))
    with sdpa_kernel(backend):
        return _in_buckets(_attend_by_kernel, query, key, value, *rest)


def _flex(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packed: PackedBatch,
    unmasked: bool,
    mask: Any,
) -> torch.Tensor:
    if query.requires_grad and not query.is_cuda:
        raise NotImplementedError("torch has no gradients of FlexAttention on a CPU")
    Y: torch.Tensor = _compiled_flex()(query, key, value, block_mask=mask, enable_gqa=True)
    return Y[0].transpose(0, 1)


@cache
def _compiled_flex() -> Any:
    from torch.nn.attention.flex_attention import flex_attention  # imports the compiler

    # Without fullgraph, too many compilations would end in all scores at once, without an error.
    return torch.compile(flex_attention, dynamic=True, fullgraph=True, backend=COMPILER)


def _make_block_mask(packed: PackedBatch, unmasked: bool) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    lengths = torch.tensor(packed.lengths, device=DEVICE)
    sequence = torch.arange(len(lengths), device=DEVICE).repeat_interleave(
        lengths, output_size=packed.n_subtokens
    )

    def see_sequence(_: Any, __: Any, row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
        return sequence[row] == sequence[column]

    def see_past(_: Any, __: Any, row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
        return (sequence[row] == sequence[column]) & (row >= column)

    n = packed.n_subtokens
    return create_block_mask(see_sequence if unmasked else see_past, 1, None, n, n, device=DEVICE)


def attend_exactly(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packed: PackedBatch,
    unmasked: bool,
) -> torch.Tensor:
    """The definition, in float64, a sequence at a time.

    query, key, value (Tensor): As packed_attention takes them.
    packed (PackedBatch): The pack.
    unmasked (bool): Whether each row sees its whole sequence.
    RETURNS (Tensor): Shape: (total, heads, width).
    """
    outputs = []
    times = query.shape[1] // key.shape[1]
    for start, end in pairwise(packed.cu_seqlens.tolist()):
        Q, K, V = (X[0, :, start:end].double() for X in (query, key, value))
        K, V = (X.repeat_interleave(times, dim=0) for X in (K, V))
        scores = Q @ K.mT / Q.shape[-1] ** 0.5  # (heads, rows, columns)
        if not unmasked:
            later = torch.ones_like(scores[0], dtype=torch.bool).triu(1)
            scores = scores.masked_fill(later, -torch.inf)
        outputs.append((scores.softmax(-1) @ V).transpose(0, 1))
    return torch.cat(outputs)


# By the names that the report has for them.
KERNELS = {
    "varlen": Kernel(_varlen),
    "written out": Kernel(partial(_in_buckets, attend_plainly)),
    "SDPA, flash": Kernel(partial(_sdpa, SDPBackend.FLASH_ATTENTION)),
    "SDPA, memory-efficient": Kernel(partial(_sdpa, SDPBackend.EFFICIENT_ATTENTION)),
    "SDPA, memory-efficient, keys repeated": Kernel(
        partial(_sdpa, SDPBackend.EFFICIENT_ATTENTION, repeat_keys=True)
    ),
    "SDPA, math": Kernel(partial(_sdpa, SDPBackend.MATH)),
    "FlexAttention": Kernel(_flex, _make_block_mask, is_slow=True),
    "SDPA, cuDNN": Kernel(partial(_sdpa, SDPBackend.CUDNN_ATTENTION), is_slow=True),
}
