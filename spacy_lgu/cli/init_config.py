"""`python -m spacy lgu init-config`: a training config to begin with."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from ..configs.heads import HEADS
from ..replacing import replace_file
from . import app


@app.command("init-config")
def init_config_cli(
    output: Annotated[Path, typer.Argument(help="File to write, or - for stdout", allow_dash=True)],
    pipeline: Annotated[
        str,
        typer.Option("--pipeline", "-p", help=f"Pipes, with commas: {', '.join(HEADS)}"),
    ] = "ner",
    decoder: Annotated[
        str, typer.Option("--decoder", "-d", help="Name on the Hugging Face hub, or a folder")
    ] = "mistralai/Mistral-7B-v0.3",
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit on the hub [the default branch]")
    ] = None,
    unmasking: Annotated[
        str | None,
        typer.Option(
            help="Pattern, a letter per layer group: c causal, b bidirectional [the upper half b]"
        ),
    ] = None,
    lang: Annotated[str, typer.Option("--lang", "-l", help="Language, such as en, or xx")] = "en",
    optimize: Annotated[
        str, typer.Option("--optimize", "-o", help="efficiency or accuracy")
    ] = "efficiency",
    gpu: Annotated[bool, typer.Option("--gpu/--cpu", "-G/-C", help="Device to train on")] = False,
    force: Annotated[bool, typer.Option("--force", "-F", help="Replace the file")] = False,
) -> None:
    """Write a complete training config, with comments, for the given pipes and decoder.

    Quantization, tuning, pattern, learning rate and sizes follow from the decoder's size, if its
    config is in a folder or in the local cache; nothing is downloaded.
    """
    from ..configs.starting import make_config

    is_stdout = str(output) == "-"
    if not is_stdout and output.exists() and not force:
        raise FileExistsError(f"{str(output)!r} exists already. Use --force to replace it.")
    made = make_config(
        output="config.cfg" if is_stdout else str(output),
        lang=lang,
        heads=[name.strip() for name in pipeline.split(",") if name.strip()],
        decoder=decoder,
        revision=revision,
        unmasking=unmasking,
        optimize=optimize,
        gpu=gpu,
    )
    if is_stdout:
        typer.echo(made.text, nl=False)
    else:
        replace_file(output, made.text.encode("utf8"))
    for remark in made.remarks:
        typer.echo(f"! {remark}", err=True)
    if not is_stdout:
        msg.good(f"Saved the config to {output}. To train:")
        typer.echo(made.command)  # not by msg, which would wrap the line
