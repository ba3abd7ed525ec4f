"""Gates on attention to the right, learned while a pipeline is trained.

    g = sigmoid(theta / temperature),  temperature falling from 1 to 0.1

The falling temperature pushes gates to 0 or 1 by the end. They have an optimizer of their own, and
are steps behind by one: what a batch said of them counts before the next begins.

Source: Jang et al. (2017, arXiv 1611.01144), Maddison et al. (2017, arXiv 1611.00712) for falling
temperatures.
"""

from collections.abc import Sequence
from statistics import fmean

import torch

from ..decoder.decoder import LGUDecoder
from ..decoder.mixers import layer_kinds
from ..unmasking import find_groups

_LAST_TEMPERATURE = 0.1


class LayerGates:
    """A gate for each layer that has a mask.

    decoder (LGUDecoder): The decoder; its directions are replaced by gates at each step.
    n_steps (int): Training steps.
    learn_rate (float): Of the gates.
    """

    def __init__(self, decoder: LGUDecoder, *, n_steps: int, learn_rate: float) -> None:
        self._decoder = decoder
        self._has_mask = [kind.has_mask for kind in layer_kinds(decoder.base.config)]
        self._n_steps = n_steps
        n_gates = sum(self._has_mask)
        self._theta = torch.zeros(n_gates, device=decoder.device, requires_grad=True)
        self._adam = torch.optim.Adam([self._theta], lr=learn_rate)
        self._used: list[torch.Tensor] = []
        self._temperature = 1.0

    def begin_step(self, step: int) -> None:
        """Learn from the last step, and set the decoder's gates for the next.

        step (int): Counted from 0.
        """
        self.learn()
        progress = min(1.0, step / max(1, self._n_steps))
        self._temperature = _LAST_TEMPERATURE**progress
        # Leaves: a step may consist of several batches, each with a backward pass of its own.
        self._used = [gate.clone().requires_grad_() for gate in self._open_shares()]
        gates = iter(self._used)
        directions = tuple(next(gates) if has_mask else False for has_mask in self._has_mask)
        self._decoder.unmasked = directions  # type: ignore[assignment]

    def learn(self) -> None:
        """Step the gates by the gradients that the decoder's calls have left."""
        if any(gate.grad is not None for gate in self._used):
            grads = [torch.zeros_like(g) if g.grad is None else g.grad for g in self._used]
            shares = torch.sigmoid(self._theta / self._temperature)
            self._adam.zero_grad()
            shares.backward(torch.stack(grads))
            self._adam.step()
        self._used = []

    def read(self) -> list[float | None]:
        """The gates at the last temperature, one per layer; None for layers without a mask."""
        self.learn()
        self._temperature = _LAST_TEMPERATURE
        shares = iter(self._open_shares().tolist())
        return [next(shares) if has_mask else None for has_mask in self._has_mask]

    def _open_shares(self) -> torch.Tensor:
        return torch.sigmoid(self._theta.detach() / self._temperature)


def average_groups(by_layer: Sequence[float | None], n_groups: int) -> list[float]:
    """The gate of each group.

    by_layer (Sequence[float | None]): As LayerGates.read gives them.
    n_groups (int): Layer groups.
    RETURNS (list[float]): The mean over the group's layers with a mask; 0 if it has none.
    """
    found = []
    for group in find_groups(len(by_layer), n_groups):
        gates = [gate for layer in group if (gate := by_layer[layer]) is not None]
        found.append(fmean(gates) if gates else 0.0)
    return found
