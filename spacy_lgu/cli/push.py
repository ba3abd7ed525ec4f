"""`python -m spacy lgu push`: send a pipeline to the Hugging Face hub."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from . import app


@app.command("push")
def push_cli(
    pipeline: Annotated[Path, typer.Argument(help="Folder of a saved pipeline")],
    repo_id: Annotated[str, typer.Argument(help="OWNER/NAME on the hub; made if missing")],
    private: Annotated[bool, typer.Option("--private", help="A new one is private")] = False,
    revision: Annotated[
        str | None, typer.Option("--revision", help="Branch; made if missing [the default]")
    ] = None,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Of the commit")] = None,
    create_pr: Annotated[
        bool, typer.Option("--create-pr", help="Propose it, where you may not write")
    ] = False,
    metrics: Annotated[
        Path | None,
        typer.Option("--metrics", help="JSON of `evaluate --output`, for the card [as trained]"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be sent, and send nothing")
    ] = False,
) -> None:
    """Send a pipeline and a card for it, in one commit.

    Every file is verified first. Only the pipeline's own files are sent; of a card that is there,
    what a person wrote stays.
    """
    from ..sharing.card import write_card
    from ..sharing.hub import check_login
    from ..sharing.pushing import describe_sizes, pack_parcel, push_parcel

    if not dry_run:
        check_login()  # before gigabytes are hashed
    parcel = pack_parcel(pipeline, repo_id, metrics)
    for line in describe_sizes(parcel.files):
        typer.echo(line)
    if parcel.left_out:
        msg.info(f"Not sent, since no save wrote it: {', '.join(parcel.left_out)}")
    if dry_run:
        typer.echo(write_card(parcel.facts, parcel.readme))
        msg.info("This was a dry run: nothing was sent")
        return
    pushed = push_parcel(
        parcel, private=private, revision=revision, message=message, create_pr=create_pr
    )
    if pushed.deleted:
        msg.info(f"Removed there, of an earlier push: {', '.join(pushed.deleted)}")
    msg.good(f"Sent {len(parcel.files)} files and a card: {pushed.url}")
