"""What a decoder learns from raw text: three objectives, one way to compute their loss.

For the sequence [<s> a b c], with b masked where the objective masks:

    objective      decoder reads     predicts          direction of the layers
    causal         <s> a b c         a b c from the    causal in all
                                     position before
    masked         <s> a _ c         b at its place    any, at least one unmasked
    masked-next    <s> a _ c         b from the        any, at least one unmasked
                                     position before

Sources: masked language modelling, Devlin et al. 2019 (arXiv 1810.04805); masked-next-token
prediction, BehnamGhader et al. 2024, LLM2Vec (arXiv 2404.05961), which keeps the decoder's habit
of predicting the next subtoken.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy
import torch

from ..decoder.packing import PackedBatch
from ..segments import find_starts

OBJECTIVES = ("causal", "masked", "masked-next")
# Of the subtokens chosen for prediction, these shares are replaced by the mask and by a random
# subtoken; the rest is shown as it is, because a trained pipeline never sees a mask.
_SHOWN_AS_MASK, _SHOWN_AS_RANDOM = 0.8, 0.1


@dataclass(frozen=True)
class Objective:
    """How to turn a packed batch into a task.

    kind (str): One of OBJECTIVES.
    mask_id (int | None): Subtoken that stands for a masked one; None for the kind "causal".
    mask_rate (float): Share of subtokens to predict, in (0, 1).
    special_ids (tuple[int, ...]): Subtokens that are never masked.
    vocab_size (int): Subtokens to draw random ones from.
    """

    kind: str
    mask_id: int | None = None
    mask_rate: float = 0.2
    special_ids: tuple[int, ...] = ()
    vocab_size: int = 0

    def __post_init__(self) -> None:
        if self.kind not in OBJECTIVES:
            raise ValueError(f"The objective is {self.kind!r}: expected one of {OBJECTIVES}.")
        if not 0 < self.mask_rate < 1:
            raise ValueError(f"The mask rate must lie in (0, 1), but is {self.mask_rate}.")

    def task(self, packed: PackedBatch, rng: numpy.random.Generator) -> "Task":
        """Choose what to predict.

        packed (PackedBatch): Whole sequences.
        rng (Generator): Draws the masked subtokens.
        RETURNS (Task): What the decoder reads, and what it has to predict.
        """
        if self.kind == "causal":
            return Task(packed, *_next_subtokens(packed))
        ids = packed.ids[0].cpu().numpy()
        chosen = rng.random(len(ids)) < self.mask_rate
        chosen &= ~numpy.isin(ids, self.special_ids)
        if self.kind == "masked-next":
            chosen[find_starts(packed.lengths)] = False  # nothing comes before a first subtoken
        targets = numpy.flatnonzero(chosen)
        shown, luck = ids.copy(), rng.random(len(targets))
        shown[targets[luck < _SHOWN_AS_MASK]] = self.mask_id
        as_random = targets[(luck >= _SHOWN_AS_MASK) & (luck < _SHOWN_AS_MASK + _SHOWN_AS_RANDOM)]
        shown[as_random] = rng.integers(self.vocab_size, size=len(as_random))
        device = packed.ids.device
        rows = torch.from_numpy(targets - (self.kind == "masked-next")).to(device)
        reads = replace(packed, ids=torch.from_numpy(shown[None]).to(device))
        return Task(reads, rows, packed.ids[0, torch.from_numpy(targets).to(device)])


@dataclass(frozen=True)
class Task:
    """One batch to learn from.

    packed (PackedBatch): What the decoder reads.
    rows (Tensor): Rows whose hidden states predict. Shape: (n,), int64.
    targets (Tensor): The subtoken each of them should predict. Shape: (n,), int64.
    """

    packed: PackedBatch
    rows: torch.Tensor
    targets: torch.Tensor


def check_directions(kind: str, unmasked: tuple[bool, ...]) -> None:
    """Refuse a pattern under which an objective would teach nothing.

    kind (str): One of OBJECTIVES.
    unmasked (tuple[bool, ...]): One flag per decoder layer or layer group.
    RETURNS (None): Raises ValueError that says which go together.
    """
    if kind == "causal" and any(unmasked):
        raise ValueError(
            "The objective 'causal' predicts the next subtoken, which an unmasked layer sees: it "
            "would learn to copy. Use 'masked-next' for patterns with unmasked groups, or a "
            "pattern of 'c' only."
        )
    if kind != "causal" and not any(unmasked):
        raise ValueError(
            f"The objective {kind!r} is for patterns with unmasked groups: in a fully causal "
            "decoder, masked subtokens only take context away. Use 'causal', or unmask a group."
        )


def mask_subtoken(tokenizer: Any) -> int:
    """The subtoken that stands for a masked one.

    tokenizer (PreTrainedTokenizerFast): The decoder's tokenizer.
    RETURNS (int): Its mask token, or else the subtoken "_", which LLM2Vec uses for decoders
        without one. Raises ValueError when "_" is not a subtoken either.
    """
    if tokenizer.mask_token_id is not None:
        return tokenizer.mask_token_id
    ids = tokenizer("_", add_special_tokens=False)["input_ids"]
    # Sentencepiece puts a space of its own before a text.
    is_one = len(ids) == 1 or (len(ids) == 2 and tokenizer.convert_ids_to_tokens(ids)[0] == "▁")
    if is_one and ids[-1] != tokenizer.unk_token_id:
        return ids[-1]
    raise ValueError(
        "The tokenizer has no mask token, and '_' is not one of its subtokens: name a subtoken "
        'with tokenizer_config = {"mask_token": ...}.'
    )


class LinearCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of `hidden @ weight.T`, a few rows at a time.

    Both gradients are computed in the forward pass, so that the logits, by far the largest array
    of a small language model, never exist as a whole.
    """

    ROWS = 512

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """The loss, with both gradients kept for backward.

        hidden (Tensor): Shape: (rows, width).
        weight (Tensor): Shape: (vocab, width).
        targets (Tensor): Shape: (rows,), int64.
        RETURNS (Tensor): Shape: (), float32.
        """
        weight_half = weight.to(hidden.dtype)
        d_hidden = torch.empty_like(hidden)
        d_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        total = hidden.new_zeros((), dtype=torch.float32)
        n = max(1, len(hidden))
        for start in range(0, len(hidden), LinearCrossEntropy.ROWS):
            rows = slice(start, start + LinearCrossEntropy.ROWS)
            wanted = targets[rows, None]
            log_probs = torch.log_softmax((hidden[rows] @ weight_half.T).float(), dim=-1)
            total -= log_probs.gather(1, wanted).sum()
            d_logits = log_probs.exp_()
            d_logits.scatter_add_(1, wanted, torch.full_like(wanted, -1, dtype=d_logits.dtype))
            d_half = d_logits.to(hidden.dtype)
            d_hidden[rows] = d_half @ weight_half
            if d_weight is not None:
                d_weight += d_half.T @ hidden[rows]
        ctx.save_for_backward(d_hidden / n, None if d_weight is None else d_weight / n)
        return total / n

    @staticmethod
    def backward(ctx: Any, *d_losses: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (d_loss,) = d_losses
        d_hidden, d_weight = ctx.saved_tensors
        return d_hidden * d_loss, None if d_weight is None else d_weight * d_loss, None


def _next_subtokens(packed: PackedBatch) -> tuple[torch.Tensor, torch.Tensor]:
    has_next = torch.ones(packed.n_subtokens, dtype=torch.bool, device=packed.ids.device)
    has_next[packed.cu_seqlens[1:].long() - 1] = False
    rows = has_next.nonzero()[:, 0]
    return rows, packed.ids[0, rows + 1]
