"""How far a study is: on a terminal one line that is rewritten, in a log a line now and then."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from shutil import get_terminal_size
from typing import IO

from tqdm import tqdm

from .engine import Progress, ReportT
from .estimates import spell_minutes

# Seconds between two lines in a log.
_INTERVAL = 60.0


class Display:
    """Shows the progress of one run after the other.

    stream (IO[str] | None): Where it is shown. None: standard error.
    interval (float): Seconds between two lines if that is not a terminal.
    """

    def __init__(self, stream: IO[str] | None = None, *, interval: float = _INTERVAL) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._interval = interval
        self._title = ""
        self._shown = 0.0
        self._first: tuple[int, float] | None = None
        self._minutes_after: float | None = None
        self._bar: tqdm | None = None

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
        self._title, self._minutes_after = title, minutes_after
        self._shown = time.monotonic()
        self._first = None
        if self._stream.isatty():
            columns, rows = get_terminal_size()  # 80 and 24 if the terminal gives none
            self._bar = tqdm(
                total=n_steps, desc=title, unit="step", file=self._stream, leave=False,
                ncols=columns, nrows=rows,
            )  # fmt: skip
        else:
            self._stream.write(f"{title}: {n_steps:,} steps\n")
            self._stream.flush()
        try:
            yield self._update
        finally:
            if self._bar is not None:
                self._bar.close()
                self._bar = None

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
        if self._bar is not None:
            self._bar.set_postfix_str(", ".join(facts), refresh=False)
            if not self._bar.update(progress.step - self._bar.n):
                self._bar.refresh()
            return
        if now - self._shown < self._interval:
            return
        self._shown = now
        steps = f"step {progress.step:,} of {progress.n_steps:,}"
        if left is not None:
            facts.insert(0, f"{spell_minutes(left)} left")
        text = ", ".join([steps, *facts])
        self._stream.write(f"{self._title}: {text}\n")
        self._stream.flush()
