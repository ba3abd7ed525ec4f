"""`python -m spacy lgu unbundle`: take the base out of a pipeline that holds it."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from . import app
from .options import ForceOption


@app.command("unbundle")
def unbundle_cli(
    pipeline: Annotated[Path, typer.Argument(help="Folder of a saved pipeline")],
    output: Annotated[Path, typer.Argument(help="Folder of the copy")],
    base: Annotated[
        str | None, typer.Option("--base", help="Name on the hub, or a folder [as recorded]")
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", help="--base: branch, tag or commit on the hub")
    ] = None,
    force: ForceOption = False,
    gpu_id: Annotated[
        int, typer.Option("--gpu-id", "-g", help="GPU that quantizes, or -1 for the CPU")
    ] = -1,
) -> None:
    """Copy a pipeline without the weights of its base, which is named instead.

    Only if the base gives exactly the weights that the pipeline holds: it is read, quantized and
    compared first.
    """
    from spacy.cli._util import setup_gpu
    from thinc.api import get_torch_default_device

    from ..sharing.unbundling import unbundle_pipeline

    setup_gpu(gpu_id)
    device = get_torch_default_device()
    names = unbundle_pipeline(
        pipeline, output, device=device, base=base, revision=revision, force=force
    )
    msg.good(f"{output} names the base of {', '.join(names)}, which gives exactly these weights")
