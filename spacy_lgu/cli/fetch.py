"""`python -m spacy lgu fetch`: find or download a decoder and check that it can be used."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from . import app


@app.command("fetch")
def fetch_cli(
    name: Annotated[str, typer.Argument(help="Name on the Hugging Face hub, or a folder")],
    folder: Annotated[
        Path | None, typer.Argument(help="Where --quantize stores the decoder")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit on the hub; null for the default")
    ] = None,
    unmasking: Annotated[str, typer.Option(help="Unmasking pattern, such as ccbb")] = "cccc",
    n_layers: Annotated[
        int | None, typer.Option(help="How many of its layers are used, as in the config [all]")
    ] = None,
    quantization: Annotated[str, typer.Option(help="none, nf4 or int8, as in the config")] = "none",
    quantize: Annotated[
        str | None, typer.Option(help="nf4 or int8: quantize it now, and store it in FOLDER")
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="--quantize: in which it will compute, as in the config")
    ] = "auto",
    gpu_id: Annotated[
        int, typer.Option("--gpu-id", "-g", help="--quantize: GPU, or -1 for the CPU")
    ] = -1,
) -> None:
    """Download a decoder, or find it on disk, and check it against an unmasking pattern.

    Checks come first: a decoder that cannot be used is refused before its weights are downloaded.
    With --quantize, what is stored is named as the decoder, in place of NAME.
    """
    _check_options(folder, quantize, quantization)
    from ..decoder.building import check_settings
    from ..decoder.quantizing import check_place, store_quantized
    from ..decoder.settings import DecoderSettings
    from ..decoder.weights import check_weights, fetch_weights

    settings = DecoderSettings(
        name=name,
        revision=None if revision == "null" else revision,
        unmasking=unmasking,
        n_layers=n_layers,
        quantization=quantize or quantization,
        dtype=dtype,
        tuning="frozen",
    )
    if folder is not None:
        check_place(folder)
    checked = check_settings(settings, {})
    source, config = checked.source, checked.config
    layers = checked.describe_layers()
    msg.good(f"{name} is a {config.model_type} decoder; {settings.unmasking} = {layers}")
    if not source.is_local:
        files = fetch_weights(source)
        check_weights(source, config)
        msg.good(f"{len(files)} weights file(s) at commit {source.commit} are in the local cache")
    if folder is None:
        return
    from spacy.cli._util import setup_gpu
    from thinc.api import get_torch_default_device

    setup_gpu(gpu_id)
    device = get_torch_default_device()
    if store_quantized(checked, folder, dtype=dtype, device=device):
        msg.good(f"It is stored in {folder}, quantized: name this folder as the decoder")
    else:
        msg.good(f"{folder} holds it already, quantized")


def _check_options(folder: Path | None, quantize: str | None, quantization: str) -> None:
    if quantize is None and folder is not None:
        raise ValueError(
            f"A folder was given ({str(folder)!r}), but not what to store there: give --quantize "
            "nf4 or --quantize int8 as well."
        )
    if quantize is None:
        return
    if quantize not in ("nf4", "int8"):
        raise ValueError(f"--quantize is {quantize!r}: expected 'nf4' or 'int8'.")
    if folder is None:
        raise ValueError("--quantize needs a folder, after the decoder's name, to store it in.")
    if quantization not in ("none", quantize):
        raise ValueError(
            f"--quantization is {quantization!r}, but --quantize is {quantize!r}: give the latter "
            "alone."
        )
