"""How alike are the gradients of LoRA if the frozen weights below it are float8, or NF4?

    python -m benchmarks.float8_gradients DECODER texts.txt

Of a pretrained decoder, with the products in float8 imitated in float32, so that any machine tells:
cosines with float32 of the outputs and of the gradient of each adapter matrix, under a random
gradient of the vectors. The vector of a text's first subtoken is left out: it is larger than all
others in many decoders.
"""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch.nn.functional import cosine_similarity
from transformers import AutoModel, AutoTokenizer

from benchmarks.gpu.float8 import Float8Linear, round_rows
from benchmarks.gpu.float8_stack import adapt
from benchmarks.gpu.products import nf4_linear
from benchmarks.texts import load_texts

KINDS: dict[str, Any] = {
    "bfloat16": None,
    "float8, gradients in bfloat16": partial(
        Float8Linear, round_rows=round_rows, is_half_back=True
    ),
    "float8, gradients in float8": partial(Float8Linear, round_rows=round_rows, is_half_back=False),
    "NF4": nf4_linear,
}


def build(decoder: Path, make: Any, dtype: torch.dtype) -> tuple[Any, list[torch.Tensor]]:
    """RETURNS (tuple): The decoder under LoRA, and its adapter's matrices, A and B by turns."""
    model = AutoModel.from_pretrained(decoder, dtype=dtype).eval().requires_grad_(False)
    matrices = []
    for adapted in adapt(model, make):
        with torch.no_grad():
            adapted.B.mul_(0.01)  # as after some training
        matrices += [adapted.A, adapted.B]
    return model, matrices


def compute(
    model: Any, matrices: list[torch.Tensor], texts: list[torch.Tensor]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """RETURNS (tuple): All vectors, and the gradient of each matrix, as rows in float64."""
    generator = torch.Generator().manual_seed(0)
    sums = [torch.zeros_like(matrix) for matrix in matrices]
    vectors = []
    for ids in texts:
        Y = model(input_ids=ids[None]).last_hidden_state[0]
        dY = torch.randn(Y.shape, generator=generator).to(Y.dtype) / len(Y)
        dY[0] = 0
        for total, gradient in zip(sums, torch.autograd.grad(Y, matrices, dY), strict=True):
            total += gradient
        vectors.append(Y.detach().double().flatten())
    return torch.cat(vectors), [total.double().flatten() for total in sums]


def main(
    decoder: Annotated[Path, typer.Argument(help="Folder of a Llama or one of its kin")],
    texts: Annotated[Path, typer.Argument(help="A text per line, or .jsonl")],
    n_texts: int = 12,
) -> None:
    """Print a table."""
    tokenizer = AutoTokenizer.from_pretrained(decoder)
    ids = [torch.tensor(tokenizer(text).input_ids) for text in load_texts(texts, n_texts, 0)]
    expected, gradients = compute(*build(decoder, None, torch.float32), ids)
    quarter = max(1, len(gradients) // 4)
    print("| frozen weights | outputs | gradients | of the first quarter | of the last quarter |")
    print("|---|---:|---:|---:|---:|")
    for kind, make in KINDS.items():
        found, own = compute(*build(decoder, make, torch.bfloat16), ids)
        cosines = [
            cosine_similarity(a, b, dim=0).item() for a, b in zip(own, gradients, strict=True)
        ]
        means = [sum(part) / len(part) for part in (cosines, cosines[:quarter], cosines[-quarter:])]
        outputs = cosine_similarity(found, expected, dim=0).item()
        print(
            f"| {kind} | {outputs:.4f} | {' | '.join(f'{mean:.3f}' for mean in means)} |",
            flush=True,
        )


if __name__ == "__main__":
    typer.run(main)
