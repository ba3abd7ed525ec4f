"""The search behind the command: from options to the best config and a report."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..cores import share_threads
from ..replacing import explaining_full_disk
from ..study.engine import Processes, Progress
from .best import find_best, write_best
from .checking import check_gates, check_search, find_space, read_config
from .folder import check_identity, held, make_outcome, prepare_folder, read_trials
from .jobs import Search, execute_trial, find_identity
from .page import write_page
from .progress import SearchDisplay
from .running import Budget, Ending, run_search
from .strategies import make_strategy
from .trial_config import count_steps, find_spans_key
from .trials import Strategy, Task, Trial
from .workers import LocalWorkers, Workers


@dataclass(frozen=True)
class Request:
    """What a user asks for, as the command's options say.

    config (Path): Training config.
    overrides (dict[str, Any]): Values by dotted name.
    strategy (str): Name of the strategy.
    options (dict[str, Any]): Of the strategy; None: its defaults.
    compare (bool): Train all-causal and all-open in full as well.
    seeds (int): Of each full training: 0, 1 ...
    component (str | None): Pipe with the decoder. None: the only one.
    groups, patterns, depths, repeats: As in make_space.
    code (Path | None): Python file to import.
    """

    config: Path
    overrides: dict[str, Any]
    strategy: str = "oneshot"
    options: dict[str, Any] = field(default_factory=dict)
    compare: bool = False
    seeds: int = 1
    component: str | None = None
    groups: int | None = None
    patterns: list[str] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    repeats: list[int] = field(default_factory=list)
    code: Path | None = None


@dataclass(frozen=True)
class Prepared:
    """A search that can begin: checked, with its strategy and what tells it from others."""

    name: str
    search: Search
    strategy: Strategy
    identity: dict[str, Any]


def prepare_search(request: Request) -> Prepared:
    """Check what is asked for.

    request (Request): It.
    RETURNS (Prepared): The search. Raises ValueError, OSError or ImportError for what is wrong.
    """
    config = read_config(request.config, request.overrides)
    section, space = find_space(
        config,
        request.component,
        groups=request.groups,
        patterns=request.patterns,
        depths=request.depths,
        repeats=request.repeats,
    )
    task = Task(space, tuple(range(request.seeds)), count_steps(config))
    strategy = make_strategy(request.strategy, task, compare=request.compare, **request.options)
    weights = check_search(config, section, space)
    if request.strategy == "gates":
        check_gates(config, section)
    code = None if request.code is None else str(request.code.resolve())
    search = Search(config, section, task, find_spans_key(weights), code)
    options = {name: value for name, value in request.options.items() if value is not None}
    identity = find_identity(search, request.strategy, {**options, "compare": request.compare})
    return Prepared(request.config.name, search, strategy, identity)


def search_locally(
    search: Search, folder: Path, *, size: int, gpu_ids: tuple[int, ...], keep: bool
) -> Workers:
    """Workers that are processes of this machine."""
    threads = share_threads(size)

    def run(
        trial: Trial, gpu_id: int, processes: Processes, report: Callable[[Progress], None]
    ) -> dict[str, Any]:
        return execute_trial(
            search,
            trial,
            folder / "trials" / trial.name,
            gpu_id=gpu_id,
            threads=threads,
            keep=keep,
            processes=processes,
            report=report,
        )

    return LocalWorkers(run, size=size, gpu_ids=gpu_ids)


def conduct_search(
    prepared: Prepared,
    folder: Path,
    make_workers: Callable[[Search, Path], Workers],
    *,
    budget: Budget,
    display: SearchDisplay,
    say: Callable[[str], None],
) -> Ending:
    """Search, and write the best so far and a report after each trial.

    prepared (Prepared): The search.
    folder (Path): Its folder.
    make_workers (Callable): Search and folder -> who executes trials.
    budget (Budget): What it may cost.
    display (SearchDisplay): Shows how far it is.
    say (Callable): Called with what came of each trial.
    RETURNS (Ending): How it ended. Raises as the parts do.
    """
    advice = "give the same command again: finished trials are kept"
    with explaining_full_disk(folder, advice), held(folder):
        check_identity(folder, prepared.identity)
        prepare_folder(folder)
        is_complete = False

        def tell(text: str) -> None:
            write_findings(prepared, folder, is_complete=False)
            say(text)

        try:
            ending = run_search(
                prepared.strategy,
                folder,
                make_workers(prepared.search, folder),
                budget=budget,
                display=display,
                say=tell,
            )
            is_complete = ending.is_complete and not ending.failed
        finally:
            write_findings(prepared, folder, is_complete=is_complete)
    return ending


def write_findings(prepared: Prepared, folder: Path, *, is_complete: bool) -> None:
    """Write best.cfg, if anything is known of a candidate, and report.html, if one was trained.

    prepared (Prepared): The search.
    folder (Path): Its folder.
    is_complete (bool): Whether nothing is left to try.
    """
    search = prepared.search
    lines = read_trials(folder)
    outcomes = [make_outcome(trial, line) for trial, line in lines]
    if best := find_best(outcomes, prepared.strategy):
        file = folder / "best.cfg"
        write_best(file, search.config, search.section, best, is_final=is_complete)
    if any(outcome.trial.kind == "train" for outcome in outcomes):
        title = f"{prepared.name}, {prepared.identity['search']['strategy']}"
        write_page(folder / "report.html", lines, search.task, title=title, is_final=is_complete)
