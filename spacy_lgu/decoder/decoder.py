"""The decoder, a direction per layer and perhaps an adapter: packed batches in, vectors out."""

import copy
from typing import TYPE_CHECKING, Any

import numpy
import torch

from ..unmasking import unmask_layers
from .depth import first_layers
from .loading import TORCH_DTYPES, shared_tensors
from .mixers import layer_kinds, run_on_rectangles
from .packing import PackedBatch, count_filler
from .packs import RunsPacks
from .tiny import find_layers

if TYPE_CHECKING:
    import peft


class LGUDecoder(RunsPacks, torch.nn.Module):
    """A base decoder with layer group unmasking.

    base (Module): The decoder as transformers loads it, with packed attention.
    unmasked (tuple[bool, ...]): One flag per decoder layer, input side first; False for those that
        have no mask to remove.
    dtype (str): Computing dtype.
    adapter (PeftModel | None): PEFT's view of the same decoder, when it has an adapter.
    repeat, read_previous: How pack makes batches, as in PackedBatch.pack.
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
        repeat: int = 0,
        read_previous: bool = False,
    ) -> None:
        super().__init__()
        self.base = base
        self.unmasked = unmasked
        self.dtype = dtype
        self.repeat = repeat
        self.read_previous = read_previous
        # Not a registered submodule: PEFT has put its layers into the base itself.
        object.__setattr__(self, "adapter", adapter)
        n_layers = len(find_layers(base))
        if len(unmasked) != n_layers:
            raise ValueError(
                f"Expected {n_layers} directions, one per layer, but got {len(unmasked)}."
            )
        for i, kind in enumerate(layer_kinds(self.base.config)):
            if unmasked[i] and not kind.has_mask:
                raise ValueError(
                    f"Layer {i} of the decoder is {kind.value} and has no causal mask to remove: "
                    "expected False for it. unmask_layers knows, if it is given the layers' kinds."
                )
        run_on_rectangles(base)

    @property
    def width(self) -> int:
        """RETURNS (int): Width of a hidden state."""
        return self.base.config.hidden_size

    @property
    def device(self) -> torch.device:
        """RETURNS (device): Where the weights are."""
        return self.base.get_input_embeddings().weight.device

    def pack(self, ids: numpy.ndarray, lengths: numpy.ndarray) -> PackedBatch:
        """Sequences as this decoder runs and reads them.

        ids (ndarray): Concatenated subtoken ids. Shape: (total,).
        lengths (ndarray): Length of each sequence. Shape: (n,).
        RETURNS (PackedBatch): On its device.
        """
        return PackedBatch.pack(ids, lengths, device=self.device, **self._reading)

    @property
    def _reading(self) -> dict[str, Any]:
        return {"repeat": self.repeat, "read_previous": self.read_previous}

    def forward(self, packed: PackedBatch) -> torch.Tensor:
        """The last layer's hidden states.

        packed (PackedBatch): The sequences.
        RETURNS (Tensor): Of the rows that are read. Shape: (subtokens, width), float32, which is
            what thinc reads.
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
        Y = output.last_hidden_state[0]
        if packed.read is not None:
            Y = Y[packed.read]  # (total_subtokens, width) -> (subtokens, width)
        return Y.float()

    def under(self, unmasking: str, n_layers: int | None = None) -> "LGUDecoder":
        """The same weights under another pattern, and perhaps without the last layers.

        Nothing is copied or changed: the two decoders have their modules in common, adapter and
        training mode included, and threads may run both. To save what was found this way, build a
        decoder with these settings.

        unmasking (str): The pattern, which covers these layers.
        n_layers (int | None): How many layers are run, input side first; the last norm follows
            them. None: all that this decoder has.
        RETURNS (LGUDecoder): Raises ValueError for a depth that this decoder does not have, for
            what is not a pattern, and for one that does not go with the layers.
        """
        base = self.base
        if n_layers is not None:
            base = first_layers(base, n_layers)
        kinds = layer_kinds(base.config)
        unmasked = unmask_layers(unmasking, len(kinds), kinds)
        decoder = LGUDecoder(base, unmasked=unmasked, dtype=self.dtype, **self._reading)
        decoder.training = self.training  # that of the modules stays as it is
        return decoder

    def predict(self, ids: numpy.ndarray, lengths: numpy.ndarray, max_items: int) -> torch.Tensor:
        """Hidden states of any number of sequences, a bounded number of subtokens at a time.

        ids (ndarray): Concatenated subtoken ids. Shape: (total,).
        lengths (ndarray): Length of each sequence. Shape: (n,).
        max_items (int): Most subtokens per forward pass, every copy of a sequence counted; a
            longer sequence runs alone. Where the device has too little memory for so many, half of
            them are tried, and so on; later calls begin with what went well.
        RETURNS (Tensor): Shape: (total, width), float32, rows in the order of ids. Raises
            torch.OutOfMemoryError for a single sequence that is too long.
        """

        def forward(ids: numpy.ndarray, chosen: numpy.ndarray) -> torch.Tensor:
            own = lengths[chosen]
            n = count_filler(int(own.sum()) * (self.repeat + 1), max_items, self.device)
            if not n:
                Y: torch.Tensor = self(self.pack(ids, own))
                return Y
            packed = PackedBatch.pack(
                numpy.append(ids, numpy.full(n, ids[0])),
                numpy.append(own, n),
                device=self.device,
                repeat=numpy.append(numpy.full(len(own), self.repeat), 0),
                read_previous=self.read_previous,
            )
            Y = self(packed)[: len(ids)]
            return Y

        return self._run_packs(forward, ids, lengths, lengths * (self.repeat + 1), max_items)

    def trainable(self) -> list[tuple[str, torch.nn.Parameter]]:
        """RETURNS (list[tuple[str, Parameter]]): The parameters that training changes, by name."""
        return [(name, p) for name, p in self.named_parameters() if p.requires_grad]

    def __deepcopy__(self, memo: dict[int, Any]) -> "LGUDecoder":
        """A decoder with a module tree and trainable weights of its own, on shared frozen ones."""
        memo = {**memo, **shared_tensors(self)}
        adapter = copy.deepcopy(self.adapter, memo)
        base = copy.deepcopy(self.base, memo) if adapter is None else adapter.get_base_model()
        copied = LGUDecoder(
            base, unmasked=self.unmasked, dtype=self.dtype, adapter=adapter, **self._reading
        )
        return copied.train(self.training)
