"""A run: what there is to do, what is done already, and who does the rest."""

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from ..inputs import named_path
from .finding import InputFile, find_inputs
from .folder import check_manifest, gather_failures, held, read_failures, read_manifest
from .folder import write_manifest as write_manifest_of
from .manifest import describe_pipeline, make_manifest, scan_inputs
from .parquet import check_pyarrow, check_schema, say_clash
from .processes import Processes
from .records import Record
from .scheduling import Engine, run_shards
from .shards import Scanned, Shard, list_shards, name_shard, open_reader
from .working import Job, Worker, count_threads
from .writers import Settings, check_format, clashes

# Records of each file that are looked at before anything is annotated.
_SAMPLE = 100


@dataclass(frozen=True)
class Workers:
    """Who does it.

    size (int | None): Processes or actors. None or 0: this process, or all that Ray has room for.
    ray (str | None): Address of a cluster of Ray, or "auto".
    cpus, gpus (float): Of each actor.
    gpu_id (int): GPU of the first worker, that of the next one the next; -1: none.
    """

    size: int | None = None
    ray: str | None = None
    cpus: float = 1
    gpus: float = 0
    gpu_id: int = -1


@dataclass(frozen=True)
class Summary:
    """What came of a run.

    n_records (int): Records of the inputs.
    n_before (int): Those that an earlier run was done with.
    n_failed (int): Those in failed.jsonl, of earlier runs too.
    n_shards (int): Files written, by earlier runs too.
    """

    n_records: int
    n_before: int
    n_failed: int
    n_shards: int


def annotate_corpus(
    pipeline: str,
    inputs: Sequence[str],
    output: Path,
    *,
    settings: Settings,
    code: Path | None = None,
    batch_tokens: int = 8192,
    workers: Workers | None = None,
    say: Callable[[str], None],
) -> Summary:
    """Annotate files, and go on where an earlier run stopped.

    pipeline (str): Folder or name of a pipeline.
    inputs (Sequence[str]): Files, patterns and folders.
    output (Path): Folder for the shards.
    settings (Settings): What is written.
    code (Path | None): Python file that the pipeline needs.
    batch_tokens (int): Most tokens of a batch.
    workers (Workers | None): Who does it. None: this process.
    say (Callable): Called with what is worth knowing.
    RETURNS (Summary): Raises ValueError or OSError for what cannot be read, and before anything is
        annotated where that can be known; RuntimeError if a worker fails.
    """
    workers = workers or Workers()
    check_format(settings)
    if batch_tokens < 1:
        raise ValueError(f"Expected at least 1 token in a batch, but got {batch_tokens}.")
    if workers.ray is not None:
        from .ray_engine import check_ray

        check_ray(workers.cpus, workers.gpus)
    output = named_path(output).absolute()
    files, others = find_inputs(inputs, output)
    if others:
        say(f"{len(others)} files of no known format left out, such as {others[0]}")
    for file in files:
        _check_columns(file, settings)
    described = describe_pipeline(pipeline, code)
    with held(output):
        before = read_manifest(output)
        scanned = scan_inputs(files, settings, before, lambda file: say(f"Reading {file.path}"))
        manifest = make_manifest(described, scanned, settings)
        if before is not None:
            check_manifest(output, before, manifest)
        else:
            for found in scanned:
                _check_sample(found, settings, say)
            write_manifest_of(output, manifest)
        job = Job(pipeline, code, settings, batch_tokens, scanned, output)
        shards = list_shards(scanned, settings)
        names = [name_shard(scanned[shard.file], shard, settings) for shard in shards]
        is_done = [(output / name).exists() for name in names]
        left = [shard for shard, done in zip(shards, is_done, strict=True) if not done]
        n_records = sum(found.n_records for found in scanned)
        n_before = n_records - sum(shard.n_records for shard in left)
        finished = [name for name, done in zip(names, is_done, strict=True) if done]
        n_failed = sum(read_failures(output, name).count(b"\n") for name in finished)
        try:
            with _Bar(n_records, n_before, n_failed) as bar:
                put_aside = _run(job, left, workers, bar.tell)
        finally:
            written = [name for name in names if (output / name).exists()]
            n_failed = gather_failures(output, written)
    if put_aside:
        lost = [f"{name_shard(scanned[s.file], s, settings)} ({why})" for s, why in put_aside]
        raise RuntimeError(
            f"{len(lost)} shards are not written, since several workers died over each: "
            f"{', '.join(lost[:10])}. A document may need more memory than there is. The same "
            "command tries them again."
        )
    return Summary(n_records, n_before, n_failed, len(names))


def _run(
    job: Job, shards: list[Shard], workers: Workers, tell: Callable[[int, int], None]
) -> list[tuple[Shard, str]]:
    if not shards:
        return []
    if not workers.size and workers.ray is None:
        worker = Worker(job, gpu_id=workers.gpu_id)
        for shard in shards:
            tell(0, worker.run(shard, lambda n_records: tell(n_records, 0)))
        return []
    engine: Engine
    with ExitStack() as stack:
        if workers.ray is not None:
            from .ray_engine import RayActors

            actors = RayActors(job, address=workers.ray, cpus=workers.cpus, gpus=workers.gpus)
            engine, size = actors, workers.size or actors.places
        else:
            size = workers.size or 1
            engine = Processes(job, threads=count_threads(size), gpu_id=workers.gpu_id)
        stack.enter_context(closing(engine))
        return run_shards(shards, engine, size=size, tell=tell)


def _check_columns(file: InputFile, settings: Settings) -> None:
    if file.kind == "parquet":
        check_pyarrow()
        is_json = settings.format != "parquet"
        check_schema(file.path, settings.text_field, settings.new_fields, is_json=is_json)


def _check_sample(scanned: Scanned, settings: Settings, say: Callable[[str], None]) -> None:
    """Refuse what would make each record a bad one, by the first of a file."""
    if scanned.n_with_data:
        say(f"User data of {scanned.n_with_data} Docs in {scanned.file.path} is left out")
    if not scanned.starts:
        say(f"There is no record in {scanned.file.path}")
        return
    reader = open_reader(scanned.file, settings)
    n_first = min(_SAMPLE, settings.shard_size, scanned.n_records)
    first = list(islice(reader.read(scanned.starts[0], n_first), n_first))
    reader.close()
    for record in first:
        if not isinstance(record, Record):
            continue
        if record.raw is not None and settings.format.startswith("jsonl"):
            for name in clashes([*record.fields], settings):
                raise ValueError(say_clash(f"{scanned.file.path}:{record.line}", name, "field"))
    if not any(isinstance(record, Record) for record in first):
        bad = first[0]
        reason = "" if isinstance(bad, Record) else bad.reason
        raise ValueError(
            f"{scanned.file.path}: none of the first {len(first)} records can be annotated. Line "
            f"{bad.line}: {reason}. Name the field of the texts with --text-field."
        )


class _Bar:
    """Documents, their rate and the time left, on a terminal; and how many failed."""

    def __init__(self, n_records: int, n_before: int, n_failed: int) -> None:
        self._bar = tqdm(
            total=n_records, initial=n_before, unit=" docs", file=sys.stderr, disable=None,
            smoothing=0.05,
        )  # fmt: skip
        self._n_failed = n_failed

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def tell(self, n_records: int, n_failed: int) -> None:
        """Show that records were worked on, and that some of them failed."""
        self._n_failed += n_failed
        if self._n_failed:
            self._bar.set_postfix_str(f"{self._n_failed:,} failed", refresh=False)
        self._bar.update(n_records)
