"""`python -m spacy lgu package`: an installable wheel under the pipeline's own name."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from ..pipeline.packaging import package_pipeline
from . import app
from .options import ForceOption


@app.command("package")
def package_cli(
    input_dir: Annotated[Path, typer.Argument(help="Folder of a saved pipeline")],
    output_dir: Annotated[Path, typer.Argument(help="Folder for the package and its wheel")],
    name: Annotated[str, typer.Option("--name", "-n", help="Import and distribution name")],
    version: Annotated[str | None, typer.Option("--version", "-v", help="Version")] = None,
    code: Annotated[
        str, typer.Option("--code", "-c", help="Python files to include and import, with commas")
    ] = "",
    build: Annotated[bool, typer.Option(help="Build the wheel as well")] = True,
    force: ForceOption = False,
) -> None:
    """Package a pipeline as `spacy package` does, but under exactly the name given.

    spaCy's own command puts the language before the name ("en_..."); after this one,
    spacy.load(NAME) finds the installed pipeline.
    """
    wheel = package_pipeline(
        input_dir,
        output_dir,
        name=name,
        version=version,
        code=[Path(file.strip()) for file in code.split(",") if file.strip()],
        build=build,
        force=force,
    )
    msg.good(f"Created {wheel}")
