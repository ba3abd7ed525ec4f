"""How much memory a decoder takes: formulas, in bytes, without loading a weight.

Units: bytes; a row is a subtoken that the decoder computes, twice if it is in two windows, and once
for each copy if it is repeated. What counts is the worst moment. The process itself (Python, torch,
spaCy: PROCESS) does not count. How close this comes to measured memory: docs/commands/inspect.md,
and for any other machine `python -m benchmarks.memory_estimates`.

Weights (bitsandbytes): a linear layer in nf4 with double quantization takes, for each weight, half
a byte, one byte for 64 (absmax) and four bytes for 64 * 256 (absmax of the absmax): Dettmers et
al., "QLoRA", 2023 (arXiv 2305.14314), section 3. In int8 it takes one byte for each weight and four
for each output (Dettmers et al., "LLM.int8()", 2022, arXiv 2208.07339). Any other has the dtype
it computes in, and trained ones are float32.

Training: for each trained weight its gradient in float32 (4 bytes), and two moments of AdamW in
float32 (8) or in 8 bits (2).

Activations are what autograd keeps of each row for the backward pass. They were read off the model
files of Llama, Mistral and Qwen in transformers, which agree on them, and a test counts them: see
kept_per_layer.

Three constants are measured, not derived: PER_ROW, PER_ENTRY and ALLOCATOR.
"""

import math
from dataclasses import dataclass

from ..decoder.shape import DecoderShape

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# Python, torch, spaCy and the other libraries, before there is a decoder.
PROCESS = 500 * 2**20
# For the Docs, what the transformer writes on them, and a small head (spaCy's ner).
PER_ROW = 10 * 2**10
# For the tokenizer, per entry of its vocabulary.
PER_ENTRY = 1500
# On CPUs glibc holds more than is in use, where large arrays come and go between those that stay.
ALLOCATOR = 1.25
# Rows that a CPU computes at once at inference, whatever max_batch_items says: as in
# decoder/decoder.py, which needs torch.
CPU_ROWS = 1024


@dataclass(frozen=True, kw_only=True)
class Use:
    """How a decoder is used.

    quantization, tuning (str): As in DecoderSettings.
    dtype (str): "float32", "bfloat16" or "float16".
    adapted (dict[str, int]): The rank of each linear module, and each parameter of experts, with
        LoRA weights, by name.
    dropout (float): Of the adapter.
    dora (bool): Whether the adapter is of the variant DoRA.
    gradient_checkpointing (bool): Whether activations are recomputed.
    paged_8bit (bool): Whether the moments are in 8 bits.
    gpu (bool): Whether it runs on a GPU.
    """

    quantization: str
    dtype: str
    tuning: str
    adapted: dict[str, int]
    dropout: float = 0.1
    dora: bool = False
    gradient_checkpointing: bool = False
    paged_8bit: bool = False
    gpu: bool = False


def adapter_parameters(shape: DecoderShape, use: Use) -> int:
    """RETURNS (int): LoRA weights: for each module, and each expert of a parameter, rank * (input
    width + output width); with DoRA, one for each output more."""
    n_all = 0
    for name, rank in use.adapted.items():
        n_experts, n_inputs, n_outputs = _sizes(shape, name)
        n_all += rank * n_experts * (n_inputs + n_outputs) + use.dora * n_outputs
    return n_all


def trained_parameters(shape: DecoderShape, use: Use) -> int:
    """RETURNS (int): Weights that training changes."""
    return shape.n_parameters if use.tuning == "full" else adapter_parameters(shape, use)


def weights_bytes(shape: DecoderShape, use: Use) -> int:
    """RETURNS (int): Of the weights, an adapter included."""
    if use.tuning == "full":
        return 4 * shape.n_parameters
    linear = sum(width * height for width, height in shape.linear.values())
    n_bytes = BYTES[use.dtype]
    quantized = {
        "none": n_bytes * linear,
        "nf4": round(linear * (1 / 2 + 1 / 64 + 4 / (64 * 256))),
        "int8": linear + 4 * sum(height for _, height in shape.linear.values()),
    }[use.quantization]
    rest = shape.n_parameters - linear
    return quantized + n_bytes * rest + 4 * adapter_parameters(shape, use)


def inference_bytes(shape: DecoderShape, use: Use, *, n_rows: int) -> int:
    """What inference takes at most, weights included.

    n_rows (int): Of the Docs that are in memory at once. Real subtokens per forward pass are
        max_batch_items at most, and CPU_ROWS on a CPU.
    """
    n_computed = n_rows if use.gpu else min(n_rows, CPU_ROWS)
    computing = n_computed * _computed_per_layer(shape, use)
    output = n_rows * 3 * 4 * shape.width  # of the batch, of the Docs and pooled, in float32
    return _loaded(shape, use) + _allocated(computing, use) + output + n_rows * PER_ROW


def training_bytes(shape: DecoderShape, use: Use, *, n_rows: int) -> int:
    """What training takes at most, weights, gradients and the optimizer's moments included.

    n_rows (int): Of a batch.
    """
    if use.tuning == "frozen":
        return inference_bytes(shape, use, n_rows=n_rows)
    n_bytes = BYTES[use.dtype]
    moments = (2 if use.paged_8bit else 8) + 4
    trained = trained_parameters(shape, use) * moments
    stream = shape.width * (4 if use.tuning == "full" else n_bytes)
    kept = kept_per_layer(shape, use)
    layers, copies = shape.n_layers * kept, _kept_weights(shape, use)
    if use.gradient_checkpointing:
        # The inputs of all layers, and two layers recomputed: one is before the last is freed.
        layers = shape.n_layers * stream + 2 * kept
        copies = min(copies, 2 * copies // shape.n_layers)
    # Around the layers: embedding, last norm, output and its gradient, and in the backward pass the
    # gradients within one layer.
    around = 6 * 4 * shape.width + _computed_per_layer(shape, use)
    activations = _allocated(n_rows * (layers + around), use)
    return _loaded(shape, use) + trained + copies + activations + n_rows * PER_ROW


def kept_per_layer(shape: DecoderShape, use: Use) -> int:
    """Bytes that autograd keeps of a row in one layer.

    W width, Q and K widths of queries and keys, I inner width, b bytes of the dtype:

                               weights frozen            all weights trained
        two norms              2 * 4W                    2 * 8W (input, and normalized)
        inputs of q, k, v      -                         3bW (one copy each; if b = 4, 4W for all)
        queries, keys, values  a * (2Q + 2K)             the same, with the output; a = 4 on a
                                                         CPU, which attends in float32, else b
        input of o             -                         bQ
        inputs of gate and up  -                         2bW (likewise)
        MLP                    3bI                       4bI (with the input of down)
        LoRA, each module      4 * input + 4 * rank      -
          with dropout         8 * input + 4 * rank on a CPU, whose masks are floats; 5 on a GPU
          DoRA                 (4 + b) * output more: outputs of the base, and of A and B
        k experts, besides     kbW (weighted outputs)    8kW (inputs as well)

    I is the inner width of all experts that a subtoken is sent to. In full tuning that computes in
    half precision, copies of the weights of experts in one tensor count with the weights.
    """
    n_bytes = BYTES[use.dtype]
    W, inner = shape.width, shape.inner_width
    Q, K = shape.n_heads * shape.head_width, shape.n_key_value_heads * shape.head_width
    attention = (n_bytes if use.gpu else 4) * (2 * Q + 2 * K)
    if use.tuning == "full":
        own = 8 * W if n_bytes == 4 else 5 * n_bytes * W
        routed = round(8 * shape.n_experts * W)
        return 16 * W + own + attention + n_bytes * Q + 4 * n_bytes * inner + routed
    per_input = (5 if use.gpu else 8) if use.dropout else 4
    per_output = 4 + n_bytes if use.dora else 0
    adapted = sum(
        per_input * shape.linear[name][0] + 4 * rank + per_output * shape.linear[name][1]
        for name, rank in use.adapted.items()
        if name in shape.linear
    )
    routed = round(n_bytes * shape.n_experts * W)
    return 8 * W + attention + 3 * n_bytes * inner + routed + adapted // shape.n_layers


def _computed_per_layer(shape: DecoderShape, use: Use) -> int:
    """Bytes of a row within one layer that are needed at once: in the MLP, or in attention."""
    W, inner, n_bytes = shape.width, shape.inner_width, BYTES[use.dtype]
    Q, K = shape.n_heads * shape.head_width, shape.n_key_value_heads * shape.head_width
    mlp = 3 * n_bytes * inner + 2 * n_bytes * W
    attention = n_bytes * (3 * Q + 4 * K + 2 * W) + 4 * W
    return max(mlp, attention)


def _kept_weights(shape: DecoderShape, use: Use) -> int:
    """Copies of weights that autograd keeps: experts with their update, and with DoRA and dropout
    the dequantized weights, through which inputs go a second time."""
    total = 0
    for name in use.adapted:
        n_experts, n_inputs, n_outputs = _sizes(shape, name)
        n_bytes = BYTES[use.dtype]
        if name in shape.linear:
            is_kept = use.dora and use.dropout > 0
            n_bytes = {"none": 0, "nf4": n_bytes, "int8": 4}[use.quantization] if is_kept else 0
        total += n_bytes * n_experts * n_inputs * n_outputs
    return total


def _sizes(shape: DecoderShape, name: str) -> tuple[int, int, int]:
    """Experts, input and output width of what has LoRA weights."""
    return shape.experts[name] if name in shape.experts else (1, *shape.linear[name])


def _loaded(shape: DecoderShape, use: Use) -> int:
    """Weights and tokenizer, and copies of weights in the computing dtype: for a quantized decoder
    one linear layer at a time, for float32 weights all that autocast keeps. For experts with LoRA
    weights those of one layer, and for DoRA one weight in float32, with its update.
    """
    linear, n_bytes, copied = [a * b for a, b in shape.linear.values()], BYTES[use.dtype], 0
    if use.quantization != "none":
        copied = n_bytes * max(linear)
    elif use.tuning == "full" and n_bytes != 4:
        copied = n_bytes * (sum(linear) + shape.n_joined)
    adapted = [math.prod(_sizes(shape, name)) for name in use.adapted]
    if use.dora and adapted:
        copied = max(copied, (n_bytes + 8) * max(adapted))
    experts = [n_bytes * math.prod(shape.experts[n]) for n in use.adapted if n in shape.experts]
    copied += sum(experts) // shape.n_layers
    return weights_bytes(shape, use) + PER_ENTRY * shape.vocab_size + copied


def _allocated(n_bytes: int, use: Use) -> int:
    return n_bytes if use.gpu else round(ALLOCATOR * n_bytes)
