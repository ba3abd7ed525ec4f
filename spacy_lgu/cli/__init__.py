"""`python -m spacy lgu ...`: one file per command."""

import typer
from spacy.cli import app as spacy_app

app = typer.Typer(name="lgu", help="Decoders with layer group unmasking", no_args_is_help=True)
spacy_app.add_typer(app)

# Each adds its command to `app`.
from . import adapt, calibrate, convert, evaluate, fetch, package, study, verify  # noqa: E402, F401
