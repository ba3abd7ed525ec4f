"""Attention on this CPU: torch's kernel by precision, and blocks of rows beside it.

    python -m benchmarks.cpu_attention --threads 1

The first table is why training on a CPU attends in float32 even if all else is computed in
bfloat16. The second, on AMD's CPUs, is why long sequences are attended in blocks at inference, and
from which length on. Every round of it has lengths of its own, as users' texts have.
"""

import random
import time
from collections.abc import Callable
from statistics import median
from typing import Annotated

import torch
import typer
from torch.nn.functional import scaled_dot_product_attention

from spacy_lgu.decoder.block_attention import attend_in_blocks
from spacy_lgu.decoder.products import has_fast_products

SHAPES = [(8, 24), (4, 48), (4, 128), (8, 256), (2, 512)]
HEADS, HEAD_WIDTH = 4, 64
# Heads, and heads of keys: of assets/decoder, SmolLM2-135M and Mistral-7B's first quarter.
GROUPS = [(4, 2), (9, 3), (8, 2)]
LENGTHS = [96, 128, 192, 256, 384, 512, 1024, 2048, 4096]


def measure(n_sequences: int, length: int, dtype: torch.dtype) -> tuple[float, float]:
    """RETURNS (tuple[float, float]): Seconds of a causal call forward, and of its backward."""
    size = (n_sequences, HEADS, length, HEAD_WIDTH)
    inputs = [torch.randn(size, dtype=dtype, requires_grad=True) for _ in range(3)]
    start = time.perf_counter()
    Y = scaled_dot_product_attention(*inputs, is_causal=True)
    middle = time.perf_counter()
    Y.backward(torch.ones_like(Y))
    return middle - start, time.perf_counter() - middle


def compare(length: int, heads: tuple[int, int], dtype: torch.dtype, unmasked: bool) -> float:
    """RETURNS (float): How many times as long torch's kernel takes as blocks, on one sequence."""
    inputs = [
        torch.randn(1, n, length, HEAD_WIDTH, dtype=dtype) for n in (heads[0], *[heads[1]] * 2)
    ]
    kernel = _time(
        lambda: scaled_dot_product_attention(*inputs, is_causal=not unmasked, enable_gqa=True)
    )
    return kernel / _time(lambda: attend_in_blocks(*inputs, None, unmasked=unmasked))


def _time(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def main(
    rounds: Annotated[int, typer.Option(help="In turns; medians are shown")] = 15,
    threads: Annotated[int | None, typer.Option(help="None: torch's choice")] = None,
) -> None:
    """Print the tables."""
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
    if has_fast_products(torch.float32):
        _compare_all(rounds)


@torch.no_grad()
def _compare_all(rounds: int) -> None:
    kinds = [
        (d, u) for d in (torch.float32, torch.bfloat16) if has_fast_products(d) for u in (0, 1)
    ]
    names = [f"{str(d)[6:]}, {'whole' if u else 'causal'}" for d, u in kinds]
    print(f"\n| blocks, times as fast: heads, subtokens | {' | '.join(names)} |")
    print("|---|" + "---:|" * len(kinds))
    draw = random.Random(0)
    for heads in GROUPS:
        for length in LENGTHS:
            lengths = [length - draw.randrange(length // 8) for _ in range(rounds)]
            ratios = [median(compare(n, heads, d, bool(u)) for n in lengths) for d, u in kinds]
            print(
                f"| {heads[0]} / {heads[1]}, {length * 7 // 8} to {length} | "
                + " | ".join(f"{ratio:.2f}" for ratio in ratios)
                + " |"
            )


if __name__ == "__main__":
    typer.run(main)
