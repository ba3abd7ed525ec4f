"""A search, trial by trial. What is finished is on the disk before the next trial begins."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..replacing import replace_file
from ..study.engine import RunError
from .folder import keep_result, make_outcome, read_trials
from .progress import SearchDisplay
from .trials import Outcome, Stage, Strategy, Trial
from .workers import Workers

# Seconds between looks at the clock.
_TICK = 1.0
# What of a trial's figures goes into a file of its own, beside its line.
_TEXTS = ("texts", "gold", "predicted")


@dataclass(frozen=True)
class Budget:
    """What a search may cost. No trial begins that would go beyond; what runs is finished.

    trials (int | None): Trials, earlier ones of the same search included.
    steps (int | None): Training steps, earlier ones included.
    minutes (float | None): Time from now on. How long a trial will take is known from earlier ones.
    """

    trials: int | None = None
    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        given = {"trials": self.trials, "steps": self.steps, "minutes": self.minutes}
        for name, value in given.items():
            if value is not None and value <= 0:
                raise ValueError(f"Expected a budget of more than 0 {name}, but got {value}.")

    def allows(
        self, trial: Trial, begun: Sequence[Trial], minutes: float, pace: float | None
    ) -> bool:
        """Whether a trial may begin.

        trial (Trial): The trial.
        begun (Sequence[Trial]): Those that are finished or running.
        minutes (float): Time that has passed.
        pace (float | None): Minutes of a training step; None: not known.
        """
        if self.trials is not None and len(begun) >= self.trials:
            return False
        spent = sum(other.steps for other in begun)
        if self.steps is not None and spent + trial.steps > self.steps:
            return False
        return self.minutes is None or minutes + trial.steps * (pace or 0.0) <= self.minutes


@dataclass(frozen=True)
class Ending:
    """How a search ended.

    failed (list[str]): Trials that failed, each with the reason.
    is_complete (bool): False: the budget was spent before.
    """

    failed: list[str]
    is_complete: bool


def run_search(
    strategy: Strategy,
    folder: Path,
    workers: Workers,
    *,
    budget: Budget,
    display: SearchDisplay,
    say: Callable[[str], None],
) -> Ending:
    """Execute what the strategy proposes, until it proposes nothing more or the budget is spent.

    strategy (Strategy): Proposes trials.
    folder (Path): The folder, held by this process.
    workers (Workers): Execute them. They are closed at the end.
    budget (Budget): What it may cost.
    display (SearchDisplay): Shows how far it is.
    say (Callable): Called with what came of each trial.
    RETURNS (Ending): How it ended. Raises RunError if the first trials fail, before any is done.
    """
    lines = read_trials(folder)
    outcomes = [make_outcome(trial, line) for trial, line in lines]
    earlier = [(trial.steps, line["seconds"]) for trial, line in lines]
    running: dict[Trial, float] = {}
    failed: dict[Trial, str] = {}
    started = time.monotonic()
    is_complete = True
    display.begin(strategy.plan(), outcomes, _find_pace(earlier))
    try:
        while True:
            is_complete = True
            for trial in strategy.propose(outcomes):
                if trial in running:
                    continue
                begun = [*(o.trial for o in outcomes if o.trial not in failed), *running]
                minutes = (time.monotonic() - started) / 60
                if not budget.allows(trial, begun, minutes, _find_pace(earlier)):
                    is_complete = False
                    break
                if len(running) == workers.size:
                    break
                running[trial] = time.monotonic()
                workers.start(trial, display.start(trial))
            if not running:
                break
            for trial, result in workers.wait(_TICK):
                seconds = time.monotonic() - running.pop(trial)
                display.finish(trial)
                if isinstance(result, RunError):
                    failed[trial] = str(result)
                    display.clear()
                    say(f"{trial}: failed, {result}")
                    outcomes.append(Outcome(trial, None))
                    continue
                line = keep_result(folder, trial, _keep_texts(folder, trial, result))
                outcomes.append(make_outcome(trial, line))
                earlier.append((trial.steps, seconds))
                display.count(outcomes[-1])
                display.clear()
                say(f"{trial}: {_spell(line)}")
            if len(outcomes) == len(failed) >= workers.size:
                reason = failed[outcomes[-1].trial]
                raise RunError(f"All trials failed so far, so the search ends: {reason}")
            display.tick()
    finally:
        display.end()
        workers.close()
    return Ending([f"{trial}: {reason}" for trial, reason in failed.items()], is_complete)


def count_steps(stages: Sequence[Stage]) -> int:
    """Training steps of a plan."""
    return sum(stage.n_trials * stage.steps for stage in stages)


def spell_share(part: float, whole: float) -> str:
    """A share in percent: "36 %", "0.002 %"."""
    percent = 100 * part / whole
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.1g} %"


def _keep_texts(folder: Path, trial: Trial, figures: dict[str, Any]) -> dict[str, Any]:
    """Write what is predicted beside the results; of texts and gold spans, one copy for all."""
    predictions = folder / "predictions"
    if "predicted" in figures:
        predictions.mkdir(exist_ok=True)
        gold = predictions / "gold.json"
        if not gold.exists():
            _write(gold, {name: figures[name] for name in ("texts", "gold")})
        _write(predictions / f"{trial.name}.json", figures["predicted"])
    return {name: value for name, value in figures.items() if name not in _TEXTS}


def _write(file: Path, content: Any) -> None:
    replace_file(file, json.dumps(content, ensure_ascii=False).encode("utf8"))


def _find_pace(earlier: Sequence[tuple[int, float]]) -> float | None:
    """Minutes of a step, start and end of a trial included."""
    steps = sum(of_trial for of_trial, _ in earlier)
    return sum(seconds for _, seconds in earlier) / 60 / steps if steps else None


def _spell(line: dict[str, Any]) -> str:
    seconds = f"{line['seconds'] / 60:.1f} minutes"
    if "gates" in line:
        gates = " ".join(f"{gate:.2f}" for gate in line["gates"])
        return f"gates {gates}, {seconds}"
    if "found" in line:
        return f"{len(line['found'])} candidates scored, {seconds}"
    return f"dev {100 * line['score']:.2f}, {seconds}"
