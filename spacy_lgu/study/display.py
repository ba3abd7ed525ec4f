"""How far a study is: on a terminal one line that is rewritten, in a log a line now and then."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from .engine import Progress, ReportT
from .estimates import spell_minutes
from .line import INTERVAL, Line


class Display:
    """Shows the progress of one run after the other.

    stream (IO[str] | None): Where it is shown. None: standard error.
    interval (float): Seconds between two lines if that is not a terminal.
    """

    def __init__(self, stream: IO[str] | None = None, *, interval: float = INTERVAL) -> None:
        self._line = Line(stream, interval)
        self._first: tuple[int, float] | None = None
        self._minutes_after: float | None = None

    @contextmanager
    def showing(
        self, title: str, n_steps: int, *, minutes_after: float | None
    ) -> Iterator[ReportT]:
        """Show a run.

        title (str): Which one.
        n_steps (int): Training steps.
        minutes_after (float | None): How long the runs after it will take; None: not known.
        RETURNS (ContextManager[ReportT]): Takes its progress. The line disappears at the end.
        """
        self._minutes_after, self._first = minutes_after, None
        now = time.monotonic()
        self._line.begin(title, n_steps, now)
        if not self._line.is_rewritten:
            self._line.write(f"{n_steps:,} steps", now)
        try:
            yield self._update
        finally:
            self._line.end()

    def _update(self, progress: Progress) -> None:
        now = time.monotonic()
        # Counted from the first step: what comes before it takes long, but is over.
        self._first = self._first or (progress.step, now)
        step, started = self._first
        done = progress.step - step
        left = (now - started) / 60 * (progress.n_steps - progress.step) / done if done else None
        facts = [] if progress.score is None else [f"dev {100 * progress.score:.1f}"]
        if left is not None and self._minutes_after is not None:
            facts.append(f"{spell_minutes(left + self._minutes_after)} left in all")
        self._line.show(progress.step, progress.n_steps, facts)
        if self._line.is_rewritten or not self._line.is_due(now):
            return
        if left is not None:
            facts.insert(0, f"{spell_minutes(left)} left")
        steps = f"step {progress.step:,} of {progress.n_steps:,}"
        self._line.write(", ".join([steps, *facts]), now)
