"""Batches in which each sequence has the directions, the depth and the adapter of its own pipeline.

The pipelines are those of a fleet, which share a base decoder, and are called its members. A
member's sequences lie beside each other, deep members first, so that what a layer computes is
always the beginning of the batch:

    sequences     [a a a] [b b] [c c] [d]
    member         first   first second third
    layers         4       4     4      2
    pattern        ccbb    ccbb  bbbb   bb

    layer 0, 1    causal: a b             open: c d
    layer 2, 3    open: a b c             d has left, and waits for the last norm
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy
import torch

from ..segments import find_bounds
from .packing import PackedBatch


class Update(NamedTuple):
    """What an adapter makes of W x + b, the output of a linear module.

    LoRA: W x + scale * B A x + b. DoRA: factor * (W x + scale * B A x) + b.

    A (Tensor): Shape: (rank, inputs).
    B (Tensor): Shape: (outputs, rank).
    scale (float): alpha / rank, or what the variant makes of them.
    factor (Tensor | None): Of DoRA, as in adapter_dora.py. Shape: (outputs,).
    bias (Tensor | None): b, if there is a factor. Shape: (outputs,).
    """

    A: torch.Tensor
    B: torch.Tensor
    scale: float
    factor: torch.Tensor | None = None
    bias: torch.Tensor | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Member:
    """What a pipeline has of its own.

    unmasked (tuple[bool, ...]): One flag for each layer that it runs, input side first.
    repeat, read_previous: As in PackedBatch.pack.
    updates (Mapping[str, Update]): Its adapter, by the names of linear modules.
    """

    unmasked: tuple[bool, ...]
    repeat: int = 0
    read_previous: bool = False
    updates: Mapping[str, Update] = field(default_factory=dict)

    @property
    def n_layers(self) -> int:
        return len(self.unmasked)


AppliedT = set[tuple[Member, str]]


def order_by_depth(members: Sequence[Member]) -> numpy.ndarray:
    """In which order sequences are packed.

    members (Sequence[Member]): The member of each sequence.
    RETURNS (ndarray): Indices of sequences: those of deep members first, those of one member beside
        each other and otherwise as they were. Shape: (n,).
    """
    numbers: dict[int, int] = {}
    first_seen = [numbers.setdefault(id(member), len(numbers)) for member in members]
    return numpy.lexsort((first_seen, [-member.n_layers for member in members]))


@dataclass(frozen=True)
class MixedBatch(PackedBatch):
    """A packed batch of sequences of several members.

    members (tuple[Member, ...]): The member of each sequence, in the order of order_by_depth.
    applied (set[tuple[Member, str]]): Gets which updates were added.
    """

    members: tuple[Member, ...] = ()
    applied: AppliedT = field(default_factory=set)

    @classmethod
    def mix(
        cls,
        ids: numpy.ndarray,
        lengths: numpy.ndarray,
        members: Sequence[Member],
        *,
        device: torch.device,
        applied: AppliedT | None = None,
    ) -> "MixedBatch":
        """Build a batch.

        ids, lengths (ndarray): As in pack.
        members (Sequence[Member]): The member of each sequence, in the order of order_by_depth.
        device (device): Where the tensors go.
        applied (set | None): As in the class.
        RETURNS (MixedBatch): The batch. Raises ValueError as pack does, and for another order.
        """
        if list(order_by_depth(members)) != list(range(len(lengths))):
            raise ValueError(
                f"Expected the members of {len(lengths)} sequences, deep ones first and each "
                "member's beside each other, but got another order: use order_by_depth."
            )
        packed = PackedBatch.pack(
            ids,
            lengths,
            device=device,
            repeat=numpy.array([member.repeat for member in members]),
            read_previous=numpy.array([member.read_previous for member in members]),
        )
        return cls(
            **vars(packed), members=tuple(members), applied=set() if applied is None else applied
        )

    def running(self, layer: int) -> "MixedBatch":
        """The sequences that a layer computes: all but those of members that end before it.

        layer (int): Its index.
        RETURNS (MixedBatch): The beginning of this batch, or itself.
        """
        n = sum(member.n_layers > layer for member in self.members)
        if n == len(self.members):
            return self
        if n not in self._beginnings:
            n_rows = int(self.lengths[:n].sum())
            self._beginnings[n] = MixedBatch(
                ids=self.ids[:, :n_rows],
                positions=self.positions[:, :n_rows],
                cu_seqlens=self.cu_seqlens[: n + 1],
                lengths=self.lengths[:n],
                members=self.members[:n],
                applied=self.applied,
            )
        return self._beginnings[n]

    def directions(self, layer: int) -> bool | numpy.ndarray:
        """Which sequences a layer is bidirectional for.

        layer (int): Its index, less than the depth of each member.
        RETURNS (bool | ndarray): One flag for all, or one for each. Shape: (n,).
        """
        flags = numpy.array([member.unmasked[layer] for member in self.members])
        return bool(flags[0]) if (flags == flags[0]).all() else flags

    def updates(self, name: str) -> Iterator[tuple[int, int, Update]]:
        """The updates of a linear module.

        name (str): Its name.
        YIELDS (tuple[int, int, Update]): The first row of a member that has one, the end of its
            rows, and the update.
        """
        for member, start, end in self._runs:
            update = member.updates.get(name)
            if update is not None:
                self.applied.add((member, name))
                yield start, end, update

    @cached_property
    def _runs(self) -> list[tuple[Member, int, int]]:
        """Each member with its first row and the end of its rows."""
        bounds = find_bounds(self.lengths).tolist()
        runs: dict[int, tuple[Member, int, int]] = {}
        for i, member in enumerate(self.members):
            start = runs[id(member)][1] if id(member) in runs else bounds[i]
            runs[id(member)] = member, start, bounds[i + 1]
        return list(runs.values())

    @cached_property
    def _beginnings(self) -> "dict[int, MixedBatch]":
        return {}
