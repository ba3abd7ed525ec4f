"""Errors as spaCy's own commands show them: a line that begins with a cross, and exit status 1."""

import re
import sys
from collections.abc import Iterator
from configparser import InterpolationError
from typing import Any

import typer
from typer.core import TyperGroup
from wasabi import msg

# With these, our code and what it builds on (spaCy, transformers, the system) address the user:
# wrong values, files and configs (ConfigValidationError, RegistryError and errors of encoding are
# ValueErrors), the disk and the network, a missing package. All others, such as TypeError and
# KeyError, are mistakes in the code and need their traceback.
_OF_USERS = (ValueError, OSError, ImportError, InterpolationError)
_PLACE = re.compile(r"\S+:[0-9]+")


class CommandGroup(TyperGroup):
    """Commands that show their errors as messages alone, unless --traceback is given."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command. An error that addresses the user ends it with exit status 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # by `| head`, and not to be mentioned
            raise
        except _OF_USERS as error:
            if ctx.params["traceback"]:
                raise
            first, *others = _spell(error)
            typer.secho(f"{msg.icons['fail']} {first}", fg=typer.colors.RED)
            for line in others:
                typer.echo(line)
            raise typer.Exit(1) from error


def _spell(error: BaseException) -> list[str]:
    """The lines of a message, as they are: wrapped ones could not be searched for."""
    parts = [str(error).strip() or type(error).__name__, *getattr(error, "__notes__", [])]
    for cause in _causes(error):
        places = _PLACE.findall(str(cause))
        if isinstance(cause, OSError) and cause.filename is not None:
            places.append(str(cause.filename))
        if any(place not in "\n".join(parts) for place in places):
            parts.append(f"Cause: {cause}")
    # Names of files need not be text, and a terminal need not have all characters.
    encoding = sys.stdout.encoding or "utf8"
    return "\n".join(parts).encode(encoding, "backslashreplace").decode(encoding).splitlines()


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The errors behind an error, as tracebacks show them."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    while cause is not None:
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
