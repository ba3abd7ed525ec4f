"""`python -m spacy lgu verify`: hash all files of a saved pipeline."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from ..replacing import finished_folder, finished_subfolders
from . import app

# Packaging writes it again, and nothing in it changes a prediction.
_META = "../meta.json"


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
    # Every `python -m spacy` imports this file, so slow imports wait until they are needed.
    from ..decoder.verification import list_unknown, record_decoder, verify_decoder

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
        if _META in changed:
            changed.remove(_META)
            msg.warn(f"{folder / _META} has changed, as packaging changes it")
        if changed:
            raise ValueError(
                f"{folder}: {', '.join(changed)} {'is' if len(changed) == 1 else 'are'} missing or "
                "not what was saved. Copy the pipeline again from where it was saved. If these "
                "files were changed on purpose, --record accepts them."
            )
        for name in list_unknown(folder):
            msg.info(f"{folder}: {name} was not saved with it, nothing to compare with")
        msg.good(f"{folder}: all files are what was saved")
