"""`python -m spacy lgu inspect`: what a pipeline or a decoder is, and whether it runs here."""

import json
import shutil
import sys
from typing import Annotated

import typer

from . import app
from .options import GpuOption


@app.command("inspect")
def inspect_cli(
    target: Annotated[
        str, typer.Argument(help="Saved pipeline, installed package, or decoder: folder or name")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines")] = False,
    revision: Annotated[
        str | None, typer.Option(help="Decoder: branch, tag or commit on the hub")
    ] = None,
    unmasking: Annotated[str | None, typer.Option(help="Decoder: pattern, such as ccbb")] = None,
    n_layers: Annotated[
        int | None, typer.Option(help="Decoder: how many of its layers are used [all]")
    ] = None,
    repeat: Annotated[
        int | None, typer.Option(help="Decoder: how many more times each text is run [0]")
    ] = None,
    quantization: Annotated[str | None, typer.Option(help="Decoder: none, nf4 or int8")] = None,
    tuning: Annotated[str | None, typer.Option(help="Decoder: lora, full or frozen")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="Decoder: auto, float32, bfloat16 or float16")
    ] = None,
    rank: Annotated[int | None, typer.Option(help="Decoder: rank of a LoRA adapter")] = None,
    gradient_checkpointing: Annotated[
        bool | None,
        typer.Option("--gradient-checkpointing", help="Decoder: recompute activations"),
    ] = None,
    max_batch_items: Annotated[
        int | None,
        typer.Option(help="Subtokens per forward pass [as in the pipeline, or auto]", min=1),
    ] = None,
    batch_size: Annotated[
        int,
        typer.Option(
            help="Subtokens per batch in training; those in two windows count twice", min=1
        ),
    ] = 512,
    gpu_id: GpuOption = -1,
) -> None:
    """Show layers, sizes, identity and memory of a saved pipeline or a decoder.

    No weight is loaded and nothing of a pipeline is run. Of a decoder on the hub that is not in the
    local cache, only config.json is downloaded. Settings of a decoder that are not given are those
    that init-config would choose.
    """
    from huggingface_hub import constants

    from ..inspection.drawing import choose_strokes
    from ..inspection.facts import Load
    from ..inspection.inspecting import inspect_target
    from ..inspection.machine import look_at_machine
    from ..inspection.report import write_report

    load = Load(
        machine=look_at_machine(gpu_id), max_batch_items=max_batch_items, batch_size=batch_size
    )
    facts = inspect_target(
        target,
        load,
        offline=constants.HF_HUB_OFFLINE,
        revision=revision,
        unmasking=unmasking,
        n_layers=n_layers,
        repeat=repeat,
        quantization=quantization,
        tuning=tuning,
        dtype=dtype,
        rank=rank,
        gradient_checkpointing=gradient_checkpointing,
    )
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    strokes = choose_strokes(sys.stdout.encoding)
    # Longer lines are hard to read.
    width = min(shutil.get_terminal_size().columns, 100)
    typer.echo(write_report(facts, strokes=strokes, width=width), nl=False)
