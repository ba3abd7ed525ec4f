"""A full disk, which the system reports without a path where it shows while writing."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def explaining_full_disk(place: Path, advice: str) -> Iterator[None]:
    """Say where there is no space left, and what to do.

    place (Path): What is written within, or the folder of that.
    advice (str): What to do once there is space again.
    RETURNS (Iterator): An OSError that a full disk or quota raises gets a note with both; all
        errors pass.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL and not hasattr(error, "__notes__"):
            error.add_note(f"There is no space left for {str(place)!r}. Free some, and {advice}.")
        raise
