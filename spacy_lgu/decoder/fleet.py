"""Several pipelines' decoders on one base, in one forward pass.

Each sequence has the directions, the depth and the adapter of its own pipeline; the base's product,
and with it the dequantization of its weights, is computed once for all.
"""

from collections.abc import Sequence
from typing import Any

import numpy
import torch

from ..segments import find_bounds
from .building import BuiltDecoder
from .config import MODEL_ERRORS
from .decoder import LGUDecoder
from .depth import first_layers
from .loading import SharedBase
from .membership import ApartError, find_member
from .memory import is_out_of_memory
from .mixed_layers import use_mixed_layers
from .mixers import layer_kinds, run_on_rectangles
from .mixing import AppliedT, Member, MixedBatch, order_by_depth
from .packing import count_filler
from .packs import RunsPacks
from .tiny import find_layers

# What rounding may move a vector by, as a share of its length, in the proof of a member: its rows
# are multiplied beside those of others, in another order of sums.
_MAX_ERROR = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.02}
_PROOF = (5, 3, 7)


class Tree:
    """A base's modules, changed so that they run mixed batches.

    shared (SharedBase): The base; its tensors are used, not copied.
    """

    def __init__(self, shared: SharedBase) -> None:
        self.shared = shared
        base: Any = shared.fork()
        run_on_rectangles(base)
        use_mixed_layers(base)
        self.n_layers = len(find_layers(base))
        self._by_depth = {self.n_layers: base}

    def first(self, n_layers: int) -> Any:
        """RETURNS (PreTrainedModel): The first layers, over the same modules."""
        found = self._by_depth.get(n_layers)
        if found is None:
            found = first_layers(self._by_depth[self.n_layers], n_layers)
            found = self._by_depth.setdefault(n_layers, found)
        return found


class FleetDecoder(RunsPacks):
    """The decoders of pipelines that share a base.

    It keeps no list of them: a request brings its members, so that threads may find, use and drop
    members while others run.

    shared (SharedBase): The base of the first pipeline.
    """

    def __init__(self, shared: SharedBase) -> None:
        self._tree = Tree(shared)

    @property
    def shared(self) -> SharedBase:
        """RETURNS (SharedBase): The base: the deepest that any member had."""
        return self._tree.shared

    @property
    def n_layers(self) -> int:
        """RETURNS (int): Layers of the base."""
        return self._tree.n_layers

    @property
    def width(self) -> int:
        """RETURNS (int): Width of a hidden state."""
        width: int = self._tree.first(self._tree.n_layers).config.hidden_size
        return width

    @property
    def device(self) -> torch.device:
        """RETURNS (device): Where the weights are."""
        base = self._tree.first(self._tree.n_layers)
        device: torch.device = base.get_input_embeddings().weight.device
        return device

    def find_member(self, built: BuiltDecoder) -> Member:
        """Make a pipeline's decoder a member, and prove that it computes the same here.

        built (BuiltDecoder): The decoder, which is put into evaluation mode. What is trained in it
            afterwards changes the member.
        RETURNS (Member): For predict. Raises ApartError with the reason if it cannot run with
            others.
        """
        member = find_member(built, self.shared)
        earlier = self._tree
        if built.shared is not None and member.n_layers > earlier.n_layers:
            self._tree = Tree(built.shared)  # requests that run keep the one they began with
        built.decoder.eval()
        try:
            if built.settings.self_test:
                self._prove(member, built.decoder)
        except BaseException:
            self._tree = earlier  # no member needs the deeper one
            raise
        return member

    def predict(
        self,
        ids: numpy.ndarray,
        lengths: numpy.ndarray,
        members: Sequence[Member],
        max_items: int,
    ) -> torch.Tensor:
        """Hidden states of any number of sequences, each as its own pipeline computes them.

        ids (ndarray): Concatenated subtoken ids. Shape: (total,).
        lengths (ndarray): Length of each sequence. Shape: (n,).
        members (Sequence[Member]): The member of each sequence, from find_member.
        max_items (int): Most subtokens per forward pass, every copy of a sequence counted, as in
            LGUDecoder.predict.
        RETURNS (Tensor): Shape: (total, width), float32, rows in the order of ids. Raises
            ValueError unless there is a member for each sequence.
        """
        return self._predict(ids, lengths, members, max_items, applied=set())

    def _predict(
        self,
        ids: numpy.ndarray,
        lengths: numpy.ndarray,
        members: Sequence[Member],
        max_items: int,
        *,
        applied: AppliedT,
    ) -> torch.Tensor:
        if len(members) != len(lengths):
            raise ValueError(
                f"Expected a member for each of {len(lengths)} sequences, but got {len(members)}."
            )
        tree, device = self._tree, self.device

        def forward(ids: numpy.ndarray, chosen: numpy.ndarray) -> torch.Tensor:
            own, of = lengths[chosen], [members[i] for i in chosen]
            n_own = len(ids)
            n = count_filler(int(computed[chosen].sum()), max_items, device)
            if n:
                ids, own = numpy.append(ids, numpy.full(n, ids[0])), numpy.append(own, n)
                of.append(Member(unmasked=of[-1].unmasked))
            batch = MixedBatch.mix(ids, own, of, device=device, applied=applied)
            return _run(tree.first(batch.members[0].n_layers), batch)[:n_own]

        computed = lengths * numpy.array([member.repeat + 1 for member in members])
        return self._run_packs(
            forward, ids, lengths, computed, max_items, order=order_by_depth(members)
        )

    def _prove(self, member: Member, decoder: LGUDecoder) -> None:
        """Compare a few subtokens with the decoder alone, beside others that have all layers, and
        other directions and the same ones. Raises ApartError where they differ."""
        base = self._tree.first(self._tree.n_layers)
        can_open = [kind.has_mask for kind in layer_kinds(base.config)]
        flags = [*member.unmasked, *[False] * (len(can_open) - member.n_layers)]
        same, other = (
            Member(
                unmasked=tuple(
                    can and flag != change for can, flag in zip(can_open, flags, strict=True)
                )
            )
            for change in (False, True)
        )
        lengths = numpy.array(_PROOF)
        start, end = find_bounds(lengths)[1:3]
        ids = (numpy.arange(lengths.sum()) + 1) * 7919 % base.get_input_embeddings().num_embeddings
        max_items = int(lengths.sum()) * (member.repeat + 1)
        expected = decoder.predict(ids[start:end], lengths[1:2], max_items)
        applied: AppliedT = set()
        try:
            Y = self._predict(ids, lengths, (other, member, same), max_items, applied=applied)
        except MODEL_ERRORS as error:
            if is_out_of_memory(error):
                raise
            raise ApartError(
                f"its family does not run mixed ({type(error).__name__}: {str(error)[:200]})"
            ) from error
        moved = float((Y[start:end] - expected).norm() / expected.norm())
        if not moved <= _MAX_ERROR[decoder.dtype]:  # NaN fails too
            raise ApartError(f"mixed with others, its vectors moved by {moved:.1e} of their size")
        if missed := member.updates.keys() - {name for _, name in applied}:
            raise ApartError(f"its adapter was not applied in {min(missed)!r}")


def _run(base: Any, batch: MixedBatch) -> torch.Tensor:
    """RETURNS (Tensor): Of the rows that are read. Shape: (subtokens, width), float32."""
    output = base(
        input_ids=batch.ids,
        position_ids=batch.positions,
        use_cache=False,
        packed=batch,
        unmasked=(False,) * batch.members[0].n_layers,
    )
    Y: torch.Tensor = output.last_hidden_state[0]
    return (Y if batch.read is None else Y[batch.read]).float()
