"""What do the strategies of `spacy lgu search` cost, and how good is what they find?

    python -m benchmarks.search_strategies configs/lgu_sequence_labeler.cfg /tmp/strategies \\
        --texts 500 --steps 400 --paths.train train.spacy --paths.dev dev.spacy

The truth is the mean of all candidates over two seeds. Each strategy searches with other seeds,
so that it does not know the noise in the truth. For each:

    cost         its training steps, as a share of all candidates with as many seeds
    correlation  Spearman's, of how it ranks the candidates that it has scored with the truth
    regret       points of F1 on dev by which the candidate that it picks is worse than the best

Trials are kept in OUT and shared among strategies: killed at any moment, the same command goes on.
A noisy truth makes its own best candidate look too good, and regrets too large: compare them with
the one of searching exhaustively with another seed, and of a candidate drawn at random.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import log
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import numpy
import typer
from spacy.cli._util import parse_config_overrides

from spacy_lgu.search.best import find_standings
from spacy_lgu.search.folder import check_identity, held, keep_result, make_outcome, read_trials
from spacy_lgu.search.progress import SearchDisplay
from spacy_lgu.search.running import Budget, run_search
from spacy_lgu.search.searching import Prepared, Request, prepare_search, search_locally
from spacy_lgu.search.space import Candidate
from spacy_lgu.search.strategies import STRATEGIES, make_strategy
from spacy_lgu.search.trials import Outcome, Strategy, Task, Trial, mean_scores
from spacy_lgu.search.workers import ResultT, Workers
from spacy_lgu.study.engine import Progress, RunError

# Seeds of the truth; those of the strategies follow.
TRUTH_SEEDS = (0, 1)
# Whatever a search does not use of a trial.
_DROPPED = ("texts", "gold", "predicted")


@dataclass(frozen=True)
class Found:
    """What a run of a strategy came to.

    steps (int): Training steps.
    estimates (dict[Candidate, float]): How it ranks what it has scored, by any measure.
    pick (Candidate): What it found best.
    """

    steps: int
    estimates: dict[Candidate, float]
    pick: Candidate


class PooledWorkers:
    """Workers that look up what has been tried before, and keep what is new.

    inner (Workers): Try it.
    folder (Path): Holds the pool.
    """

    def __init__(self, inner: Workers, folder: Path) -> None:
        self.inner, self.folder, self.size = inner, folder, inner.size
        self.pool = dict(read_trials(folder))
        self._known: list[Trial] = []

    def start(self, trial: Trial, report: Callable[[Progress], None]) -> None:
        """Begin a trial, unless it is known."""
        if trial in self.pool:
            self._known.append(trial)
        else:
            self.inner.start(trial, report)

    def wait(self, timeout: float) -> list[tuple[Trial, ResultT]]:
        """Those that are known, or have ended."""
        if self._known:
            known, self._known = self._known, []
            return [(trial, dict(self.pool[trial])) for trial in known]
        ended = self.inner.wait(timeout)
        for trial, result in ended:
            if not isinstance(result, RunError):
                figures = {name: v for name, v in result.items() if name not in _DROPPED}
                self.pool[trial] = keep_result(self.folder, trial, figures)
        return ended

    def close(self) -> None:
        """Nothing: the next strategy uses the same workers."""


def run_strategy(strategy: Strategy, workers: PooledWorkers) -> list[tuple[Trial, Any]]:
    """The trials of a strategy, in the order in which they ended."""
    with tempfile.TemporaryDirectory() as folder:
        ending = run_search(
            strategy,
            Path(folder),
            workers,
            budget=Budget(),
            display=SearchDisplay(),
            say=typer.echo,
        )
        if ending.failed:
            raise RunError("; ".join(ending.failed))
        return read_trials(Path(folder))


def judge(trials: Sequence[tuple[Trial, Any]], task: Task) -> Found:
    """What the trials of a strategy say.

    trials (Sequence[tuple[Trial, Any]]): With their lines.
    task (Task): What was searched.
    RETURNS (Found): Candidates are ranked by shared weights or gates, where there are any; else by
        score among those that were trained as long, longer trainings first.
    """
    outcomes = [make_outcome(trial, line) for trial, line in trials]
    steps = sum(trial.steps for trial, _ in trials)
    pick = find_standings(outcomes)[0].candidate
    for outcome in outcomes:
        if outcome.found:
            return Found(steps, dict(outcome.found), pick)
        if outcome.gates:
            return Found(steps, _weigh(outcome, task), pick)
    estimates: dict[Candidate, float] = {}
    for place, length in enumerate(sorted({trial.steps for trial, _ in trials})):
        estimates |= {c: place + score for c, score in mean_scores(outcomes, length).items()}
    return Found(steps, estimates, pick)


def correlate(estimates: Mapping[Candidate, float], truth: Mapping[Candidate, float]) -> float:
    """Spearman's rank correlation; nan for fewer than three candidates, or none that differ."""
    both = [candidate for candidate in estimates if candidate in truth]
    if len(both) < 3:
        return float("nan")
    ranks = [_rank([scores[candidate] for candidate in both]) for scores in (estimates, truth)]
    if min(of.std() for of in ranks) == 0:
        return float("nan")
    return float(numpy.corrcoef(ranks)[0, 1])


def _weigh(outcome: Outcome, task: Task) -> dict[Candidate, float]:
    """Log-probabilities of the patterns, if a gate is the probability that its group is open."""
    gates = [min(max(gate, 1e-6), 1 - 1e-6) for gate in outcome.gates]
    return {
        candidate: sum(
            log(gate if letter == "b" else 1 - gate)
            for letter, gate in zip(candidate.pattern, gates, strict=True)
        )
        for candidate in task.space
    }


def _rank(values: Sequence[float]) -> numpy.ndarray:
    """Ranks, equal values sharing the mean of theirs."""
    found = numpy.array(values)
    below = (found[None] < found[:, None]).sum(axis=1)
    equal = (found[None] == found[:, None]).sum(axis=1)
    return below + (equal - 1) / 2


def print_table(
    truth: Mapping[Candidate, float], runs: Mapping[str, Sequence[Found]], task: Task
) -> None:
    """A row per strategy, means over its runs."""
    best = max(truth, key=truth.__getitem__)
    worst = min(truth.values())
    spread = f"{100 * worst:.2f} to {100 * truth[best]:.2f}"
    print(f"\n{len(truth)} candidates, {task.steps} steps; F1 on dev from {spread}, best {best}\n")
    print("| strategy | cost | correlation | regret | picks |")
    print("|---|---:|---:|---:|---|")
    for name, found in runs.items():
        cost = fmean(of.steps for of in found) / task.exhaustive_steps
        regret = fmean(100 * (truth[best] - truth[of.pick]) for of in found)
        correlation = fmean(correlate(of.estimates, truth) for of in found)
        picks = ", ".join(dict.fromkeys(str(of.pick) for of in found))
        print(f"| {name} | {cost:.0%} | {correlation:.2f} | {regret:.2f} | {picks} |")
    drawn = 100 * (truth[best] - fmean(truth.values()))
    print(f"| drawn at random |  |  | {drawn:.2f} |  |")
    space = task.space
    for pattern in (space.causal, space.open):
        fixed = Candidate(pattern, space.depths[0], space.repeats[0])
        if fixed in truth:
            print(f"| always {fixed} |  |  | {100 * (truth[best] - truth[fixed]):.2f} |  |")


def make_variant(name: str, task: Task) -> Strategy:
    """A strategy, perhaps with an option of its own.

    name (str): As "oneshot" or "oneshot:top=1".
    task (Task): What is searched.
    RETURNS (Strategy): Raises ValueError as make_strategy does.
    """
    name, _, option = name.partition(":")
    key, _, value = option.partition("=")
    return make_strategy(name, task, **({key: int(value)} if key else {}))


def compare(
    prepared: Prepared, folder: Path, inner: Workers, *, names: Sequence[str], runs: int
) -> None:
    """Find the truth, run the strategies and print the table.

    prepared (Prepared): The exhaustive search.
    folder (Path): Holds the pool.
    inner (Workers): Try what is not known yet. They are closed at the end.
    names (Sequence[str]): Of strategies, as make_variant reads them.
    runs (int): Of each strategy.
    """
    task = prepared.search.task
    try:
        workers = PooledWorkers(inner, folder)
        trials = run_strategy(prepared.strategy, workers)
        truth = mean_scores((make_outcome(*trial) for trial in trials), task.steps)
        found: dict[str, list[Found]] = {}
        for run in range(runs):
            own = replace(task, seeds=(len(TRUTH_SEEDS) + run,))
            for name in names:
                strategy = make_variant(name, own)
                found.setdefault(name, []).append(judge(run_strategy(strategy, workers), own))
        print_table(truth, found, replace(task, seeds=(0,)))
    finally:
        inner.close()


def main(
    ctx: typer.Context,
    config: Annotated[Path, typer.Argument(help="Training config; overrides may follow")],
    output: Annotated[Path, typer.Argument(help="Folder for the trials")],
    texts: Annotated[int, typer.Option(help="Training texts; 0: all")] = 500,
    steps: Annotated[int, typer.Option(help="Of a full training")] = 400,
    evaluations: Annotated[int, typer.Option(help="On dev, in each training")] = 5,
    groups: Annotated[int, typer.Option(help="Layer groups")] = 4,
    strategies: Annotated[
        str, typer.Option(help="Names with commas, oneshot:top=1 for one with an option")
    ] = ",".join([*STRATEGIES, "oneshot:top=1", "gates:top=1"]),
    runs: Annotated[int, typer.Option(help="Of each strategy, with seeds of their own")] = 1,
    workers: Annotated[int, typer.Option(help="Trials at the same time")] = 1,
    gpu_id: Annotated[int, typer.Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
) -> None:
    """Compare the strategies of a search on a corpus."""
    overrides = {
        "corpora.train.limit": texts,
        "training.max_steps": steps,
        "training.eval_frequency": max(1, steps // evaluations),
        "training.patience": 0,
        "training.optimizer.learn_rate.total_steps": steps,
        "training.optimizer.learn_rate.warmup_steps": steps // 10,
        **parse_config_overrides(ctx.args),
    }
    request = Request(config, overrides, "exhaustive", seeds=len(TRUTH_SEEDS), groups=groups)
    prepared = prepare_search(request)
    with held(output):
        check_identity(output, prepared.identity)
        inner = search_locally(prepared.search, output, size=workers, gpu_ids=(gpu_id,), keep=False)
        compare(prepared, output, inner, names=strategies.split(","), runs=runs)


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(main)
    app()
