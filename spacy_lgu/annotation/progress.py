"""How far a run is: a bar on a terminal, in a log a line now and then."""

import sys
import time
from typing import IO

from tqdm import tqdm

# Seconds between two lines in a log.
_INTERVAL = 60.0


class Progress:
    """Documents, their rate, the time left, and how many failed.

    n_records (int): All records.
    n_before (int): Those that were done before.
    n_failed (int): Those of them that failed.
    stream (IO[str] | None): Where it is shown. None: standard error.
    interval (float): Seconds between two lines if that is not a terminal.
    """

    def __init__(
        self,
        n_records: int,
        n_before: int,
        n_failed: int,
        *,
        stream: IO[str] | None = None,
        interval: float = _INTERVAL,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._interval = interval
        self._n_failed = n_failed
        self._n_before = n_before
        self._n = n_before
        self._total = n_records
        self._began = self._shown = time.monotonic()
        self._bar: tqdm | None = None
        if self._stream.isatty():
            self._bar = tqdm(
                total=n_records, initial=n_before, unit=" docs", file=self._stream, smoothing=0.05
            )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def tell(self, n_records: int, n_failed: int) -> None:
        """Show that records were worked on.

        n_records (int): How many; fewer than 0 for those of a worker that died.
        n_failed (int): How many failed.
        """
        self._n += n_records
        self._n_failed += n_failed
        failed = f"{self._n_failed:,} failed" if self._n_failed else ""
        if self._bar is not None:
            self._bar.set_postfix_str(failed, refresh=False)
            self._bar.update(n_records)
        elif (now := time.monotonic()) - self._shown >= self._interval:
            self._shown = now
            meter = tqdm.format_meter(
                self._n, self._total, now - self._began, unit=" docs", postfix=failed or None,
                initial=self._n_before, bar_format="{n_fmt} of {total_fmt} docs "
                "[{elapsed}<{remaining}, {rate_fmt}{postfix}]",
            )  # fmt: skip
            self._stream.write(f"{meter}\n")
            self._stream.flush()
