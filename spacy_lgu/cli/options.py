"""Options that several commands have, and what those that run for hours have in common."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

CodeOption = Annotated[Path | None, typer.Option("--code", "-c", help="Python file to import")]
GpuOption = Annotated[int, typer.Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")]
ForceOption = Annotated[bool, typer.Option("--force", "-f", help="Replace an earlier one")]


@contextmanager
def interruptible(rest: str) -> Iterator[None]:
    """End a command at Ctrl-C or SIGTERM with exit status 130, and the processes that it began.

    rest (str): With what the same command goes on.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"Interrupted. The same command goes on with {rest}.")
        raise typer.Exit(130) from None
