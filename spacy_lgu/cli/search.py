"""`python -m spacy lgu search`: which layer groups to open for a task."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from wasabi import msg

from . import app
from .options import CodeOption, interruptible

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..search.searching import Prepared
    from ..search.workers import Workers


@app.command("search", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def search_cli(
    ctx: typer.Context,
    config_path: Annotated[Path, typer.Argument(help="Training config; overrides may follow")],
    output: Annotated[Path, typer.Argument(help="Folder for outcomes, best.cfg and the report")],
    strategy: Annotated[
        str, typer.Option(help="exhaustive, halving, greedy, oneshot or gates")
    ] = "oneshot",
    groups: Annotated[
        int | None, typer.Option(help="Layer groups; else as many as the config's pattern has")
    ] = None,
    patterns: Annotated[str, typer.Option(help="Patterns with commas, instead of all")] = "",
    depths: Annotated[str, typer.Option(help="Numbers of layers to keep, with commas")] = "",
    repeats: Annotated[str, typer.Option(help="How many more times to read the input")] = "",
    seeds: Annotated[int, typer.Option(help="Seeds of each full training: 0, 1 ...", min=1)] = 1,
    compare: Annotated[
        bool, typer.Option("--compare", help="Train all-causal and all-open in full, too")
    ] = False,
    factor: Annotated[
        int | None, typer.Option(help="halving: 1/factor of the candidates go on")
    ] = None,
    shortest: Annotated[
        float | None, typer.Option(help="halving: least share of the full steps")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="greedy: groups in a row that need not help")
    ] = None,
    top: Annotated[
        int | None, typer.Option(help="oneshot, gates: candidates that are trained properly")
    ] = None,
    draw: Annotated[
        str | None, typer.Option(help="oneshot: even, or middle (about half of the groups open)")
    ] = None,
    most: Annotated[
        int | None, typer.Option(help="oneshot: candidates that are scored with shared weights")
    ] = None,
    learn_rate: Annotated[
        float | None, typer.Option(help="gates: learning rate of the gates")
    ] = None,
    max_trials: Annotated[int | None, typer.Option(help="Trainings, all in all")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Training steps, all in all")] = None,
    minutes: Annotated[float | None, typer.Option(help="Time from now on")] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Trials at the same time; else one per GPU, with Ray all there is room for", min=1
        ),
    ] = None,
    ray: Annotated[
        str | None, typer.Option(help="On a cluster of Ray: its address, or auto")
    ] = None,
    cpus_per_trial: Annotated[float | None, typer.Option(help="With Ray; else 1")] = None,
    gpus_per_trial: Annotated[
        float | None, typer.Option(help="With Ray; 0.5: two trials share a GPU; else none")
    ] = None,
    gpu_id: Annotated[
        str, typer.Option("--gpu-id", "-g", help="GPU, several with commas, or -1 for the CPU")
    ] = "-1",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check, and show the cost")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the checkpoints")] = False,
    component: Annotated[
        str | None, typer.Option(help="Pipe with the decoder, if there are several")
    ] = None,
    code: CodeOption = None,
) -> None:
    """Find which layer groups of a decoder to open for a task, and how many layers to keep.

    Each trial trains the config as `spacy train` does. If the search is interrupted or killed, the
    same command goes on; what is finished is not repeated.
    """
    from functools import partial

    from spacy.cli._util import import_code, parse_config_overrides

    from ..search.progress import SearchDisplay
    from ..search.running import Budget
    from ..search.searching import Request, conduct_search, prepare_search, search_locally
    from ..study.engine import RunError

    budget = Budget(max_trials, max_steps, minutes)
    import_code(code)
    request = Request(
        config_path,
        parse_config_overrides(ctx.args),
        strategy=strategy,
        options={
            "factor": factor,
            "shortest": shortest,
            "patience": patience,
            "top": top,
            "draw": draw,
            "most": most,
            "learn_rate": learn_rate,
        },
        compare=compare,
        seeds=seeds,
        component=component,
        groups=groups,
        patterns=_split(patterns),
        depths=_read_numbers(depths, "--depths"),
        repeats=_read_numbers(repeats, "--repeats"),
        code=code,
    )
    gpu_ids = tuple(_read_numbers(gpu_id, "--gpu-id")) or (-1,)
    cpus = 1.0 if cpus_per_trial is None else cpus_per_trial
    gpus = gpus_per_trial or 0.0
    if ray is not None:
        from ..cluster import check_ray
        from ..search.ray_workers import RayWorkers

        if gpu_ids != (-1,):
            raise ValueError("--gpu-id is for this machine. With --ray, give --gpus-per-trial 1.")
        check_ray(cpus, gpus, each="trial")
    elif cpus_per_trial is not None or gpus_per_trial is not None:
        raise ValueError(
            "--cpus-per-trial and --gpus-per-trial are for --ray. On this machine, give --workers "
            "and --gpu-id."
        )
    prepared = prepare_search(request)
    _print_plan(prepared)
    if dry_run:
        return
    make_workers: Callable[..., Workers]
    if ray is None:
        size = workers or len(gpu_ids)
        make_workers = partial(search_locally, size=size, gpu_ids=gpu_ids, keep=keep)
    else:
        make_workers = partial(
            RayWorkers,
            address=ray,
            size=workers,
            cpus=cpus,
            gpus=gpus,
            keep=keep,
        )
    try:
        with interruptible("the trials that were not finished"):
            ending = conduct_search(
                prepared,
                output,
                make_workers,
                budget=budget,
                display=SearchDisplay(),
                say=typer.echo,
            )
    except RunError as error:
        msg.fail("The search ended")
        typer.echo(f"{error}")
        raise typer.Exit(1) from None
    if not ending.is_complete:
        msg.info("The budget is spent. The same command with a larger one goes on.")
    if (output / "best.cfg").exists():
        written = [file for name in ("best.cfg", "report.html") if (file := output / name).exists()]
        msg.good(f"Wrote {' and '.join(map(str, written))}")
        typer.echo(f"python -m spacy train {output / 'best.cfg'} --output training")
    if ending.failed:
        trials = "1 trial" if len(ending.failed) == 1 else f"{len(ending.failed)} trials"
        msg.fail(f"{trials} failed", "See above; the same command tries again.")
        raise typer.Exit(1)


def _print_plan(prepared: "Prepared") -> None:
    from ..search.running import count_steps, spell_share

    task, stages = prepared.search.task, prepared.strategy.plan()
    rows = [
        (stage.title, stage.n_trials, f"{stage.steps:,}", f"{stage.n_trials * stage.steps:,}")
        for stage in stages
    ]
    header = ("stage", "trials", "steps of each", "steps")
    msg.table(rows, header=header, divider=True, aligns=("l", "r", "r", "r"))
    steps = count_steps(stages)
    # Not by msg, which would wrap the line.
    typer.echo(
        f"{steps:,} training steps for {task.space.n_candidates:,} candidates: "
        f"{spell_share(steps, task.exhaustive_steps)} of the {task.exhaustive_steps:,} of trying "
        "all of them in full"
    )


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _read_numbers(text: str, option: str) -> list[int]:
    numbers: list[Any] = _split(text)
    try:
        return [int(number) for number in numbers]
    except ValueError:
        raise ValueError(
            f"{option} expects whole numbers with commas between them, but got {text!r}."
        ) from None
