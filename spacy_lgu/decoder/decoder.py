"""The decoder, a direction per layer and perhaps an adapter: packed batches in, vectors out."""

import copy
from typing import TYPE_CHECKING, Any

import numpy
import torch

from ..segments import find_starts, list_rows
from .loading import TORCH_DTYPES, shared_tensors
from .packing import PackedBatch, micro_batches
from .tiny import find_layers

if TYPE_CHECKING:
    import peft

# Subtokens per forward pass on a CPU: activations then fit its caches better, which took 9-14%
# less time than 4096 (one core; 6M parameters in float32 and bfloat16, 135M in bfloat16).
_CPU_ITEMS = 1024


class LGUDecoder(torch.nn.Module):
    """A base decoder with layer group unmasking.

    base (Module): The decoder as transformers loads it, with packed attention.
    unmasked (tuple[bool, ...]): One flag per decoder layer, input side first.
    dtype (str): Computing dtype.
    adapter (PeftModel | None): PEFT's view of the same decoder, when it has an adapter.
    """

    # transformers gives its models their attributes at run time.
    base: Any
    adapter: "peft.PeftModel | None"

    def __init__(
        self,
        base: torch.nn.Module,
        *,
        unmasked: tuple[bool, ...],
        dtype: str,
        adapter: "peft.PeftModel | None" = None,
    ) -> None:
        super().__init__()
        self.base = base
        self.unmasked = unmasked
        self.dtype = dtype
        # Not a registered submodule: PEFT has put its layers into the base itself.
        object.__setattr__(self, "adapter", adapter)
        n_layers = len(find_layers(base))
        if len(unmasked) != n_layers:
            raise ValueError(
                f"Expected {n_layers} directions, one per layer, but got {len(unmasked)}."
            )

    @property
    def width(self) -> int:
        """RETURNS (int): Width of a hidden state."""
        return self.base.config.hidden_size

    @property
    def device(self) -> torch.device:
        """RETURNS (device): Where the weights are."""
        return self.base.get_input_embeddings().weight.device

    def forward(self, packed: PackedBatch) -> torch.Tensor:
        """The last layer's hidden states.

        packed (PackedBatch): The sequences.
        RETURNS (Tensor): Shape: (total_subtokens, width), float32, which is what thinc reads.
        """
        computing = TORCH_DTYPES[self.dtype]
        stored = self.base.get_input_embeddings().weight.dtype
        with torch.autocast(packed.ids.device.type, dtype=computing, enabled=computing != stored):
            output = self.base(
                input_ids=packed.ids,
                position_ids=packed.positions,
                use_cache=False,
                packed=packed,
                unmasked=self.unmasked,
            )
        return output.last_hidden_state[0].float()

    @torch.no_grad()
    def predict(self, ids: numpy.ndarray, lengths: numpy.ndarray, max_items: int) -> torch.Tensor:
        """Hidden states of any number of sequences, a bounded number of subtokens at a time.

        ids (ndarray): Concatenated subtoken ids. Shape: (total,).
        lengths (ndarray): Length of each sequence. Shape: (n,).
        max_items (int): Most subtokens per forward pass; a longer sequence runs alone.
        RETURNS (Tensor): Shape: (total, width), float32, rows in the order of ids.
        """
        if self.device.type == "cpu":
            max_items = min(max_items, _CPU_ITEMS)
        if len(ids) <= max_items:
            return self(PackedBatch.pack(ids, lengths, device=self.device))
        starts = find_starts(lengths)
        # Not the default dtype: transformers changes it while another thread loads a decoder.
        Y = torch.empty(len(ids), self.width, dtype=torch.float32, device=self.device)
        for members in micro_batches(lengths, max_items):
            rows = list_rows(starts[members], lengths[members])
            Y[torch.from_numpy(rows).to(self.device)] = self(
                PackedBatch.pack(ids[rows], lengths[members], device=self.device)
            )
        return Y

    def trainable(self) -> list[tuple[str, torch.nn.Parameter]]:
        """RETURNS (list[tuple[str, Parameter]]): The parameters that training changes, by name."""
        return [(name, p) for name, p in self.named_parameters() if p.requires_grad]

    def __deepcopy__(self, memo: dict[int, Any]) -> "LGUDecoder":
        """A decoder with a module tree and trainable weights of its own, on shared frozen ones."""
        memo = {**memo, **shared_tensors(self)}
        adapter = copy.deepcopy(self.adapter, memo)
        base = copy.deepcopy(self.base, memo) if adapter is None else adapter.get_base_model()
        copied = LGUDecoder(base, unmasked=self.unmasked, dtype=self.dtype, adapter=adapter)
        return copied.train(self.training)
