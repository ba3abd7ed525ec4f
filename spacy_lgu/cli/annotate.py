"""`python -m spacy lgu annotate`: a corpus through a pipeline, shard by shard."""

import time
from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from . import app
from .options import CodeOption, interruptible


@app.command("annotate")
def annotate_cli(
    pipeline: Annotated[str, typer.Argument(help="Name or folder of a trained pipeline")],
    inputs: Annotated[
        list[str],
        typer.Argument(help="Files, patterns in quotes, or folders with their subfolders"),
    ],
    output: Annotated[Path, typer.Argument(help="Folder to write")],
    also: Annotated[
        list[str] | None,
        typer.Option(help="NAME=PIPELINE: a further pipeline, and the field for what it finds"),
    ] = None,
    format_name: Annotated[
        str, typer.Option("--format", help="jsonl, jsonl.gz, jsonl.xz, jsonl.zst, parquet or spacy")
    ] = "jsonl",
    text_field: Annotated[str, typer.Option(help="Field or column with the text")] = "text",
    ents_field: Annotated[str, typer.Option(help="Field to write entities to")] = "ents",
    spans_field: Annotated[str, typer.Option(help="Field to write span groups to")] = "spans",
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace what records have in these fields")
    ] = False,
    shard_size: Annotated[int, typer.Option(help="Records of a file that is written")] = 1000,
    batch_tokens: Annotated[int, typer.Option(help="Most tokens of a batch")] = 8192,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes, each with the pipeline; else this one, with Ray all there is room for",
            min=0,
        ),
    ] = None,
    ray: Annotated[
        str | None, typer.Option(help="On a cluster of Ray: its address, or auto")
    ] = None,
    cpus_per_worker: Annotated[float, typer.Option(help="With Ray")] = 1,
    gpus_per_worker: Annotated[
        float, typer.Option(help="With Ray; 0.5: two workers share a GPU")
    ] = 0,
    code: CodeOption = None,
    gpu_id: Annotated[
        int, typer.Option("--gpu-id", "-g", help="GPU of the first worker, or -1 for the CPU")
    ] = -1,
    fail_on_error: Annotated[
        bool, typer.Option("--fail-on-error", help="Exit status 1 if a record failed")
    ] = False,
) -> None:
    """Annotate texts: entities, span groups and scores, beside what each record has.

    Reads .jsonl, .ndjson and .txt (a text per line; also .gz, .xz, .zst), .parquet and .spacy. If
    it is interrupted or killed, the same command goes on. Records that cannot be annotated are
    listed in OUTPUT/failed.log.
    """
    from ..annotation.running import Workers, annotate_corpus
    from ..annotation.settings import Settings

    if ray is not None and gpu_id >= 0:
        raise ValueError("--gpu-id is for this machine. With --ray, give --gpus-per-worker 1.")
    further = _read_also(also or [])
    began = time.monotonic()
    with interruptible("the shards that are not written"):
        summary = annotate_corpus(
            pipeline,
            inputs,
            output,
            settings=Settings(
                format=format_name,
                text_field=text_field,
                ents_field=ents_field,
                spans_field=spans_field,
                replace=replace,
                shard_size=shard_size,
                also=tuple(further),
            ),
            also=further,
            code=code,
            batch_tokens=batch_tokens,
            workers=Workers(workers, ray, cpus_per_worker, gpus_per_worker, gpu_id),
            say=_say,
        )
    n_new = summary.n_records - summary.n_before
    _say(
        f"{summary.n_records:,} records in {summary.n_shards:,} files below {output}: "
        f"{n_new:,} now, in {time.monotonic() - began:.0f} s",
        "good",
    )
    if summary.n_failed:
        _say(f"{summary.n_failed:,} records failed, see {output / 'failed.log'}", "warn")
        if fail_on_error:
            raise typer.Exit(1)


def _read_also(given: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in given:
        name, is_named, pipeline = value.partition("=")
        if not (name and is_named and pipeline):
            raise ValueError(f"Expected --also NAME=PIPELINE, but got {value!r}.")
        if name in found:
            raise ValueError(f"--also names {name!r} twice: expected a name for each pipeline.")
        found[name] = pipeline
    return found


def _say(text: str, kind: str = "info") -> None:
    typer.echo(f"{msg.icons[kind]} {text}")  # not by msg, which would wrap it
