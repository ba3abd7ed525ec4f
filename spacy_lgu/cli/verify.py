"""`python -m spacy lgu verify`: hash all files of a saved pipeline."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from ..replacing import finished_folder, finished_subfolders
from . import app


@app.command("verify")
def verify_cli(
    pipeline: Annotated[Path, typer.Argument(help="Folder of a saved pipeline")],
    record: Annotated[
        bool, typer.Option("--record", help="Accept the files as they are, from now on")
    ] = False,
) -> None:
    """Compare every byte of a pipeline with what was saved: decoder, adapter, heads, vocabulary.

    Loading compares sizes and headers of the base weights, since hashing gigabytes takes time,
    and hashes of the adapter, the tokenizer and the components that listen.
    """
    from ..decoder.verification import list_unknown, record_decoder, verify_decoder
    from ..sharing.checking import META, refuse_changed

    pipeline = finished_folder(pipeline)
    subfolders = finished_subfolders(pipeline) if pipeline.is_dir() else []
    folders = [folder for folder in subfolders if (folder / "lgu.json").exists()]
    if not folders:
        raise ValueError(
            f"There is no lgu_transformer in {str(pipeline)!r}. Give the folder of a pipeline, as "
            "nlp.to_disk or `spacy train` writes it."
        )
    for folder in folders:
        if record:
            record_decoder(folder)
        changed = verify_decoder(folder)
        if changed is None:
            msg.warn(
                f"{folder}: nothing to compare with, it was saved by a version without hashes. "
                "Load and save the pipeline to have them."
            )
            continue
        if META in changed:
            msg.warn(f"{folder / META} has changed, as packaging changes it")
        refuse_changed(folder, changed)
        for name in list_unknown(folder):
            msg.info(f"{folder}: {name} was not saved with it, nothing to compare with")
        msg.good(f"{folder}: all files are what was saved")
