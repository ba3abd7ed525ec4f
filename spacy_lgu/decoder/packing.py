"""Packed batches: sequences end to end in one row, no padding.

sequences     [5 6 7] [8 9]
ids           5 6 7 8 9          (1, total)
positions     0 1 2 0 1          (1, total)
cu_seqlens    0 3 5              (n + 1,)

Repeated once, a causal decoder has seen all of a sequence when it reads its last copy:

ids           5 6 7 5 6 7 8 9 8 9
positions     0 1 2 3 4 5 0 1 2 3
cu_seqlens    0           6       10
read                3 4 5     8 9

With the vector of the subtoken before each:

read                3 3 4     8 8
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy
import torch

from ..segments import find_bounds, find_starts, list_rows, number_rows, pick_segments
from .transfers import to_device


@dataclass(frozen=True)
class Bucket:
    """Sequences of similar length, for kernels that need a rectangle.

    rows (Tensor): Row of the packed batch in each cell; padding cells repeat the
        sequence's last row. Shape: (sequences, longest), int64.
    real (Tensor | None): True where a cell is not padding. Shape: (sequences, longest),
        bool. None: no cell is padding.
    """

    rows: torch.Tensor
    real: torch.Tensor | None


@dataclass(frozen=True)
class Buckets:
    """All sequences of a packed batch in buckets, and the way back.

    groups (tuple[Bucket, ...]): Every sequence in exactly one bucket.
    source (Tensor): Which cell of the flattened, concatenated buckets holds each row of
        the packed batch. Shape: (total,), int64.
    """

    groups: tuple[Bucket, ...]
    source: torch.Tensor


@dataclass(frozen=True)
class PackedBatch:
    """Sequences of subtokens lying end to end.

    ids (Tensor): Subtoken ids. Shape: (1, total), int64.
    positions (Tensor): Position of each subtoken in its sequence. Shape: (1, total), int64.
    cu_seqlens (Tensor): Where each sequence begins, and the total. Shape: (n + 1,), int32.
    lengths (ndarray): The sequences' lengths, in host memory. Shape: (n,), int64.
    read (Tensor | None): The rows whose vectors are read: of the last copy of each sequence, or
        the rows before them. Shape: (subtokens,), int64. None: all rows are read.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    cu_seqlens: torch.Tensor
    lengths: numpy.ndarray
    read: torch.Tensor | None = None

    @classmethod
    def pack(
        cls,
        ids: numpy.ndarray,
        lengths: Sequence[int] | numpy.ndarray,
        *,
        device: torch.device,
        repeat: int | numpy.ndarray = 0,
        read_previous: bool | numpy.ndarray = False,
    ) -> Self:
        """Build a batch from the concatenated ids and the length of each sequence.

        ids (ndarray): Subtoken ids of all sequences, concatenated. Shape: (total,).
        lengths (Sequence[int]): Length of each sequence, all positive, summing to total.
        device (torch.device): Where the tensors go.
        repeat (int | ndarray): How many more copies follow each sequence, as parts of it: one
            number for all of them, or one for each. Shape: (n,).
        read_previous (bool | ndarray): Whether the vector of a subtoken is that of the one before
            it; the first of a sequence, or of its last copy, has its own. Shape: (n,).
        RETURNS (PackedBatch): The batch. Raises ValueError when the lengths do not fit.
        """
        lengths = numpy.asarray(lengths, dtype="int64")
        if not len(lengths) or lengths.min() < 1 or lengths.sum() != len(ids):
            raise ValueError(
                f"Expected positive sequence lengths that sum to {len(ids)}, the number of "
                f"subtokens, but got {lengths.tolist()}."
            )
        own, read = lengths, []
        if numpy.any(repeat):
            n_copies = numpy.add(repeat, 1)
            starts = numpy.repeat(find_starts(own), n_copies)
            ids = ids[list_rows(starts, numpy.repeat(own, n_copies))]
            lengths = own * n_copies
        if numpy.any(repeat) or numpy.any(read_previous):
            rows_read = list_rows(find_bounds(lengths)[1:] - own, own)
            steps = numpy.repeat(numpy.broadcast_to(read_previous, own.shape), own).astype("int64")
            steps[find_starts(own)] = 0
            read = [rows_read - steps]
        rows = numpy.asarray(ids, dtype="int64")[None], number_rows(lengths)[None]
        bounds = find_bounds(lengths).astype("int32")
        sent_ids, positions, cu_seqlens, *sent = to_device([*rows, bounds, *read], device)
        return cls(
            ids=sent_ids,
            positions=positions,
            cu_seqlens=cu_seqlens,
            lengths=lengths,
            read=sent[0] if sent else None,
        )

    @property
    def n_subtokens(self) -> int:
        return self.ids.shape[1]

    def pick(self, sequences: numpy.ndarray) -> "tuple[torch.Tensor, PackedBatch]":
        """Some of the sequences as a batch.

        sequences (ndarray): Their indices. Shape: (picked,).
        RETURNS (tuple): Their rows in this batch, of shape (subtokens picked,), and the batch,
            which says nothing of what is read.
        """
        lengths = self.lengths[sequences]
        rows = pick_segments(sequences, self.lengths)
        bounds = find_bounds(lengths).astype("int32")
        sent, cu_seqlens = to_device([rows, bounds], self.ids.device)
        ids, positions = self.ids[:, sent], self.positions[:, sent]
        return sent, PackedBatch(
            ids=ids, positions=positions, cu_seqlens=cu_seqlens, lengths=lengths
        )

    def part(self, unmasked: numpy.ndarray) -> "Parting":
        """The causal sequences and the others, as batches of their own.

        unmasked (ndarray): Flags, some of either kind. Shape: (n,).
        RETURNS (tuple): For each of the two its flag, its rows in this batch, and the batch; and
            in which row of both, one after the other, each row of this batch lies. The same
            objects for the same flags: many layers of a decoder have them.
        """
        key = unmasked.tobytes()
        if key not in self._parts:
            kinds = [(flag, numpy.flatnonzero(unmasked == flag)) for flag in (False, True)]
            parts = tuple((flag, *self.pick(sequences)) for flag, sequences in kinds)
            self._parts[key] = parts, torch.cat([rows for _, rows, _ in parts]).argsort()
        return self._parts[key]

    @cached_property
    def _parts(self) -> "dict[bytes, Parting]":
        return {}

    @cached_property
    def max_length(self) -> int:
        return int(self.lengths.max())

    @cached_property
    def buckets(self) -> "Buckets":
        """The sequences grouped by length, computed once per batch; see bucket_sequences."""
        groups = bucket_sequences(self.lengths)
        cells = numpy.concatenate([numpy.flatnonzero(real.ravel()) for _, real in groups])
        rows = numpy.concatenate([rows[real] for rows, real in groups])
        sizes = numpy.array([real.size for _, real in groups])
        offsets = numpy.repeat(find_starts(sizes), [int(real.sum()) for _, real in groups])
        source = numpy.empty(self.n_subtokens, dtype="int64")
        source[rows] = cells + offsets
        padded = [real for _, real in groups if not real.all()]
        sent = to_device([source, *(rows for rows, _ in groups), *padded], self.ids.device)
        masks = iter(sent[1 + len(groups) :])
        return Buckets(
            groups=tuple(
                Bucket(rows, None if real.all() else next(masks))
                for rows, (_, real) in zip(sent[1:], groups, strict=False)
            ),
            source=sent[0],
        )


Parting = tuple[tuple[tuple[bool, torch.Tensor, PackedBatch], ...], torch.Tensor]


def count_filler(total: int, max_items: int, device: torch.device) -> int:
    """How many subtokens make the rows of a batch a round number on a CPU.

    oneDNN compiles each product for each number of rows, in half a millisecond, and keeps 1,024 of
    these codes, a gigabyte: of a few dozen numbers none is compiled twice, and few are kept. The
    filler is one more sequence, of which nothing is read.

    total (int): Rows without it.
    max_items (int): Most rows of a batch that has several sequences.
    device (device): Where the batch runs; elsewhere there is none.
    RETURNS (int): 0 to 31; the fewer, the fewer the rows.
    """
    if device.type != "cpu":
        return 0
    n = -total % (4 if total < 32 else 8 if total < 128 else 16 if total < 256 else 32)
    return 0 if total <= max_items < total + n else n


def bucket_sequences(lengths: numpy.ndarray) -> list[tuple[numpy.ndarray, numpy.ndarray]]:
    """Group sequences so that each group can be padded to a rectangle at little cost.

    Sequences are taken from long to short; a group ends where padding would exceed an
    eighth of its longest sequence (plus a constant that keeps tiny sequences together).

    lengths (ndarray): Sequence lengths of a packed batch. Shape: (n,).
    RETURNS (list): One (rows, real) per group, both of shape (sequences, longest):
        rows of the packed batch (int64), padding repeating the last one, and
        whether a cell is real (bool).
    """
    starts = find_starts(lengths)
    order = numpy.argsort(-lengths, kind="stable")
    groups = []
    first = 0
    while first < len(order):
        longest = int(lengths[order[first]])
        shortest = longest - max(longest // 8, 4)
        in_group = lengths[order[first:]] >= shortest
        n = int(in_group.sum())
        members = order[first : first + n]
        offsets = numpy.arange(longest)[None]
        member_lengths = lengths[members][:, None]
        rows = starts[members][:, None] + numpy.minimum(offsets, member_lengths - 1)
        groups.append((rows, offsets < member_lengths))
        first += n
    return groups


def micro_batches(
    lengths: numpy.ndarray, max_items: int, *, order: numpy.ndarray | None = None
) -> list[numpy.ndarray]:
    """Cut sequences into groups of at most max_items subtokens, to bound activations.

    Neighbours in the order stay together. A sequence longer than max_items gets a group
    of its own; callers cut sequences into windows first.

    lengths (ndarray): Sequence lengths. Shape: (n,).
    max_items (int): Real subtokens per group, at least 1.
    order (ndarray | None): Indices into lengths. None: from long to short, so that sequences of
        similar length stay together. Shape: (n,).
    RETURNS (list[ndarray]): Indices into lengths; each index in exactly one group.
    """
    if order is None:
        order = numpy.argsort(-lengths, kind="stable")
    groups: list[numpy.ndarray] = []
    first = 0
    while first < len(order):
        totals = lengths[order[first:]].cumsum()
        n = max(1, int(numpy.searchsorted(totals, max_items, side="right")))
        groups.append(order[first : first + n])
        first += n
    return groups
