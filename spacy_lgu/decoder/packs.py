"""Any number of sequences, a bounded number of subtokens at a time."""

from abc import abstractmethod
from collections.abc import Callable

import numpy
import torch

from ..segments import find_bounds, find_starts, list_rows
from .memory import Halving
from .pack_size import CPU_ITEMS
from .packing import micro_batches
from .transfers import to_device

# Ids, and the indices of their sequences -> hidden states of shape (subtokens, width), float32.
ForwardT = Callable[[numpy.ndarray, numpy.ndarray], torch.Tensor]


class RunsPacks:
    """What has a device and a width, and runs packs of sequences on it."""

    _halving: Halving | None = None

    @property
    @abstractmethod
    def width(self) -> int:
        """RETURNS (int): Width of a hidden state."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """RETURNS (device): Where the weights are."""

    @torch.no_grad()
    def _run_packs(
        self,
        forward: ForwardT,
        ids: numpy.ndarray,
        lengths: numpy.ndarray,
        computed: numpy.ndarray,
        max_items: int,
        *,
        order: numpy.ndarray | None = None,
    ) -> torch.Tensor:
        """Hidden states of sequences.

        forward (Callable): Runs a pack.
        ids (ndarray): Concatenated subtoken ids. Shape: (total,).
        lengths (ndarray): Length of each sequence. Shape: (n,).
        computed (ndarray): The same with every copy of a sequence counted. Shape: (n,).
        max_items (int): Most subtokens per forward pass, copies included; a longer sequence runs
            alone. Where the device has too little memory for so many, half of them are tried, and
            so on; later calls begin with what went well.
        order (ndarray | None): In which order the sequences are packed. None: as they are where
            one pack holds all, else from long to short. Shape: (n,).
        RETURNS (Tensor): Shape: (total, width), float32, rows in the order of ids. Raises
            torch.OutOfMemoryError, which names its length, for a single sequence that is too long.
        """
        device = self.device
        halving = self._halving = self._halving or Halving(
            what="for {n} subtokens",
            item="sequence",
            advice="Set max_batch_items of the component lgu_transformer lower.",
            advice_for_one="Set a smaller window in the config of the transformer, or shorten it.",
        )
        if device.type == "cpu":
            max_items = min(max_items, CPU_ITEMS)
        if halving.most is not None:
            max_items = min(max_items, halving.most)
        if order is None and computed.sum() <= max_items:
            bounds = find_bounds(lengths)

            def run_neighbours(chosen: numpy.ndarray) -> torch.Tensor:
                return forward(ids[bounds[chosen[0]] : bounds[chosen[-1] + 1]], chosen)

            everything = numpy.arange(len(lengths))
            found = halving.run(computed, [everything], run_neighbours, device)
            return found[0] if len(found) == 1 else torch.cat(found)
        # Not the default dtype: transformers changes it while another thread loads a decoder.
        Y = torch.empty(len(ids), self.width, dtype=torch.float32, device=device)
        groups = micro_batches(computed, max_items, order=order)
        order = numpy.concatenate(groups)
        rows = list_rows(find_starts(lengths)[order], lengths[order])
        (target,) = to_device([rows], device)
        done = 0

        def run_pack(chosen: numpy.ndarray) -> None:
            nonlocal done
            end = done + int(lengths[chosen].sum())
            Y.index_copy_(0, target[done:end], forward(ids[rows[done:end]], chosen))
            done = end

        halving.run(computed, groups, run_pack, device)
        return Y
