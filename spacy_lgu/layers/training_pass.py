"""The decoder's forward and backward pass in training; in parts where memory is too little.

All at once, a pass keeps what its backward pass needs until the gradients come. In parts, nothing
is kept: each is run without gradients, and run again, with the same dropout, once they are there.

    forward     part 1   part 2               vectors alone
    backward    part 1 again, its gradients   part 2 again, its gradients
"""

from collections.abc import Callable

import numpy
import torch

from ..decoder.decoder import LGUDecoder
from ..decoder.memory import Halving, is_out_of_memory
from ..decoder.packing import micro_batches
from ..segments import find_bounds

BackpropT = Callable[[torch.Tensor], None]
RandomT = tuple[torch.Tensor, torch.Tensor | None]


def halve_updates() -> Halving:
    """RETURNS (Halving): For begin_pass."""
    return Halving(
        what="to train on {n} subtokens",
        item="sequence",
        advice="What is done in parts is computed twice. Use smaller batches with "
        "accumulate_gradient, or gradient_checkpointing = true.",
        advice_for_one="Set gradient_checkpointing = true or a smaller window.",
    )


def begin_pass(
    decoder: LGUDecoder, ids: numpy.ndarray, lengths: numpy.ndarray, halving: Halving
) -> tuple[torch.Tensor, BackpropT]:
    """Hidden states for training.

    decoder (LGUDecoder): The decoder, in training mode.
    ids (ndarray): Concatenated subtoken ids. Shape: (total,).
    lengths (ndarray): Length of each sequence. Shape: (n,).
    halving (Halving): Knows how much went well before.
    RETURNS (tuple[Tensor, Callable]): The states, of shape (total, width), and the callback for
        their gradient, which adds to the gradients of the weights. Where the memory is too little
        for the backward pass only, its dropout is another one in that one step. Raises
        torch.OutOfMemoryError for a single sequence that does not fit.
    """
    device = decoder.device
    computed = lengths * (decoder.repeat + 1)
    order = numpy.arange(len(lengths))
    bounds = find_bounds(lengths)
    held: list[torch.Tensor] = []  # all at once, with what its backward pass needs
    parts: list[tuple[numpy.ndarray, RandomT]] = []

    def rows(chosen: numpy.ndarray) -> slice:
        return slice(int(bounds[chosen[0]]), int(bounds[chosen[-1] + 1]))

    def run(chosen: numpy.ndarray) -> torch.Tensor:
        Y: torch.Tensor = decoder(decoder.pack(ids[rows(chosen)], lengths[chosen]))
        return Y

    def run_forward(chosen: numpy.ndarray) -> torch.Tensor:
        if len(chosen) == len(lengths):
            held.append(run(chosen))
            return held[0].detach()
        random = _read_random(device)
        with torch.no_grad():
            Y = run(chosen)
        parts.append((chosen, random))
        return Y

    def backprop(dY: torch.Tensor) -> None:
        # Another component may have predicted since, and checkpointing recomputes layers.
        decoder.train()
        randoms = {int(chosen[0]): random for chosen, random in parts}

        def run_backward(chosen: numpy.ndarray) -> None:
            random = randoms.get(int(chosen[0]))
            if held:
                Y = held.pop()
                _backprop(decoder, Y, dY)
                return
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                if random is not None:
                    _set_random(random, device)
                _backprop(decoder, run(chosen), dY[rows(chosen)])

        groups = [chosen for chosen, _ in parts] or [order]
        halving.run(computed, groups, run_backward, device)

    groups = [order] if halving.most is None else micro_batches(computed, halving.most, order=order)
    found = halving.run(computed, groups, run_forward, device)
    return found[0] if len(found) == 1 else torch.cat(found), backprop


def _backprop(decoder: LGUDecoder, Y: torch.Tensor, dY: torch.Tensor) -> None:
    """Add gradients to those of the weights; where that fails, they are as they were."""
    parameters = [parameter for _, parameter in decoder.trainable()]
    earlier = [(p, p.grad) for p in parameters if p.grad is not None]
    # Beside the gradients of all weights, there is no room for those of earlier batches.
    is_kept = decoder.adapter is not None or not earlier
    if is_kept:
        for parameter, _ in earlier:
            parameter.grad = None
    try:
        torch.autograd.backward(Y, dY)
    except Exception as error:
        if is_kept:
            for parameter in parameters:
                parameter.grad = None
            for parameter, grad in earlier:
                parameter.grad = grad
        elif is_out_of_memory(error):
            raise RuntimeError(
                "There is too little memory for a backward pass, and with tuning = 'full' and "
                "accumulate_gradient it cannot be done again in parts. Use smaller batches."
            ) from error
        raise
    for parameter, grad in earlier if is_kept else ():
        parameter.grad = grad if parameter.grad is None else grad.add_(parameter.grad)


def _read_random(device: torch.device) -> RandomT:
    on_device = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), on_device


def _set_random(random: RandomT, device: torch.device) -> None:
    torch.set_rng_state(random[0])
    if random[1] is not None:
        torch.cuda.set_rng_state(random[1], device)
