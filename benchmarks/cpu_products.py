"""Products of rows and frozen weights on this CPU: how long each way takes, and how exact it is.

    python -m benchmarks.cpu_products --threads 1 --output products.json
    python -m benchmarks.cpu_products --threads 2 --rows 256 --rows 1024

Shapes are those of SmolLM2-135M and of a 7B decoder. Ways whose library or operation is missing are
left out, and named. All ways run in turns, and each has the median of its rounds, in CPU time: of
the thread where there is one, else of the process. Errors are relative to float64 on rows with
outliers among their inputs, as decoders have them; weights that are stored in 4 or 8 bits are
rounded from the same. "Whole" ways round their rows in each call, as serving does.
"""

import json
import logging
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch.nn.functional import linear

from spacy_lgu.decoder.int8_products import Int8Linear
from spacy_lgu.decoder.products import OneDNNLinear

# Inputs and outputs.
SHAPES = [(576, 576), (576, 1536), (1536, 576), (4096, 4096), (4096, 14336)]
ROWS = [16, 64, 256, 1024, 4096]
BASELINE = "bfloat16"
WayT = Callable[[], torch.Tensor]


def make_ways(X: torch.Tensor, W: torch.Tensor) -> tuple[dict[str, WayT], dict[str, str]]:
    """Every way to multiply that this machine has.

    X, W (Tensor): Rows and weights, float32. Shapes: (rows, inputs), (outputs, inputs).
    RETURNS (tuple): Functions by name, and why others are missing.
    """
    Xh, Wh = X.bfloat16(), W.bfloat16()
    factors = X.abs().amax(0).sqrt()
    onednn, own, plain = _modules(W, factors)
    quantized = [(X * 20).clamp(-127, 127).to(torch.int8), own.weight.t()]
    ways: dict[str, WayT] = {
        "float32 (torch: MKL)": lambda: linear(X, W),
        "float32 (oneDNN)": lambda: onednn(X),
        "bfloat16": lambda: linear(Xh, Wh),
        "torch._int_mm alone": lambda: torch._int_mm(*quantized),
        "int8 by rows, whole, to bfloat16": lambda: own(_new(Xh)),
        "int8 by rows, whole, to float32": lambda: own(_new(X)),
        "int8 by rows, without factors": lambda: plain(_new(Xh)),
    }
    missing: dict[str, str] = {}
    for name, make in _OTHERS.items():
        try:
            way = make(X, W)
            way()
        except (ImportError, RuntimeError, NotImplementedError, AttributeError, TypeError) as error:
            missing[name] = f"{type(error).__name__}: {str(error)[:80]}"
        else:
            ways[name] = way
    return ways, missing


def _modules(W: torch.Tensor, factors: torch.Tensor) -> tuple[OneDNNLinear, Int8Linear, Int8Linear]:
    onednn = OneDNNLinear(W.shape[1], W.shape[0], bias=False, device="meta")
    onednn.weight = torch.nn.Parameter(W, requires_grad=False)
    return onednn, Int8Linear(W, None, factors), Int8Linear(W, None, torch.ones(len(factors)))


def _new(X: torch.Tensor) -> torch.Tensor:
    """The same rows as a tensor of its own: the module keeps what it rounded for the next."""
    return X.view(X.shape)


def _dynamic(engine: str) -> Callable[[torch.Tensor, torch.Tensor], WayT]:
    def make(X: torch.Tensor, W: torch.Tensor) -> WayT:
        torch.backends.quantized.engine = engine
        scales = W.abs().amax(1) / 127
        zeros = torch.zeros(len(scales), dtype=torch.int64)
        rounded = torch.quantize_per_channel(W, scales, zeros, 0, torch.qint8)
        packed = torch.ops.quantized.linear_prepack(rounded, None)

        def way() -> torch.Tensor:
            torch.backends.quantized.engine = engine
            Y: torch.Tensor = torch.ops.quantized.linear_dynamic(X, packed, reduce_range=False)
            return Y

        return way

    return make


def _weights_only(X: torch.Tensor, W: torch.Tensor) -> WayT:
    scales = W.abs().amax(1) / 127
    rounded, Xh = (W / scales[:, None]).round().to(torch.int8), X.bfloat16()
    return lambda: torch._weight_int8pack_mm(Xh, rounded, scales.bfloat16())


def _torchao(X: torch.Tensor, W: torch.Tensor) -> WayT:
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    module, Xh = torch.nn.Sequential(torch.nn.Linear(W.shape[1], W.shape[0], bias=False)), None
    module[0].weight = torch.nn.Parameter(W.bfloat16(), requires_grad=False)
    quantize_(module, Int8DynamicActivationInt8WeightConfig())
    Xh = X.bfloat16()
    return lambda: module(Xh)


def _bitsandbytes(kind: str) -> Callable[[torch.Tensor, torch.Tensor], WayT]:
    def make(X: torch.Tensor, W: torch.Tensor) -> WayT:
        import bitsandbytes

        size: Any = {"input_features": W.shape[1], "output_features": W.shape[0], "bias": False}
        if kind == "nf4":
            module = bitsandbytes.nn.Linear4bit(
                **size, compute_dtype=torch.bfloat16, quant_type="nf4", compress_statistics=True
            )
            module.weight = bitsandbytes.nn.Params4bit(
                W.bfloat16(), requires_grad=False, quant_type="nf4", compress_statistics=True
            )
            module.support_avx512bf16_for_cpu = False  # as in loading.py
        else:
            module = bitsandbytes.nn.Linear8bitLt(**size, has_fp16_weights=False, threshold=6.0)
            module.weight = bitsandbytes.nn.Int8Params(
                W.half(), requires_grad=False, has_fp16_weights=False
            )
        module, Xh = module.to("cpu").eval(), X.bfloat16()
        return lambda: module(Xh)

    return make


_OTHERS: dict[str, Callable[[torch.Tensor, torch.Tensor], WayT]] = {
    "torch dynamic, one scale for all rows (x86)": _dynamic("x86"),
    "torch dynamic, one scale for all rows (onednn)": _dynamic("onednn"),
    "torch._weight_int8pack_mm": _weights_only,
    "torchao int8 x int8": _torchao,
    "bitsandbytes NF4": _bitsandbytes("nf4"),
    "bitsandbytes LLM.int8()": _bitsandbytes("int8"),
}


@torch.no_grad()
def measure(n_rows: int, inputs: int, outputs: int, rounds: int) -> dict[str, Any]:
    """RETURNS (dict): Milliseconds, ratio and error of each way, and what is missing."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(n_rows, inputs, generator=generator)
    X[:, ::97] *= 12  # outliers, in one input of about a hundred
    W = torch.randn(outputs, inputs, generator=generator) / inputs**0.5
    exact = X.double() @ W.double().T
    ways, missing = make_ways(X, W)
    clock = time.thread_time if torch.get_num_threads() == 1 else time.process_time
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    errors = {}
    for i in range(rounds + 1):
        for name, way in ways.items():
            start = clock()
            Y = way()
            if i:  # the first allocates
                seconds[name].append(clock() - start)
            elif "alone" not in name:
                errors[name] = float((Y.double() - exact).norm() / exact.norm())
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "rows": n_rows, "inputs": inputs, "outputs": outputs, "missing": missing,
        "ways": {
            name: {
                "ms": 1000 * median,
                "times_as_fast": medians[BASELINE] / median,
                "error": errors.get(name),
            }
            for name, median in medians.items()
        },
    }  # fmt: skip


def print_table(result: dict[str, Any]) -> None:
    """One line per way."""
    print(f"\n{result['rows']} rows, {result['inputs']} -> {result['outputs']}")
    print(f"{'':48}{'ms':>9}{'x ' + BASELINE:>12}{'error':>9}")
    for name, way in result["ways"].items():
        error = "" if way["error"] is None else f"{way['error']:.1e}"
        print(f"{name:48}{way['ms']:9.2f}{way['times_as_fast']:12.2f}{error:>9}")
    for name, why in result["missing"].items():
        print(f"{name:48}  missing: {why}")


def main(
    rows: Annotated[list[int] | None, typer.Option(help="Rows; again for more [all]")] = None,
    width: Annotated[int | None, typer.Option(help="Only shapes with this input [all]")] = None,
    threads: Annotated[int, typer.Option(help="torch's threads")] = 1,
    rounds: Annotated[int, typer.Option(help="Measured rounds, after one to warm up")] = 7,
    output: Annotated[Path | None, typer.Option(help="Write the results as JSON")] = None,
) -> None:
    """Measure and print tables."""
    # torch says that its quantized tensors will go; bitsandbytes, that it casts to float16.
    warnings.simplefilter("ignore")
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    torch.set_num_threads(threads)
    results = []
    for inputs, outputs in SHAPES:
        for n_rows in rows or ROWS:
            if width in (None, inputs):
                results.append(measure(n_rows, inputs, outputs, rounds))
                print_table(results[-1])
    if output is not None:
        machine = {
            "cpu": platform.processor() or platform.machine(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "threads": threads,
            "torch": torch.__version__,
        }
        report = {"machine": machine, "results": results}
        output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf8")


if __name__ == "__main__":
    typer.run(main)
