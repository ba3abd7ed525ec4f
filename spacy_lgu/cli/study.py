"""The paper's study, and yours: corpora, patterns, systems and seeds, and a table of all results.

    python benchmarks/study.py convert --data benchmark_data
    python benchmarks/study.py run --task wnut17 --system decoder,cnn --seeds 5
    python benchmarks/study.py report

What is compared stands in benchmarks/study.yml. Finished runs are in the results, a line each, and
not repeated as long as nothing they depend on changes: an interrupted study goes on where it was.
The same command in several processes shares the runs out among them.
"""

import shutil
from pathlib import Path
from typing import Annotated

import typer
from filelock import FileLock, Timeout
from results import append_result, read_results
from study_plan import Study, parse_decoders, read_study
from study_report import write_report
from study_runs import (
    RunError,
    check_corpus,
    convert_task,
    describe_machine,
    execute,
    find_commit,
    find_conditions,
    find_decoder,
    find_settings,
    list_runs,
    make_overrides,
)

HERE = Path(__file__).parent
app = typer.Typer(pretty_exceptions_enable=False, help=__doc__)

StudyOption = Annotated[Path, typer.Option("--study", help="YAML")]
TaskOption = Annotated[str, typer.Option("--task", help="Names with commas, or all")]
SystemOption = Annotated[str, typer.Option("--system", help="Names with commas, or all")]
CorpusOption = Annotated[Path, typer.Option("--corpus", help="Folder of the converted corpora")]
ResultsOption = Annotated[Path, typer.Option("--results", help="JSON lines, a run each")]
LimitOption = Annotated[int, typer.Option("--limit", help="Texts of each part; 0: all")]

STUDY = HERE / "study.yml"
CORPUS = Path("corpus/benchmark")
RESULTS = Path("metrics/benchmark.jsonl")


@app.command()
def convert(
    study: StudyOption = STUDY,
    task: TaskOption = "all",
    data: Annotated[Path, typer.Option(help="Folder of the raw files")] = Path("benchmark_data"),
    corpus: CorpusOption = CORPUS,
) -> None:
    """Convert the corpora. Of all tasks, those whose files are missing are left out."""
    chosen = read_study(study).choose(tasks=task)
    converted, missing = 0, []
    for name, entry in chosen.tasks.items():
        typer.echo(f"{name}: {entry.title}")
        try:
            convert_task(entry, data, corpus / name)
        except FileNotFoundError as error:
            if task != "all":
                raise
            typer.echo(f"left out: {error}")
            missing.append(corpus / name)
            continue
        converted += 1
    if not converted:
        raise FileNotFoundError(f"No task has its files in the folder {str(data)!r}: see --data.")
    for folder in missing:
        # Or `run` would take what was converted from another folder before.
        if folder.exists():
            shutil.rmtree(folder)
            typer.echo(f"removed: {folder}, converted from other files")


@app.command()
def run(
    study: StudyOption = STUDY,
    task: TaskOption = "all",
    system: SystemOption = "all",
    pattern: Annotated[
        str, typer.Option(help="Patterns with commas, instead of those of the study")
    ] = "all",
    seeds: Annotated[int, typer.Option(help="Runs of each, with the seeds 0, 1 ...")] = 5,
    limit: LimitOption = 0,
    decoders: Annotated[
        str, typer.Option(help="NAME=FOLDER (or name on the hub),... instead of the study's")
    ] = "",
    corpus: CorpusOption = CORPUS,
    results: ResultsOption = RESULTS,
    work: Annotated[Path, typer.Option(help="Folder for logs and checkpoints")] = Path(
        "training/benchmark"
    ),
    keep: Annotated[bool, typer.Option("--keep", help="Keep the checkpoints")] = False,
    gpu_id: int = -1,
) -> None:
    """Train and evaluate what is not in the results yet, seed by seed."""
    if results.suffix == ".xz":
        raise ValueError(f"{results} is compressed, for reports only: unpack it to add to it.")
    chosen = read_study(study).choose(
        tasks=task, systems=system, patterns=pattern, decoders=parse_decoders(decoders)
    )
    chosen = _leave_out_unconverted(chosen, corpus, is_explicit=task != "all")
    for name, entry in chosen.systems.items():
        if entry.decoder is not None and chosen.decoders[entry.decoder] is None:
            typer.echo(f"{name}: left out, --decoders {entry.decoder}=FOLDER is not given")
    found_decoders = {name: find_decoder(s, chosen, work) for name, s in chosen.systems.items()}
    for name, entry in chosen.tasks.items():
        check_corpus(entry, corpus / name, limit)
    machine, commit = describe_machine(gpu_id), find_commit()
    failed = []
    for current in list_runs(chosen, seeds):
        found = found_decoders[current.system.name]
        place = corpus / current.task.name
        overrides = make_overrides(current, chosen, place, found, limit)
        settings = find_settings(current, chosen, place, overrides, found)
        key = {**current.key, "limit": limit, "settings": settings}
        # Of its own for other settings: what --keep left there is never deleted by another run.
        *parts, seed = str(current).split()
        folder = work.joinpath(*parts, f"{seed}-{settings}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder.with_name(f".{folder.name}.lock"), blocking=False):
                if any(key.items() <= done.items() for done in read_results(results)):
                    typer.echo(f"{current}: done before")
                    continue
                options = {"limit": limit, "gpu_id": gpu_id, "keep": keep}
                figures = execute(current, chosen, place, folder, overrides, found, **options)
                entry = {
                    **key,
                    "conditions": find_conditions(chosen, place, overrides, limit),
                    "steps": overrides.get("training.max_steps", overrides.get("steps")),
                    "batch": chosen.training.batch,
                    **figures,
                    "decoder": found and {**found.__dict__},
                    "commit": commit,
                    "machine": machine,
                }
                append_result(results, entry)
        except Timeout:
            typer.echo(f"{current}: left to the process that is at it")
            continue
        except RunError as error:
            failed.append(str(current))
            typer.echo(f"{current}: failed, {error}", err=True)
            continue
        typer.echo(
            f"{current}: F1 {entry['f1']:.2f}, {entry['train_minutes']:.1f} minutes, "
            f"{entry['tokens_per_second']:,.0f} tokens/s"
        )
    if failed:
        raise typer.Exit(1)


@app.command()
def report(
    study: StudyOption = STUDY,
    results: ResultsOption = RESULTS,
    limit: LimitOption = 0,
    output: Annotated[Path, typer.Option(help="Markdown file; pictures go beside it")] = Path(
        "docs/results.md"
    ),
) -> None:
    """Write tables and pictures of the runs with this limit; results may be .jsonl.xz, too."""
    write_report(read_study(study), read_results(results), output, limit=limit)


def _leave_out_unconverted(study: Study, corpus: Path, *, is_explicit: bool) -> Study:
    """The study without tasks that are not converted, unless they were asked for by name."""
    missing = [name for name in study.tasks if not (corpus / name / "test.spacy").is_file()]
    if missing and (is_explicit or len(missing) == len(study.tasks)):
        raise FileNotFoundError(
            f"Not converted yet: {', '.join(missing)}. Run `python benchmarks/study.py convert`."
        )
    for name in missing:
        typer.echo(f"{name}: left out, not converted")
    return study.choose(tasks=",".join(name for name in study.tasks if name not in missing))


if __name__ == "__main__":
    app()
