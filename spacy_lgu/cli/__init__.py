"""`python -m spacy lgu ...`: one file per command."""

from typing import Annotated

import typer
from spacy.cli import app as spacy_app

from .errors import CommandGroup

app = typer.Typer(name="lgu", cls=CommandGroup, no_args_is_help=True)
spacy_app.add_typer(app)


@app.callback()
def lgu_cli(
    traceback: Annotated[
        bool,
        typer.Option(
            "--traceback",
            envvar="SPACY_LGU_TRACEBACK",
            help="Where a command fails, show the whole traceback instead of the message alone",
        ),
    ] = False,
) -> None:
    """Decoders with layer group unmasking"""


# Each adds its command to `app`.
from . import adapt, calibrate, convert, fetch, package, verify  # noqa: E402, F401
