"""A batch between the decoder's forward and backward pass."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from spacy.tokens import Doc
from thinc.api import Optimizer, get_array_module, to_numpy
from thinc.types import Floats3d

from .stock import FullTransformerBatch


@dataclass
class WaitingBatch:
    """A batch whose listeners have yet to give their gradients.

    batch_id (int): As the listeners know it.
    output (FullTransformerBatch): What the forward pass returned.
    backprop (Callable): Takes the gradient of the output.
    n_waiting (int): Listeners that have yet to give their gradients.
    optimizer (Optimizer | None): Steps the decoder after the backward pass.
    gradients (list[list[Floats3d]]): Sums over the listeners, for each Doc.
    """

    batch_id: int
    output: FullTransformerBatch
    backprop: Callable[[FullTransformerBatch], list[Doc]]
    n_waiting: int
    optimizer: Optimizer | None
    gradients: list[list[Floats3d]] = field(default_factory=list)

    def add(self, gradients: list[list[Floats3d]]) -> None:
        """Add the gradients of one listener.

        gradients (list[list[Floats3d]]): For each Doc; changed by later calls.
        """
        self.n_waiting -= 1
        if not self.gradients:
            self.gradients = gradients
            return
        for sums, arrays in zip(self.gradients, gradients, strict=True):
            for dX, more in zip(sums, arrays, strict=True):
                dX += more

    def run_backward(self) -> None:
        """The backward pass, with the gradients there are. What keeps this object keeps none of its
        arrays."""
        if self.gradients:
            self.backprop(self.output.unsplit_by_doc(self.gradients))
        del self.output, self.backprop

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        # A copy of the component, in this process or another, has no part in this batch.
        return _no_batch, ()


def _no_batch() -> None:
    return None


def sum_squares(gradients: list[list[Floats3d]]) -> float:
    """What the losses of a transformer say.

    gradients (list[list[Floats3d]]): For each Doc.
    RETURNS (float): The sum of their squares. It is read from the device once.
    """
    # thinc types no sum of all elements.
    arrays: list[Any] = [dX for dXs in gradients for dX in dXs]
    if not arrays:
        return 0.0
    sums = get_array_module(arrays[0]).stack([(dX**2).sum() for dX in arrays])
    return float(sum(to_numpy(sums).tolist()))
