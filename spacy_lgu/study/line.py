"""One line about what goes on: on a terminal it is rewritten, in a log it comes now and then."""

import sys
from collections.abc import Sequence
from shutil import get_terminal_size
from typing import IO

from tqdm import tqdm

# Seconds between two lines in a log.
INTERVAL = 60.0


class Line:
    """The line.

    stream (IO[str] | None): Where it is shown. None: standard error.
    interval (float): Seconds between two lines if that is not a terminal.
    """

    def __init__(self, stream: IO[str] | None, interval: float) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._interval = interval
        self._title = ""
        self._shown = 0.0
        self._bar: tqdm | None = None

    def begin(self, title: str, n_steps: int, now: float, *, step: int = 0) -> None:
        """Open it at a time in seconds, with so many steps of which some are done."""
        self._title, self._shown = title, now
        if self._stream.isatty():
            columns, rows = get_terminal_size()  # 80 and 24 if the terminal gives none
            self._bar = tqdm(
                total=n_steps, initial=step, desc=title, unit="step", file=self._stream,
                leave=False, ncols=columns, nrows=rows,
            )  # fmt: skip

    @property
    def is_rewritten(self) -> bool:
        """RETURNS (bool): Whether it is on a terminal."""
        return self._bar is not None

    def is_due(self, now: float) -> bool:
        """RETURNS (bool): Whether it is time to show something; on a terminal it always is."""
        return self.is_rewritten or now - self._shown >= self._interval

    def show(self, step: int, n_steps: int, facts: Sequence[str]) -> None:
        """On a terminal, rewrite it: a bar, then the facts."""
        if self._bar is not None:
            self._bar.total = n_steps
            self._bar.set_postfix_str(", ".join(facts), refresh=False)
            self._bar.update(step - self._bar.n)
            self._bar.refresh()

    def write(self, text: str, now: float) -> None:
        """In a log, write a line."""
        self._shown = now
        self._stream.write(f"{self._title}: {text}\n")
        self._stream.flush()

    def clear(self) -> None:
        """Make room for a line of something else, until it is shown again."""
        if self._bar is not None:
            self._bar.clear()

    def end(self) -> None:
        """It disappears from a terminal."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
