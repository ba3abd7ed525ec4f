"""`python -m spacy lgu pull`: fetch a pipeline from the Hugging Face hub."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from . import app
from .options import ForceOption


@app.command("pull")
def pull_cli(
    repo_id: Annotated[str, typer.Argument(help="OWNER/NAME on the hub")],
    output: Annotated[Path, typer.Argument(help="Folder of the pipeline")],
    revision: Annotated[
        str | None, typer.Option("--revision", help="Branch, tag or commit [the default branch]")
    ] = None,
    force: ForceOption = False,
) -> None:
    """Fetch a pipeline at one commit, and verify every file.

    A download that was interrupted goes on, from the hub's cache.
    """
    from ..sharing.pulling import pull_pipeline

    pulled = pull_pipeline(repo_id, output, revision=revision, force=force)
    for names, why in (
        (pulled.left_out, "Not fetched, since no pipeline has them"),
        (pulled.unknown, "Not saved with the pipeline, nothing to compare with"),
    ):
        if names:
            msg.info(f"{why}: {', '.join(names)}")
    for base in pulled.bases:
        msg.info(f"Its base decoder {base} is downloaded when it is first loaded")
    msg.good(f"{output} is {repo_id} at commit {pulled.commit}, and all files are what was saved")
    typer.echo(f'import spacy\nnlp = spacy.load("{output}")')
