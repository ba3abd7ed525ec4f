"""`python -m spacy lgu serve`: trained pipelines behind HTTP."""

import os
from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from . import app
from .options import CodeOption, GpuOption

TOKEN_VARIABLE = "SPACY_LGU_SERVE_TOKEN"
_EXTRA = ("fastapi", "prometheus_client", "starlette", "uvicorn")


@app.command("serve")
def serve_cli(
    pipelines: Annotated[
        list[str] | None,
        typer.Argument(help="NAME=PATH, or folders or names of installed packages"),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="Serve each pipeline in this folder, too; SIGHUP reads it again"),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port, or 0 for a free one", min=0, max=65535)] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(help=f"File with the token that clients must send; else ${TOKEN_VARIABLE}"),
    ] = None,
    max_batch_subtokens: Annotated[
        int, typer.Option(help="Most subtokens of a batch; a longer text is one by itself")
    ] = 4096,
    max_batch_texts: Annotated[
        int, typer.Option(help="Most texts of a batch; 1: each text by itself")
    ] = 128,
    max_wait: Annotated[
        float, typer.Option(help="Seconds that a batch which is not full waits for more")
    ] = 0.0,
    max_queue: Annotated[int, typer.Option(help="Most requests that wait")] = 256,
    max_body: Annotated[int, typer.Option(help="Most bytes of a request")] = 2**20,
    max_texts: Annotated[int, typer.Option(help="Most texts of a request")] = 1000,
    max_characters: Annotated[
        int, typer.Option(help="Most characters of a request, in all its texts")
    ] = 100_000,
    timeout: Annotated[
        float, typer.Option(help="Seconds for a request to arrive, and to be answered")
    ] = 60.0,
    code: CodeOption = None,
    gpu_id: GpuOption = -1,
) -> None:
    """Serve trained pipelines: JSON over HTTP, a page to try them, metrics.

    Texts of requests that wait at the same time, for one pipeline or for several on one base, go
    through the decoder in one pass. SIGTERM and SIGINT end the service when all that it has taken
    is answered, a second one at once.
    """
    from spacy.cli._util import import_code, setup_gpu

    try:
        from ..serving.naming import parse_pipelines
        from ..serving.running import Place, serve
        from ..serving.settings import Limits, check_token
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] not in _EXTRA:
            raise
        raise ImportError(f"Serving needs {error.name}: pip install 'spacy-lgu[serve]'.") from error

    limits = Limits(
        max_batch_subtokens=max_batch_subtokens,
        max_batch_texts=max_batch_texts,
        max_wait=max_wait,
        max_queue=max_queue,
        max_body=max_body,
        max_texts=max_texts,
        max_characters=max_characters,
        timeout=timeout,
    )
    token = os.environ.get(TOKEN_VARIABLE)
    if token is not None and token_file is not None:
        raise ValueError(f"Expected a token in --token-file or in ${TOKEN_VARIABLE}, not in both.")
    if token_file is not None:
        token = check_token(token_file.read_text("utf8"), repr(str(token_file)))
    elif token is not None:
        token = check_token(token, f"${TOKEN_VARIABLE}")
    named = parse_pipelines(pipelines or [])
    import_code(code)
    setup_gpu(gpu_id, silent=True)
    serve(named, folder, Place(host=host, port=port, token=token), limits, _say)


def _say(text: str, kind: str) -> None:
    typer.echo(f"{msg.icons[kind]} {text}")  # not by msg, which would wrap it
