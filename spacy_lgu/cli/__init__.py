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
            help="When a command fails, show the whole traceback, not only the message",
        ),
    ] = False,
) -> None:
    """Decoders with layer group unmasking"""


# Each adds its command to `app`. Every `python -m spacy` imports them, so slow imports wait in the
# functions until they are needed.
from . import (  # noqa: E402
    adapt,  # noqa: F401
    annotate,  # noqa: F401
    bundle,  # noqa: F401
    calibrate,  # noqa: F401
    convert,  # noqa: F401
    evaluate,  # noqa: F401
    export,  # noqa: F401
    fetch,  # noqa: F401
    init_config,  # noqa: F401
    inspect,  # noqa: F401
    package,  # noqa: F401
    pull,  # noqa: F401
    push,  # noqa: F401
    search,  # noqa: F401
    serve,  # noqa: F401
    study,  # noqa: F401
    unbundle,  # noqa: F401
    verify,  # noqa: F401
)
