"""Any number of sequences, a bounded number of subtokens at a time."""

import logging
from abc import abstractmethod
from collections.abc import Callable

import numpy
import torch

from ..segments import find_starts, list_rows
from .pack_size import CPU_ITEMS
from .packing import micro_batches
from .transfers import to_device

logger = logging.getLogger("spacy_lgu")

# Ids, and the indices of their sequences -> hidden states of shape (subtokens, width), float32.
ForwardT = Callable[[numpy.ndarray, numpy.ndarray], torch.Tensor]


class RunsPacks:
    """What has a device and a width, and runs packs of sequences on it."""

    # Subtokens for which the memory was enough, once it was not.
    _max_items: int | None = None

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
            torch.OutOfMemoryError for a single sequence that is too long.
        """
        if self.device.type == "cpu":
            max_items = min(max_items, CPU_ITEMS)
        if self._max_items is not None:
            max_items = min(max_items, self._max_items)
        if order is None and computed.sum() <= max_items:
            Y = self._try_pack(forward, ids, numpy.arange(len(lengths)))
            if Y is not None:
                return Y
            max_items = self._halve(computed)
        starts = find_starts(lengths)
        # Not the default dtype: transformers changes it while another thread loads a decoder.
        Y = torch.empty(len(ids), self.width, dtype=torch.float32, device=self.device)
        groups = micro_batches(computed, max_items, order=order)
        order = numpy.concatenate(groups)
        rows = list_rows(starts[order], lengths[order])
        (target,) = to_device([rows], self.device)
        done = 0
        while groups:
            chosen = groups.pop(0)
            end = done + int(lengths[chosen].sum())
            Y_group = self._try_pack(forward, ids[rows[done:end]], chosen)
            if Y_group is None:
                half = self._halve(computed[chosen])
                # In the order that they have, so that rows keep theirs.
                as_they_are = numpy.arange(len(chosen))
                parts = micro_batches(computed[chosen], half, order=as_they_are)
                groups[:0] = [chosen[part] for part in parts]
                continue
            Y.index_copy_(0, target[done:end], Y_group)
            done = end
        return Y

    def _try_pack(
        self, forward: ForwardT, ids: numpy.ndarray, chosen: numpy.ndarray
    ) -> torch.Tensor | None:
        """RETURNS (Tensor | None): None: there was too little memory for several sequences."""
        try:
            return forward(ids, chosen)
        except torch.OutOfMemoryError:
            if len(chosen) == 1:
                raise
        # Only here, where the error and all that its frames hold are gone.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _halve(self, lengths: numpy.ndarray) -> int:
        """RETURNS (int): Half the subtokens of a forward pass that had too little memory."""
        half = max(int(lengths.sum()) // 2, int(lengths.max()))
        if self._max_items is None:
            logger.warning(
                "There is too little memory on %s for %d subtokens at once: %d are tried. Set "
                "max_batch_items of the component lgu_transformer lower.",
                self.device,
                lengths.sum(),
                half,
            )
        self._max_items = half
        return half
