"""One thread at a time where libraries change what the whole process sees.

While transformers builds a decoder, it replaces methods of torch.nn.Module and the default dtype
for the whole process: another thread that builds anything meanwhile gets modules on the device
`meta`, and when two threads replace the methods, one restores those of the other.
"""

import functools
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

# Held around everything that builds modules: decoders, skeletons of them, and adapters.
LOADING = threading.RLock()


def one_at_a_time(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function hold LOADING while it runs."""

    @functools.wraps(function)
    def locked(*args: P.args, **kwargs: P.kwargs) -> R:
        with LOADING:
            return function(*args, **kwargs)

    return locked
