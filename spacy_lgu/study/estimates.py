"""How long runs will take, judging by those that are finished."""

from collections.abc import Iterable
from statistics import fmean
from typing import Any

from .runs import Job


def estimate_minutes(job: Job, results: Iterable[dict[str, Any]]) -> float | None:
    """Minutes of training, at the pace of the nearest finished runs.

    job (Job): What is to be run.
    results (Iterable[dict[str, Any]]): Finished runs.
    RETURNS (float | None): By runs of the same system and pattern on the same task; else of the
        same system on it; else of the same system on any; None if there are none.
    """
    run = job.run
    lines = [line for line in results if line["system"] == run.system.name and line["steps"]]
    of_task = [line for line in lines if line["task"] == run.task.name]
    of_pattern = [line for line in of_task if line["pattern"] == run.pattern]
    nearest = of_pattern or of_task or lines
    if not nearest:
        return None
    return job.steps * fmean(line["train_minutes"] / line["steps"] for line in nearest)


def sum_minutes(jobs: Iterable[Job], results: list[dict[str, Any]]) -> float | None:
    """Minutes of training that are left.

    jobs (Iterable[Job]): What is to be run; those among the results count nothing.
    results (list[dict[str, Any]]): Finished runs.
    RETURNS (float | None): None if it is not known of one of them.
    """
    minutes = [estimate_minutes(job, results) for job in jobs if job.find_done(results) is None]
    known = [of_job for of_job in minutes if of_job is not None]
    return sum(known) if len(known) == len(minutes) else None


def spell_minutes(minutes: float) -> str:
    """A duration as people say it: "40 s", "12 min", "3.5 h"."""
    if minutes < 1:
        return f"{60 * minutes:.0f} s"
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"
