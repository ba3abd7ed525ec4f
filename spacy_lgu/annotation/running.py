"""A run: what there is to do, what is done already, and who does the rest."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from ..cores import share_threads
from ..inputs import named_path
from ..replacing import explaining_full_disk
from .finding import InputFile, find_inputs
from .folder import (
    GO_ON,
    check_manifest,
    gather_failures,
    has_shards,
    held,
    read_failures,
    read_manifest,
    write_manifest,
)
from .manifest import describe_pipeline, make_manifest, scan_inputs
from .parquet import check_pyarrow, check_schema, say_clash
from .processes import Processes
from .progress import Progress
from .records import BadRecord, Record
from .scheduling import Engine, run_shards
from .settings import Settings, clashes
from .shards import Scanned, Shard, list_shards, name_shard, open_reader
from .working import Job, Worker
from .writers import check_format

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
    n_failed (int): Those in failed.log, of earlier runs too.
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
    also: Mapping[str, str] | None = None,
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
    also (Mapping[str, str] | None): Further pipelines, by the names in the settings.
    code (Path | None): Python file that the pipelines need.
    batch_tokens (int): Most tokens of a batch.
    workers (Workers | None): Who does it. None: this process.
    say (Callable): Called with what is worth knowing.
    RETURNS (Summary): Raises ValueError or OSError for what cannot be read, and before anything is
        annotated where that can be known; RuntimeError if a worker fails.
    """
    workers, also = workers or Workers(), also or {}
    if tuple(also) != settings.also:
        raise ValueError(f"The settings name {settings.also} as further pipelines, not {[*also]}.")
    if pipeline in also:
        raise ValueError(f"Expected another name than that of the first pipeline: {pipeline!r}.")
    check_gpus(workers)
    check_format(settings)
    if batch_tokens < 1:
        raise ValueError(f"Expected at least 1 token in a batch, but got {batch_tokens}.")
    if workers.ray is not None:
        from ..cluster import check_ray

        check_ray(workers.cpus, workers.gpus, each="worker")
    output = named_path(output).absolute()
    files, others = find_inputs(inputs, output)
    if others:
        say(f"{len(others)} files of no known format left out, such as {others[0]}")
    for file in files:
        _check_columns(file, settings)
    described = describe_pipeline(pipeline, code)
    described_also = {name: describe_pipeline(path, None) for name, path in also.items()}
    with explaining_full_disk(output, GO_ON), held(output):
        # What was begun binds as soon as there is a shard: until then, mistakes may be corrected.
        before = read_manifest(output) if has_shards(output) else None
        scanned = scan_inputs(files, settings, before, say)
        manifest = make_manifest(described, described_also, scanned, settings)
        if before is not None:
            check_manifest(output, before, manifest)
        else:
            for found in scanned:
                _check_sample(found, settings)
            if n_with_data := sum(found.n_with_data for found in scanned):
                say(f"User data of {n_with_data:,} Docs is left out")
            write_manifest(output, manifest)
        job = Job(pipeline, also, code, settings, batch_tokens, scanned, output)
        shards = list_shards(scanned, settings)
        names = [name_shard(scanned[shard.file], shard, settings) for shard in shards]
        is_done = [(output / name).exists() for name in names]
        left = [shard for shard, done in zip(shards, is_done, strict=True) if not done]
        n_records = sum(found.n_records for found in scanned)
        n_before = n_records - sum(shard.n_records for shard in left)
        finished = [name for name, done in zip(names, is_done, strict=True) if done]
        n_failed = sum(read_failures(output, name).count(b"\n") for name in finished)
        try:
            with Progress(n_records, n_before, n_failed) as progress:
                put_aside = _run(job, left, workers, progress.tell)
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
        with closing(Worker(job, gpu_id=workers.gpu_id)) as worker:
            for shard in shards:
                tell(0, worker.run(shard, _without_failures(tell)))
        return []
    engine: Engine
    with ExitStack() as stack:
        if workers.ray is not None:
            from .ray_engine import RayActors

            actors = RayActors(job, address=workers.ray, cpus=workers.cpus, gpus=workers.gpus)
            engine, size = actors, workers.size or actors.places
        else:
            size = workers.size or 1
            engine = Processes(job, threads=share_threads(size), gpu_id=workers.gpu_id)
        stack.enter_context(closing(engine))
        return run_shards(shards, engine, size=size, tell=tell)


def check_gpus(workers: Workers) -> None:
    """Check that there is a GPU for each worker of this machine, before anything is read.

    workers (Workers): Who does it. Raises ValueError that says which GPUs are missing.
    """
    if workers.ray is not None or workers.gpu_id < 0:
        return
    import torch

    n_gpus, size = torch.cuda.device_count(), workers.size or 1
    wanted = range(workers.gpu_id, workers.gpu_id + size)
    if wanted[-1] < n_gpus:
        return
    there = {0: "no GPU that torch can use", 1: "one, number 0"}.get(
        n_gpus, f"{n_gpus}, numbers 0 to {n_gpus - 1}"
    )
    if size == 1:
        raise ValueError(
            f"--gpu-id {workers.gpu_id}: this machine has {there}. Name another one, or -1 for the "
            "CPU."
        )
    raise ValueError(
        f"--gpu-id {workers.gpu_id} --workers {size} takes the GPUs {wanted[0]} to {wanted[-1]}, "
        f"one for each worker, but this machine has {there}. Give fewer workers: one keeps its GPU "
        "busy. To have several share one, give --ray auto --gpus-per-worker 0.5 instead."
    )


def _without_failures(tell: Callable[[int, int], None]) -> Callable[[int], None]:
    return lambda n_records: tell(n_records, 0)


def _check_columns(file: InputFile, settings: Settings) -> None:
    if file.kind == "parquet":
        check_pyarrow()
        check_schema(file.path, settings)


def _check_sample(scanned: Scanned, settings: Settings) -> None:
    """Refuse what would make each record a bad one, by the first of a file."""
    if not scanned.starts:
        return
    path = scanned.file.path
    reader = open_reader(scanned.file, settings)
    n_first = min(_SAMPLE, settings.shard_size, scanned.n_records)
    first = list(reader.read(scanned.starts[0], n_first))
    reader.close()
    bad = [record for record in first if isinstance(record, BadRecord)]
    for clash in (record for record in bad if record.is_clash):
        raise ValueError(f"{path}:{clash.line}: {clash.reason}.")
    for record in first:
        fields = [*record.fields] if isinstance(record, Record) and record.raw is not None else []
        for name in clashes(fields, settings):
            raise ValueError(say_clash(f"{path}:{record.line}", name, "field"))
    if len(bad) == len(first):
        raise ValueError(
            f"{path}: none of the first {len(first)} records can be annotated. Line "
            f"{bad[0].line}: {bad[0].reason}. Name the field of the texts with --text-field."
        )
