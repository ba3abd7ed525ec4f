"""Products in int8 on CPUs, for serving a frozen base: faster in large decoders, in less memory.

    x, a row per subtoken         / a factor per input, / a scale per row, rounded to int8
    W, a row per output           * a factor per input, / a scale per output, rounded to int8
    y                             sums in int32 * scale of the row * scale of the output + b

A row has a scale of its own, so that a text does not depend on those in its pack, other than by
rounding. The factors move outliers among the inputs into the weights (SmoothQuant: Xiao et al.,
2023, arXiv 2211.10438): the root of the largest input found with pseudo-random subtokens. They need
no texts, and their vectors are about as near to the exact ones as with factors from texts.

Only modules that read vectors of the decoder's width are computed so. What the projection back from
a wider feed-forward layer reads has single huge values beside which a row's others round to
nothing: it stays as it is, which takes two fifths off the error in SmolLM2-135M.
"""

import logging
import threading
import weakref
from typing import Any

import numpy
import torch

from .adapter_weights import linear_layers
from .mixers import run_on_rectangles
from .packing import PackedBatch
from .products import dequantize

logger = logging.getLogger("spacy_lgu")

# Rows whose sums are scaled at a time, so that they stay in the cache.
_BLOCK = 128
# Sequences and subtokens in each, with which factors are found.
_SAMPLE = (16, 32)
_LARGEST = 127
_TINY = 1e-5


class _Last(threading.local):
    """What a thread keeps from call to call: the rows that it quantized last, since several modules
    read the same, and memory for sums, which costs a quarter of the time to get anew."""

    input: "weakref.ref[torch.Tensor] | None" = None
    version: int = -1
    factors: torch.Tensor | None = None
    rows: tuple[torch.Tensor, torch.Tensor]
    sums: torch.Tensor | None = None


_last = _Last()


class Int8Linear(torch.nn.Linear):
    """A linear module with int8 weights, whose input is rounded to int8 row by row.

    weight (Tensor): Of the module that it stands for. Shape: (outputs, inputs).
    bias (Parameter | None): Shape: (outputs,).
    factors (Tensor): By which inputs are divided, and weights multiplied. Modules that read the
        same rows have the same object. Shape: (inputs,), float32.
    """

    def __init__(
        self, weight: torch.Tensor, bias: torch.nn.Parameter | None, factors: torch.Tensor
    ) -> None:
        outputs, inputs = weight.shape
        super().__init__(inputs, outputs, bias=False, device="meta")
        W = weight.float() * factors
        scales = W.abs().amax(1).clamp_(min=_TINY) / _LARGEST  # (outputs,)
        rounded = (W / scales[:, None]).round_().to(torch.int8)
        self.weight = torch.nn.Parameter(rounded, requires_grad=False)
        self.register_parameter("bias", bias)
        self.register_buffer("scales", scales)
        self.register_buffer("factors", factors)
        self.register_buffer("inverse", 1 / factors)  # multiplying is faster

    scales: torch.Tensor
    factors: torch.Tensor
    inverse: torch.Tensor

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """RETURNS (Tensor): Shape: (..., outputs), from (..., inputs). Raises ValueError where a
        gradient would have to pass."""
        if torch.is_grad_enabled() and input.requires_grad:
            raise ValueError(
                "Products in int8 have no gradient. To train this pipeline, load it with products "
                "= 'exact' in [components.transformer.model]."
            )
        if not input.numel():
            return input.new_empty(*input.shape[:-1], self.out_features)
        rows, row_scales = self._quantize(input)
        sums = torch._int_mm(rows, self.weight.t(), out=_memory(len(rows), self.out_features))
        Y = torch.empty(sums.shape, dtype=input.dtype)
        for start in range(0, len(sums), _BLOCK):
            part = slice(start, start + _BLOCK)
            scaled = (sums[part] * row_scales[part]).mul_(self.scales)
            Y[part] = scaled if self.bias is None else scaled.add_(self.bias)
        return Y.view(*input.shape[:-1], -1)

    def dequantize(self) -> torch.Tensor:
        """RETURNS (Tensor): The weight as numbers. Shape: (outputs, inputs), float32."""
        return self.weight.float() * self.scales[:, None] / self.factors

    def _quantize(self, input: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """RETURNS (tuple): Rows in int8, and their scales, of shapes (rows, inputs), (rows, 1)."""
        if input.is_inference():  # without a version, which tells that it was changed
            return self._round(input)
        is_same = _last.input is not None and _last.input() is input
        if not (is_same and _last.version == input._version and _last.factors is self.factors):
            _last.rows = self._round(input)
            _last.input, _last.version = weakref.ref(input), input._version
            _last.factors = self.factors
        return _last.rows

    def _round(self, input: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # Cast first: a product of two dtypes takes twice as long.
        X = input.reshape(-1, self.in_features).to(torch.float32, copy=True).mul_(self.inverse)
        scales = X.abs().amax(-1, keepdim=True).clamp_(min=_TINY) / _LARGEST
        return X.mul_(1 / scales).round_().to(torch.int8), scales


def _memory(n_rows: int, n_outputs: int) -> torch.Tensor:
    """RETURNS (Tensor): This thread's, of any content. Shape: (n_rows, n_outputs), int32."""
    size = n_rows * n_outputs
    if _last.sums is None or _last.sums.numel() < size:
        with torch.inference_mode(False):  # so that it can be written to in any mode
            _last.sums = torch.empty(size, dtype=torch.int32)
    return _last.sums[:size].view(n_rows, n_outputs)


@torch.no_grad()
def use_int8_products(decoder: Any) -> None:
    """Compute a decoder's products in int8 from now on.

    decoder (PreTrainedModel): Frozen, on a CPU, as load_decoder returns it. Changed in place: its
        linear modules that read vectors of its width, and ran, become modules of Int8Linear, one by
        one, so that little memory is needed beside it.
    """
    run_on_rectangles(decoder)
    width: int = decoder.config.hidden_size
    modules = {n: m for n, m in linear_layers(decoder).items() if m.in_features == width}
    read: list[Any] = [None, None]  # an input, and its factors
    n_replaced = 0

    def replace(module: Any, args: tuple[torch.Tensor, ...], name: str) -> None:
        nonlocal n_replaced
        if read[0] is not args[0]:
            largest = args[0].reshape(-1, width).float().abs().amax(0)
            read[:] = args[0], largest.clamp_(min=_TINY).sqrt_()
        parent, _, last = name.rpartition(".")
        rounded = Int8Linear(dequantize(module), module.bias, read[1])
        setattr(decoder.get_submodule(parent), last, rounded)
        n_replaced += 1

    hooks = [
        module.register_forward_pre_hook(lambda m, args, name=name: replace(m, args, name))
        for name, module in modules.items()
    ]
    n, length = _SAMPLE
    generator = numpy.random.default_rng(0)
    ids = generator.integers(0, decoder.get_input_embeddings().num_embeddings, n * length)
    try:
        decoder(**_inputs(decoder, ids, [length] * n))
    finally:
        for hook in hooks:
            hook.remove()
    logger.info("%d of %d linear modules compute in int8", n_replaced, len(linear_layers(decoder)))


def _inputs(decoder: Any, ids: numpy.ndarray, lengths: list[int]) -> dict[str, Any]:
    packed = PackedBatch.pack(ids, lengths, device=torch.device("cpu"))
    return {
        "input_ids": packed.ids,
        "position_ids": packed.positions,
        "use_cache": False,
        "packed": packed,
        # The base is shared by pipelines of any pattern.
        "unmasked": (False,) * decoder.config.num_hidden_layers,
    }


def has_int8_products(decoder: torch.nn.Module) -> bool:
    """RETURNS (bool): Whether the weights of a decoder are no longer what was loaded."""
    return any(isinstance(module, Int8Linear) for module in decoder.modules())
