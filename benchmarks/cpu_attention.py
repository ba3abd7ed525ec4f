"""Forward and backward of torch's attention kernel on this CPU, by precision.

    python benchmarks/cpu_attention.py --threads 2

The reason why training on a CPU attends in float32 even if all else is computed in bfloat16.
"""

import time
from statistics import median
from typing import Annotated

import torch
import typer
from torch.nn.functional import scaled_dot_product_attention

SHAPES = [(8, 24), (4, 48), (4, 128), (8, 256), (2, 512)]
HEADS, HEAD_WIDTH = 4, 64


def measure(n_sequences: int, length: int, dtype: torch.dtype) -> tuple[float, float]:
    """RETURNS (tuple[float, float]): Seconds of a causal call forward, and of its backward."""
    size = (n_sequences, HEADS, length, HEAD_WIDTH)
    inputs = [torch.randn(size, dtype=dtype, requires_grad=True) for _ in range(3)]
    start = time.perf_counter()
    Y = scaled_dot_product_attention(*inputs, is_causal=True)
    middle = time.perf_counter()
    Y.backward(torch.ones_like(Y))
    return middle - start, time.perf_counter() - middle


def main(
    rounds: Annotated[int, typer.Option(help="In turns; medians are shown")] = 15,
    threads: Annotated[int | None, typer.Option(help="None: torch's choice")] = None,
) -> None:
    """Print a table."""
    if threads is not None:
        torch.set_num_threads(threads)
    print("| sequences x subtokens | bfloat16, ms | float32, ms | backward, ratio |")
    print("|---|---:|---:|---:|")
    for shape in SHAPES:
        pairs = [
            [measure(*shape, dtype) for dtype in (torch.bfloat16, torch.float32)]
            for _ in range(rounds)
        ]
        (f16, b16), (f32, b32) = (
            tuple(1000 * median(times) for times in zip(*of_dtype, strict=True))
            for of_dtype in zip(*pairs, strict=True)
        )
        cells = [f"{f16:.2f} + {b16:.2f}", f"{f32:.2f} + {b32:.2f}", f"{b16 / b32:.1f}"]
        print(f"| {shape[0]} x {shape[1]} | {' | '.join(cells)} |")


if __name__ == "__main__":
    typer.run(main)
