"""`python -m spacy lgu verify`: hash the base weights of a saved pipeline."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from ..replacing import finished_folder, finished_subfolders
from . import app


@app.command("verify")
def verify_cli(
    pipeline: Annotated[Path, typer.Argument(help="Folder of a saved pipeline")],
) -> None:
    """Compare every byte of the base weights with what the pipeline was saved with.

    Loading compares sizes and headers only, since hashing gigabytes takes its time.
    """
    # Every `python -m spacy` imports this file: torch only where it is used.
    from ..decoder.storage import verify_decoder

    pipeline = finished_folder(pipeline)
    subfolders = finished_subfolders(pipeline) if pipeline.is_dir() else []
    folders = [folder for folder in subfolders if (folder / "lgu.json").exists()]
    if not folders:
        msg.fail(
            f"There is no lgu_transformer in {str(pipeline)!r}",
            "Give the folder of a pipeline, as nlp.to_disk or `spacy train` writes it.",
            exits=1,
        )
    for folder in folders:
        damaged = verify_decoder(folder)
        if damaged is None:
            msg.warn(
                f"{folder}: nothing to compare with, the base weights are on the hub or were saved "
                "without hashes"
            )
            continue
        if damaged:
            msg.fail(f"{folder}: the content of {', '.join(damaged)} has changed", exits=1)
        msg.good(f"{folder}: the base weights are those of the training")
