"""`python -m spacy lgu study ...`: corpora, systems, patterns and seeds, and a table of results.

What is compared stands in a YAML file. Finished runs are in the results, a line each, and not
repeated as long as nothing they depend on changes: an interrupted study goes on where it was. The
same command in several processes shares the runs out among them.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from wasabi import msg

from . import app
from .options import GpuOption, interruptible

if TYPE_CHECKING:
    from ..study.plan import Study
    from ..study.runs import Job

commands = typer.Typer(
    name="study", help="Compare patterns and systems on corpora", no_args_is_help=True
)
app.add_typer(commands)

StudyArgument = Annotated[Path, typer.Argument(help="YAML file that says what is compared")]
TaskOption = Annotated[str, typer.Option("--task", help="Names with commas, or all")]
SystemOption = Annotated[str, typer.Option("--system", help="Names with commas, or all")]
PatternOption = Annotated[
    str, typer.Option("--pattern", help="Patterns with commas, instead of those of the study")
]
SeedsOption = Annotated[
    int, typer.Option("--seeds", help="Runs of each: the seeds 0, 1 ...", min=1)
]
DecodersOption = Annotated[
    str, typer.Option(help="NAME=FOLDER (or name on the hub),... instead of the study's")
]
CorpusOption = Annotated[Path, typer.Option("--corpus", help="Folder of the converted corpora")]
ResultsOption = Annotated[Path, typer.Option("--results", help="JSON lines, a run each")]
WorkOption = Annotated[Path, typer.Option("--work", help="Folder for logs and checkpoints")]
LimitOption = Annotated[int, typer.Option("--limit", help="Texts of each part; 0: all", min=0)]

STUDY = Path("benchmarks/study.yml")
CORPUS = Path("corpus/benchmark")
RESULTS = Path("metrics/benchmark.jsonl")
WORK = Path("training/benchmark")


@commands.command("convert")
def convert_study_cli(
    study: StudyArgument = STUDY,
    task: TaskOption = "all",
    data: Annotated[Path, typer.Option(help="Folder of the raw files")] = Path(),
    corpus: CorpusOption = CORPUS,
) -> None:
    """Convert the corpora. With --task all, tasks whose files are missing are left out."""
    from ..study.plan import read_study
    from ..study.tasks import convert_tasks

    chosen = read_study(study).choose(tasks=task)
    convert_tasks(chosen, data, corpus, is_explicit=task != "all", say=typer.echo)


@commands.command("plan")
def plan_study_cli(
    study: StudyArgument = STUDY,
    task: TaskOption = "all",
    system: SystemOption = "all",
    pattern: PatternOption = "all",
    seeds: SeedsOption = 5,
    limit: LimitOption = 0,
    decoders: DecodersOption = "",
    corpus: CorpusOption = CORPUS,
    results: ResultsOption = RESULTS,
    work: WorkOption = WORK,
) -> None:
    """Check everything and show what `run` would do, with the same options."""
    from ..study.results import read_results
    from ..study.runs import list_runs, make_job

    chosen = _choose(study, task, system, pattern, decoders, corpus)
    found = _check(chosen, corpus, work, limit)
    if find_spec("scipy") is None or find_spec("matplotlib") is None:
        msg.warn("The report will need more packages", "pip install 'spacy-lgu[study]'")
    jobs = [
        make_job(run, chosen, corpus, found[run.system.name], limit)
        for run in list_runs(chosen, seeds)
    ]
    _print_plan(jobs, read_results(results))


@commands.command("run")
def run_study_cli(
    study: StudyArgument = STUDY,
    task: TaskOption = "all",
    system: SystemOption = "all",
    pattern: PatternOption = "all",
    seeds: SeedsOption = 5,
    limit: LimitOption = 0,
    decoders: DecodersOption = "",
    corpus: CorpusOption = CORPUS,
    results: ResultsOption = RESULTS,
    work: WorkOption = WORK,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the checkpoints")] = False,
    gpu_id: GpuOption = -1,
) -> None:
    """Train and evaluate what is not in the results yet, seed by seed.

    If it is interrupted or killed, the same command goes on.
    """
    from ..study.display import Display
    from ..study.running import run_study

    if results.suffix == ".xz":
        raise ValueError(f"{results} is compressed, for reports only: unpack it to add runs.")
    chosen = _choose(study, task, system, pattern, decoders, corpus)
    found = _check(chosen, corpus, work, limit)
    with interruptible("the run that was not finished"):
        failed = run_study(
            chosen,
            found,
            seeds=seeds,
            limit=limit,
            corpora=corpus,
            results=results,
            work=work,
            keep=keep,
            gpu_id=gpu_id,
            display=Display(),
            say=typer.echo,
        )
    if failed:
        runs = "1 run" if len(failed) == 1 else f"{len(failed)} runs"
        msg.fail(f"{runs} failed", "See above; the others are among the results.")
        raise typer.Exit(1)


@commands.command("report")
def report_study_cli(
    study: StudyArgument = STUDY,
    results: ResultsOption = RESULTS,
    limit: LimitOption = 0,
    output: Annotated[Path, typer.Option(help="Markdown file; pictures go beside it")] = Path(
        "docs/results.md"
    ),
) -> None:
    """Write tables and pictures of the runs with this limit; results may also be .jsonl.xz."""
    from ..report.markdown import write_report
    from ..study.plan import read_study
    from ..study.results import read_results

    write_report(read_study(study), read_results(results), output, limit=limit, source=study)
    msg.good(f"Wrote {output}")


def _choose(
    path: Path, task: str, system: str, pattern: str, decoders: str, corpora: Path
) -> "Study":
    """The part of a study that is chosen and can be run; what is left out is printed."""
    from ..study.plan import parse_decoders, read_study
    from ..study.tasks import find_converted

    chosen = read_study(path).choose(
        tasks=task, systems=system, patterns=pattern, decoders=parse_decoders(decoders)
    )
    chosen, missing = find_converted(chosen, corpora, is_explicit=task != "all")
    for name in missing:
        typer.echo(f"{name}: left out, not converted")
    for name, entry in chosen.systems.items():
        if entry.decoder is not None and chosen.decoders[entry.decoder] is None:
            typer.echo(f"{name}: left out, --decoders {entry.decoder}=FOLDER is not given")
    return chosen


def _check(study: "Study", corpora: Path, work: Path, limit: int) -> dict[str, Any]:
    """The decoders of the systems. Ends the command if something is wrong."""
    from ..study.checking import check_study

    decoders, problems = check_study(study, corpora, work, limit)
    if problems:
        msg.fail("Nothing was run: this cannot work")
        for problem in problems:
            # Not by msg, which would wrap the lines.
            typer.echo(f"  {problem}")
        raise typer.Exit(1)
    return decoders


def _print_plan(jobs: list["Job"], results: list[dict[str, Any]]) -> None:
    from ..study.estimates import estimate_minutes, spell_minutes, sum_minutes

    rows: dict[tuple[str, str, str], list[Job]] = {}
    for job in jobs:
        run = job.run
        row = (run.task.name, run.system.name, run.pattern or "")
        rows.setdefault(row, []).append(job)
    table = []
    for row, of_row in rows.items():
        minutes = estimate_minutes(of_row[0], results)
        n_done = sum(job.find_done(results) is not None for job in of_row)
        spelled = "?" if minutes is None else spell_minutes(minutes)
        table.append((*row, f"{of_row[0].steps:,}", f"{n_done} of {len(of_row)}", spelled))
    header = ("task", "system", "pattern", "steps", "done", "a run")
    msg.table(table, header=header, divider=True, aligns=("l", "l", "l", "r", "r", "r"))
    left = [job for job in jobs if job.find_done(results) is None]
    minutes = sum_minutes(left, results)
    time = "not known, no run like them is finished" if minutes is None else spell_minutes(minutes)
    msg.info(f"{len(left)} of {len(jobs)} runs are left; their training: {time}")
