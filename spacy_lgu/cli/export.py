"""`python -m spacy lgu export`: the decoder of a pipeline as a plain model of transformers."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from . import app
from .options import ForceOption, GpuOption


@app.command("export")
def export_cli(
    pipeline: Annotated[Path, typer.Argument(help="Folder of a saved pipeline")],
    output: Annotated[Path, typer.Argument(help="Folder of the model")],
    name: Annotated[
        str | None, typer.Option("--name", "-n", help="Component with the decoder [the only one]")
    ] = None,
    head: Annotated[
        str | None, typer.Option("--head", help="Sequence labeler to export as its classifier")
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="Of the weights: float32, bfloat16 or float16 [as it computes]")
    ] = "auto",
    by_mask: Annotated[
        bool, typer.Option("--by-mask", help="Calls may have to bring a mask: see its README.md")
    ] = False,
    force: ForceOption = False,
    gpu_id: GpuOption = -1,
) -> None:
    """Write a decoder with its adapter merged, for AutoModel.from_pretrained without this package.

    Only where all layers see the past, or all see everything. What was written is loaded again and
    compared with the pipeline.
    """
    from spacy.cli._util import setup_gpu

    from ..sharing.exporting import export_pipeline

    setup_gpu(gpu_id)
    written = export_pipeline(
        pipeline, output, name=name, head=head, dtype=dtype, by_mask=by_mask, force=force
    )
    classes = "" if written.classes is None else f" and a classifier of {written.classes} tags"
    msg.good(
        f"{output} holds {written.n_layers} layers of {written.component}{classes}, in "
        f"{written.dtype}"
    )
    found = written.agreement
    msg.info(
        f"Its vectors of {found.n_subtokens:,} subtokens lie at most {found.difference:.1e} of "
        f"their length from the pipeline's ({found.limit:g} is accepted)"
    )
