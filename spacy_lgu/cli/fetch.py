"""`python -m spacy lgu fetch`: find or download a decoder and check that it can be used."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from wasabi import msg

from ..unmasking import describe_layers, unmask_layers
from . import app

if TYPE_CHECKING:
    from ..decoder.loading import Source


@app.command("fetch")
def fetch_cli(
    name: Annotated[str, typer.Argument(help="Name on the Hugging Face hub, or a folder")],
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit on the hub; null for the default")
    ] = None,
    unmasking: Annotated[str, typer.Option(help="Unmasking pattern, such as ccbb")] = "cccc",
    quantization: Annotated[str, typer.Option(help="none, nf4 or int8, as in the config")] = "none",
) -> None:
    """Download a decoder, or find it on disk, and check it against an unmasking pattern.

    Checks come first: a decoder that cannot be used is refused before its weights are downloaded.
    """
    # Every `python -m spacy` imports this file: torch and transformers only where they are used.
    from ..decoder.building import check_settings
    from ..decoder.settings import DecoderSettings

    settings = DecoderSettings(
        name=name,
        revision=None if revision == "null" else revision,
        unmasking=unmasking,
        quantization=quantization,
        tuning="frozen",
    )
    source, config, _ = check_settings(settings, {})
    layers = describe_layers(unmask_layers(settings.unmasking, config.num_hidden_layers))
    msg.good(f"{name} is a {config.model_type} decoder; {settings.unmasking} = {layers}")
    if source.folder is None:
        n_files = download_weights(source)
        msg.good(f"{n_files} weights file(s) at commit {source.commit} are in the local cache")


def download_weights(source: "Source") -> int:
    """Download the safetensors files that transformers would load, and no others.

    source (Source): A decoder on the hub.
    RETURNS (int): How many files there are.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError
    from transformers.utils import hub as transformers_hub

    from ..decoder.reading import read_json, take

    options: dict[str, Any] = {
        "revision": source.commit,
        "cache_dir": transformers_hub.TRANSFORMERS_CACHE,
    }
    # In transformers' order.
    try:
        hf_hub_download(source.name, "model.safetensors", **options)
    except EntryNotFoundError:
        index = Path(hf_hub_download(source.name, "model.safetensors.index.json", **options))
        weight_map = take(read_json(index), "weight_map", (dict,), index)
        names = {take(weight_map, weight, (str,), index) for weight in weight_map}
        for file in sorted(names):
            hf_hub_download(source.name, file, **options)
        return len(names)
    return 1
