"""Layers and linear modules of a base decoder that run a MixedBatch.

A layer runs the sequences that have not left yet, each in its own direction. A linear module
computes its product once for all rows, which is where a quantized weight is dequantized, and adds
each member's update to the rows of that member.

The batch travels with the call, as the keyword argument `packed`, to layers and attention. Linear
modules get rows and nothing else from the files of transformers: a layer tells them the batch by a
context variable, which each thread has for itself, and for no longer than it runs.
"""

from contextvars import ContextVar
from typing import Any

import torch

from .adapter_weights import linear_layers
from .kinds import put_before
from .mixing import MixedBatch, Update
from .tiny import find_layers

_RUNNING: ContextVar[MixedBatch | None] = ContextVar("spacy_lgu_running", default=None)


def use_mixed_layers(decoder: Any) -> None:
    """Let a decoder take mixed batches.

    decoder (PreTrainedModel): Changed in place: its layers and their linear modules become
        instances of subclasses of their classes, with the same weights and submodules.
    """
    names = {id(module): name for name, module in linear_layers(decoder).items()}
    for i, layer in enumerate(find_layers(decoder)):
        for module in layer.modules():
            if id(module) in names:
                _become(MixedLinear, module).mixed_name = names[id(module)]
        _become(MixedLayer, layer).mixed_index = i


class MixedLayer(torch.nn.Module):
    """The part of a layer's class that lets sequences leave, and tells the others' directions."""

    mixed_index: int

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the layer.

        args (Any): The layer's own; the first are the hidden states, of shape (1, total, width).
        kwargs (Any): The layer's own: packed, a MixedBatch of total subtokens, and unmasked, of
            which nothing is read, since the batch knows more.
        RETURNS (Tensor | tuple): As the layer does, rows that have left as they came. Raises
            ValueError for hidden states of another shape.
        """
        batch: MixedBatch = kwargs["packed"]
        X = args[0] if args else kwargs["hidden_states"]
        total = batch.n_subtokens
        if X.shape[:2] != (1, total) or X.ndim != 3:
            raise ValueError(
                f"A layer's input has the shape {tuple(X.shape)}: expected (1, {total}, width)."
            )
        running = batch.running(self.mixed_index)
        n = running.n_subtokens
        if n < total:
            args = tuple(_first(value, n, total) for value in args)
            kwargs = {name: _first(value, n, total) for name, value in kwargs.items()}
        directions = (running.directions(self.mixed_index),) * len(kwargs["unmasked"])
        token = _RUNNING.set(running)
        try:
            output = super().forward(*args, **{**kwargs, "packed": running, "unmasked": directions})
        finally:
            _RUNNING.reset(token)
        if n == total:
            return output
        if isinstance(output, tuple):
            return (torch.cat([output[0], X[:, n:]], dim=1), *output[1:])
        return torch.cat([output, X[:, n:]], dim=1)


class MixedLinear(torch.nn.Module):
    """The part of a linear module's class that adds the members' updates."""

    mixed_name: str

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """RETURNS (Tensor): Shape: (..., outputs), from (..., inputs). Raises ValueError for an
        update to rows that are not those of the batch."""
        Y: torch.Tensor = super().forward(x)
        running = _RUNNING.get()
        if running is None:
            return Y
        for start, end, update in running.updates(self.mixed_name):
            total = running.n_subtokens
            if x.shape[0] != total and x.shape[:2] != (1, total):
                raise ValueError(
                    f"{self.mixed_name!r} gets an input of shape {tuple(x.shape)}, not a row for "
                    f"each of {total} subtokens, so that it cannot tell whose they are."
                )
            # Nothing else has the output of a linear module.
            _add(update, x.reshape(total, -1)[start:end], Y.view(total, -1)[start:end])
        return Y


def _add(update: Update, x: torch.Tensor, Y: torch.Tensor) -> None:
    """Apply an update to rows of an output, in place.

    x, Y (Tensor): Shapes: (rows, inputs), (rows, outputs), or several of both in a row.
    """
    dtype = x.dtype if update.factor is None else torch.float32  # as PEFT and adapter_half.py do
    A, B = update.A.to(dtype), update.B.to(dtype)
    rows = Y.view(-1, B.shape[0])
    hidden = torch.nn.functional.linear(x.reshape(-1, A.shape[1]).to(dtype), A)  # (rows, rank)
    if update.factor is None:
        rows.addmm_(hidden.to(rows.dtype), B.T.to(rows.dtype), alpha=update.scale)
        return
    plain = rows if update.bias is None else rows - update.bias
    changed = (update.factor - 1) * plain + update.factor * update.scale * (hidden @ B.T)
    rows.copy_(rows + changed)


def _first(value: Any, n: int, total: int) -> Any:
    """The first rows of what has one per subtoken; anything else as it is."""
    if isinstance(value, tuple):  # sines and cosines
        return tuple(_first(part, n, total) for part in value)
    if isinstance(value, torch.Tensor) and value.shape[:2] == (1, total):
        return value[:, :n]
    return value


def _become(part: type[torch.nn.Module], module: torch.nn.Module) -> Any:
    """Put a class before that of a module."""
    kind = type(module)
    if issubclass(kind, part):
        return module  # a module that several layers have
    module.__class__ = put_before(part, kind)
    return module
