"""`python -m spacy lgu bundle`: put the base into a pipeline that was saved by reference."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from . import app
from .options import ForceOption


@app.command("bundle")
def bundle_cli(
    pipeline: Annotated[Path, typer.Argument(help="Folder of a saved pipeline")],
    output: Annotated[Path, typer.Argument(help="Folder of the copy")],
    force: ForceOption = False,
    gpu_id: Annotated[
        int, typer.Option("--gpu-id", "-g", help="GPU that quantizes, or -1 for the CPU")
    ] = -1,
) -> None:
    """Copy a pipeline together with the weights of its base, so that it needs nothing else.

    The weights are those that its decoder uses, quantized as in training.
    """
    from spacy.cli._util import setup_gpu
    from thinc.api import get_torch_default_device

    from ..sharing.bundling import bundle_pipeline

    setup_gpu(gpu_id)
    names = bundle_pipeline(pipeline, output, device=get_torch_default_device(), force=force)
    msg.good(f"{output} holds all weights, now also those of the base of {', '.join(names)}")
