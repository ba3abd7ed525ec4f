"""Learning rate schedules, as generators with one value per training step."""

import math
from collections.abc import Iterator


def cosine_v1(
    initial_rate: float, warmup_steps: int, total_steps: int, final_rate: float = 0.0
) -> Iterator[float]:
    """A linear warm-up, then half a cosine from the initial rate down to the final one.

    initial_rate (float): The highest rate, reached after the warm-up.
    warmup_steps (int): Steps of warm-up; 0 starts at the initial rate.
    total_steps (int): Steps until the final rate, warm-up included. Later steps keep it.
    final_rate (float): The lowest rate.
    RETURNS (Iterator[float]): One rate per step. Raises ValueError for a warm-up that is
        negative or not shorter than the whole.
    """
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(
            f"The warm-up must take 0 to {total_steps - 1} steps (the schedule has "
            f"{total_steps}), but takes {warmup_steps}."
        )
    return _cosine(initial_rate, warmup_steps, total_steps, final_rate)


def _cosine(
    initial_rate: float, warmup_steps: int, total_steps: int, final_rate: float
) -> Iterator[float]:
    for step in range(warmup_steps):
        yield initial_rate * (step + 1) / warmup_steps
    n_steps = total_steps - warmup_steps
    for step in range(n_steps):
        share = 0.5 * (1 + math.cos(math.pi * step / n_steps))
        yield final_rate + (initial_rate - final_rate) * share
    while True:
        yield final_rate
