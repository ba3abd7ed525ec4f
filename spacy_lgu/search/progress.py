"""How far a search is: on a terminal one line that is rewritten, in a log a line now and then."""

import time
from collections.abc import Callable, Sequence
from math import isfinite
from threading import Lock
from typing import IO

from ..study.engine import Progress
from ..study.estimates import spell_minutes
from ..study.line import INTERVAL, Line
from .trials import Outcome, Stage, Trial, mean_scores, rank


class SearchDisplay:
    """Shows training steps of all that is planned, the best so far, and how long the rest takes.

    stream (IO[str] | None): Where it is shown. None: standard error.
    interval (float): Seconds between two lines if that is not a terminal.
    """

    def __init__(self, stream: IO[str] | None = None, *, interval: float = INTERVAL) -> None:
        self._line = Line(stream, interval)
        self._lock = Lock()
        self._running: dict[Trial, int] = {}
        self._outcomes: list[Outcome] = []
        self._n_steps = self._n_trials = self._done = self._before = 0
        self._pace: float | None = None
        self._started = 0.0

    def begin(self, plan: Sequence[Stage], done: Sequence[Outcome], pace: float | None) -> None:
        """Show that a search goes on.

        plan (Sequence[Stage]): What it costs at most.
        done (Sequence[Outcome]): What is finished already.
        pace (float | None): Minutes of a step in earlier trials, None if there are none.
        """
        self._n_trials = sum(stage.n_trials for stage in plan)
        self._n_steps = sum(stage.n_trials * stage.steps for stage in plan)
        self._outcomes, self._pace = list(done), pace
        self._done = self._before = sum(outcome.trial.steps for outcome in done)
        self._started = time.monotonic()
        self._line.begin("search", self._n_steps, self._started, step=self._done)

    def start(self, trial: Trial) -> Callable[[Progress], None]:
        """A trial begins. RETURNS (Callable): Takes its progress, from any thread."""
        with self._lock:
            self._running[trial] = 0

        def report(progress: Progress) -> None:
            with self._lock:
                if trial in self._running:
                    self._running[trial] = min(progress.step, trial.steps)

        return report

    def finish(self, trial: Trial) -> None:
        """A trial has ended."""
        with self._lock:
            self._running.pop(trial)

    def count(self, outcome: Outcome) -> None:
        """A trial has an outcome."""
        self._outcomes.append(outcome)
        self._done += outcome.trial.steps

    def tick(self) -> None:
        """Show where it is, if it is time."""
        now = time.monotonic()
        if not self._line.is_due(now):
            return
        with self._lock:
            step = self._done + sum(self._running.values())
            running = [trial.name for trial in self._running]
        facts = [f"{len(self._outcomes)} of {self._n_trials} trials", *self._find_facts(step, now)]
        self._line.show(step, max(self._n_steps, step), facts)
        if not self._line.is_rewritten:
            text = ", ".join([f"step {step:,} of {self._n_steps:,}", *facts])
            self._line.write(f"{text}; running: {', '.join(running) or 'nothing'}", now)

    def clear(self) -> None:
        """Make room for a line of something else, until the next tick."""
        self._line.clear()

    def end(self) -> None:
        """The line disappears."""
        self._line.end()

    def _find_facts(self, step: int, now: float) -> list[str]:
        facts = []
        longest = max((o.trial.steps for o in self._outcomes if o.trial.kind == "train"), default=0)
        means = mean_scores(self._outcomes, longest)
        best = rank(means)[0] if means else None
        if best is not None and isfinite(means[best]):
            facts.append(f"best {best} {100 * means[best]:.1f}")
        done = step - self._before
        # Of this run, as several may be at work; before its first steps, of earlier ones.
        pace = (now - self._started) / 60 / done if done else self._pace
        left = self._n_steps - step
        if pace is not None and left > 0:
            facts.append(f"{spell_minutes(pace * left)} left")
        return facts
