"""`python -m spacy lgu fetch`: find or download a decoder and check that it can be used."""

from typing import Annotated

import typer
from wasabi import msg

from . import app


@app.command("fetch")
def fetch_cli(
    name: Annotated[str, typer.Argument(help="Name on the Hugging Face hub, or a folder")],
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit on the hub; null for the default")
    ] = None,
    unmasking: Annotated[str, typer.Option(help="Unmasking pattern, such as ccbb")] = "cccc",
    n_layers: Annotated[
        int | None, typer.Option(help="How many of its layers are used, as in the config [all]")
    ] = None,
    quantization: Annotated[str, typer.Option(help="none, nf4 or int8, as in the config")] = "none",
) -> None:
    """Download a decoder, or find it on disk, and check it against an unmasking pattern.

    Checks come first: a decoder that cannot be used is refused before its weights are downloaded.
    """
    # Every `python -m spacy` imports this file, so slow imports wait until they are needed.
    from ..decoder.building import check_settings
    from ..decoder.settings import DecoderSettings
    from ..decoder.weights import check_weights, fetch_weights

    settings = DecoderSettings(
        name=name,
        revision=None if revision == "null" else revision,
        unmasking=unmasking,
        n_layers=n_layers,
        quantization=quantization,
        tuning="frozen",
    )
    checked = check_settings(settings, {})
    source, config = checked.source, checked.config
    layers = checked.describe_layers()
    msg.good(f"{name} is a {config.model_type} decoder; {settings.unmasking} = {layers}")
    if not source.is_local:
        files = fetch_weights(source)
        check_weights(source, config)
        msg.good(f"{len(files)} weights file(s) at commit {source.commit} are in the local cache")
