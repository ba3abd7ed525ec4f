"""What LoRA's variants cost in time: training and inference of a random decoder, as ratios to LoRA.

    python -m benchmarks.lora_costs --subtokens 512 --rounds 5

What counts is the time of the processor, in one thread, so that other load on the machine matters
little; variants take turns within each round, and the median of the rounds is printed. The decoder
has 4 layers of width 1024, grouped-query attention and an inner width of 2816, in bfloat16.
"""

import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy
import torch
import typer
from transformers import AutoTokenizer, MistralConfig, MistralForCausalLM

from spacy_lgu.decoder.building import BuiltDecoder, build_decoder, check_settings
from spacy_lgu.decoder.packing import PackedBatch
from spacy_lgu.decoder.settings import DecoderSettings, LoraSettings

CPU = torch.device("cpu")
WAYS = [("lora", 0.0), ("lora", 0.1), ("rslora", 0.0), ("dora", 0.0), ("dora", 0.1)]
LENGTH = 32  # subtokens of a sequence


def save_decoder(folder: Path) -> None:
    """Save a random decoder with a tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained("assets/decoder")
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=1024,
        intermediate_size=2816,
        num_hidden_layers=4,
        num_attention_heads=16,
        num_key_value_heads=4,
        sliding_window=None,
    )
    MistralForCausalLM(config).bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def load(folder: Path, quantization: str, lora: LoraSettings) -> BuiltDecoder:
    settings = DecoderSettings(
        name=str(folder), unmasking="cb", quantization=quantization, dtype="bfloat16", lora=lora
    )
    return build_decoder(check_settings(settings, {}), device=CPU)


def measure(built: BuiltDecoder, n_subtokens: int) -> tuple[float, float]:
    """Seconds of a forward pass at inference, and of one with its backward pass in training."""
    decoder, ids = built.decoder, numpy.arange(n_subtokens) % 1000
    lengths = numpy.full(n_subtokens // LENGTH, LENGTH)
    decoder.eval()
    start = time.process_time()
    decoder.predict(ids, lengths, n_subtokens)
    between = time.process_time()
    decoder.train()
    decoder(PackedBatch.pack(ids, lengths, device=CPU)).sum().backward()
    return between - start, time.process_time() - between


def main(
    subtokens: Annotated[int, typer.Option(help="Of a batch, a multiple of 32")] = 512,
    rank: Annotated[int, typer.Option(help="Of the adapters")] = 16,
    rounds: Annotated[int, typer.Option(help="Of which the median counts")] = 5,
) -> None:
    """Measure all variants on a CPU."""
    torch.set_num_threads(1)
    typer.echo("| base | modules | variant | dropout | inference | training |")
    typer.echo("|---|---|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_decoder(folder)
        kinds = itertools.product(("none", "nf4", "int8"), ("attention", "all-linear"))
        for quantization, modules in kinds:
            built = [
                load(
                    folder,
                    quantization,
                    LoraSettings(variant=variant, rank=rank, dropout=dropout, modules=modules),
                )
                for variant, dropout in WAYS
            ]
            found: list[list[tuple[float, float]]] = [[] for _ in WAYS]
            for i in range(rounds + 1):
                for one, times in zip(built, found, strict=True):
                    times.append(measure(one, subtokens))
                    if i == 0:
                        times.clear()  # the first calls allocate
            medians = [[statistics.median(t) for t in zip(*times, strict=True)] for times in found]
            for (variant, dropout), (inference, training) in zip(WAYS, medians, strict=True):
                typer.echo(
                    f"| {quantization} | {modules} | {variant} | {dropout:g} | "
                    f"{inference / medians[0][0]:.2f} | {training / medians[0][1]:.2f} |"
                )


if __name__ == "__main__":
    typer.run(main)
