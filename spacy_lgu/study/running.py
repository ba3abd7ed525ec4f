"""A study, run by run. Finished runs are not repeated, nor those that another process is at."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from .display import Display
from .engine import ReportT, RunError, Scoring, run_script, train_and_score
from .estimates import sum_minutes
from .machine import describe_machine, find_commit
from .plan import Study
from .results import append_result, read_results
from .runs import Decoder, Job, find_conditions, list_runs, make_job, write_untrained

# Heads whose threshold is chosen on dev.
_WITH_THRESHOLD = ("spancat", "spancat_found")


def run_study(
    study: Study,
    decoders: dict[str, Decoder | None],
    *,
    seeds: int,
    limit: int,
    corpora: Path,
    results: Path,
    work: Path,
    keep: bool,
    gpu_id: int,
    display: Display,
    say: Callable[[str], None],
) -> list[str]:
    """Train and score what is not among the results yet, seed by seed.

    study (Study): The study.
    decoders (dict[str, Decoder | None]): Of its systems by name, from check_study.
    seeds (int): Runs of each, with the seeds 0, 1 ...
    limit (int): Texts of each part; 0: all.
    corpora (Path): Folder of the converted corpora.
    results (Path): JSON lines, added to.
    work (Path): Folder for logs and checkpoints.
    keep (bool): Keep the checkpoints.
    gpu_id (int): GPU, -1 for none.
    display (Display): Shows how far it is.
    say (Callable): Called with what came of each run.
    RETURNS (list[str]): The runs that failed.
    """
    machine, commit = describe_machine(gpu_id), find_commit()
    runs = list_runs(study, seeds)
    planned = [make_job(run, study, corpora, decoders[run.system.name], limit) for run in runs]
    failed = []
    for number, run in enumerate(runs, 1):
        # Again: what it depends on may have changed during the runs before.
        job = make_job(run, study, corpora, decoders[run.system.name], limit)
        # A folder for each settings: no other run may delete what is kept there.
        *parts, seed = str(run).split()
        folder = work.joinpath(*parts, f"{seed}-{job.settings}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder.with_name(f".{folder.name}.lock"), blocking=False):
                done = read_results(results)
                if job.find_done(done) is not None:
                    say(f"{run}: done before")
                    continue
                write_untrained(run.system, study, job.decoder)
                minutes_after = sum_minutes(planned[number:], done)
                title = f"run {number} of {len(runs)}, {run}"
                with display.showing(title, job.steps, minutes_after=minutes_after) as report:
                    figures = execute(job, study, folder, gpu_id=gpu_id, keep=keep, report=report)
                entry = {
                    **job.key,
                    "conditions": find_conditions(study, job.corpus, job.overrides, limit),
                    "steps": job.steps,
                    "batch": study.training.batch,
                    **figures,
                    "decoder": job.decoder and {**job.decoder.__dict__},
                    "commit": commit,
                    "machine": machine,
                }
                append_result(results, entry)
        except Timeout:
            say(f"{run}: left to the process that runs it")
            continue
        except RunError as error:
            failed.append(str(run))
            say(f"{run}: failed, {error}")
            continue
        say(
            f"{run}: F1 {entry['f1']:.2f}, {entry['train_minutes']:.1f} minutes, "
            f"{entry['tokens_per_second']:,.0f} tokens/s"
        )
    return failed


def execute(
    job: Job, study: Study, folder: Path, *, gpu_id: int, keep: bool, report: ReportT
) -> dict[str, Any]:
    """Train and score.

    job (Job): The run.
    study (Study): Says which checkpoint is scored.
    folder (Path): Folder for logs, scores and checkpoints; what is there is deleted.
    gpu_id (int): GPU, -1 for none.
    keep (bool): Keep the checkpoints.
    report (ReportT): Called with the progress.
    RETURNS (dict[str, Any]): The figures. Raises RunError naming the log if a process fails.
    """
    task, system = job.run.task, job.run.system
    parts = {part: job.corpus / f"{part}.spacy" for part in ("train", "dev", "test")}
    if system.encoder == "instruction" and job.decoder is not None:
        options = {**job.overrides, "seed": job.run.seed, "gpu-id": gpu_id}
        if task.spans_key is not None:
            options["spans-key"] = task.spans_key
        arguments = [job.decoder.name, str(parts["train"]), str(parts["test"])]
        return run_script(system.config, arguments, options, folder, report=report)
    scoring = Scoring(
        parts["test"],
        spans_key=task.spans_key,
        threshold_from=parts["dev"] if task.head in _WITH_THRESHOLD else None,
        limit=job.limit,
    )
    return train_and_score(
        system.config,
        job.overrides,
        scoring,
        folder,
        checkpoint=study.training.checkpoint,
        gpu_id=gpu_id,
        keep=keep,
        report=report,
    )
