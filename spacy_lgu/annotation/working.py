"""A worker: a pipeline, loaded once, and the shards that it is given."""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ..cores import bound_threads
from ..replacing import explaining_full_disk, replace_file
from .annotating import Annotator
from .folder import GO_ON, keep_failures
from .records import BadRecord
from .settings import Settings
from .shards import Reader, Scanned, Shard, name_shard, open_reader
from .writers import open_writer


@dataclass(frozen=True)
class Job:
    """What all workers of a run have in common.

    pipeline (str): Folder or name of the pipeline.
    also (Mapping[str, str]): Further ones, by the field for what each finds.
    code (Path | None): Python file that it needs.
    settings (Settings): What is written.
    batch_tokens (int): Most tokens of a batch.
    files (list[Scanned]): The inputs.
    output (Path): Folder for the shards.
    """

    pipeline: str
    also: Mapping[str, str]
    code: Path | None
    settings: Settings
    batch_tokens: int
    files: list[Scanned]
    output: Path


class Worker:
    """Annotates shards.

    job (Job): What for.
    gpu_id (int): GPU, -1 for none.
    threads (int): Most threads of torch; 0: one for each core that this process may use.
    """

    def __init__(self, job: Job, *, gpu_id: int = -1, threads: int = 0) -> None:
        from spacy.cli._util import import_code, setup_gpu

        from ..fleet import Fleet
        from ..pipeline.opening import open_pipeline
        from .together import Together

        bound_threads(threads)
        import_code(job.code)
        setup_gpu(gpu_id, silent=True)
        self._job = job
        together = None
        if job.also:
            fleet = Fleet.load({job.pipeline: job.pipeline, **job.also}, strict=False)
            nlp, together = fleet[job.pipeline], Together(fleet, job.pipeline)
        else:
            nlp = open_pipeline(job.pipeline)
        self._annotator = Annotator(
            nlp, job.settings, batch_tokens=job.batch_tokens, together=together
        )
        self._number = -1
        self._reader: Reader | None = None

    def run(self, shard: Shard, tell: Callable[[int], None]) -> int:
        """Annotate a shard and write it as a whole, after its dead letters.

        shard (Shard): The shard.
        tell (Callable): Called with the number of records of each batch.
        RETURNS (int): How many records failed.
        """
        job = self._job
        scanned = job.files[shard.file]
        name = name_shard(scanned, shard, job.settings)
        failures: list[BadRecord] = []
        scanned.check_unchanged()
        reader = self._open(shard.file)

        def write(path: Path) -> None:
            records = reader.read(scanned.starts[shard.number], shard.n_records)
            with closing(open_writer(path, job.settings, reader.schema)) as writer:
                failures.extend(self._annotator.annotate(records, writer, tell))
            keep_failures(job.output, name, scanned.file.name, failures)

        with explaining_full_disk(job.output, GO_ON):
            replace_file(job.output / name, write)
        return len(failures)

    def close(self) -> None:
        """Close the file that was read last."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _open(self, number: int) -> Reader:
        """The reader of a file. It is kept for the shards that follow."""
        if self._reader is None or self._number != number:
            self.close()
            self._reader = open_reader(self._job.files[number].file, self._job.settings)
            self._number = number
        return self._reader
