"""Time and memory on the device that is measured."""

import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# Of torch.compile. Without a GPU nothing is gained and only what it would compile is tried.
COMPILER = "inductor" if DEVICE.type == "cuda" else "eager"


def now() -> float:
    """RETURNS (float): Seconds on a clock, once the device has finished its work."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def share_outside(
    module: torch.nn.Module, call: Callable[[], Any], clock: Callable[[], float] = now
) -> float:
    """The share of a call that is spent outside a module's forward. It is a call apart, since the
    clock waits for the device before and after each forward.

    module (Module): Where the hooks go.
    call (Callable): What is timed.
    clock (Callable): As now.
    """
    inside, begun = 0.0, 0.0

    def begin(*_: Any) -> None:
        nonlocal begun
        begun = clock()

    def end(*_: Any) -> None:
        nonlocal inside
        inside += clock() - begun

    hooks = [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]
    start = clock()
    call()
    total = clock() - start
    for hook in hooks:
        hook.remove()
    return 1 - inside / total


def median_seconds(
    call: Callable[[Any], Any],
    rounds: int,
    prepare: Callable[[int], Any] | None = None,
    most: float = math.inf,
) -> float:
    """The median time of a call, after one that is not counted.

    call (Callable): Gets what prepare returns.
    rounds (int): How often.
    prepare (Callable | None): Makes the inputs of a round, whose number it gets, outside the time.
    most (float): Seconds of counted calls after which no other is made.
    RETURNS (float): Seconds.
    """
    seconds: list[float] = []
    for i in range(rounds + 1):
        inputs = i if prepare is None else prepare(i)
        start = now()
        call(inputs)
        seconds.append(now() - start)
        if sum(seconds[1:]) > most:
            break
    return statistics.median(seconds[1:])


def reset_peak() -> None:
    """Let the next peak of memory be one from now on."""
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()


def peak_gib() -> float | None:
    """RETURNS (float | None): Most memory that tensors took on the GPU, in GiB."""
    return torch.cuda.max_memory_allocated() / 2**30 if DEVICE.type == "cuda" else None
