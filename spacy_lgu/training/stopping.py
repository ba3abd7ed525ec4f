"""SIGTERM, which clusters and `docker stop` send: training ends as with Ctrl-C, and says so.

spaCy saves model-last whenever its training loop is left by an exception, Ctrl-C included. SIGTERM
raises none by itself: the process ends at once.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from spacy.language import Language
from spacy.training import loop

BeforeUpdateT = Callable[[Language, dict[str, Any]], None]

# As shells report a process that a signal has ended.
_STATUS = 128 + signal.SIGTERM
# Seconds between looks whether a save has ended.
_WAIT = 0.1


def save_on_sigterm_v1() -> BeforeUpdateT:
    """Save model-last at SIGTERM, and end with status 143. For [training.before_update].

    A checkpoint that is being saved is finished first; further signals are ignored meanwhile. A
    handler that is there already, such as that of a search or of Ray, is left alone.

    RETURNS (Callable): Called before each update.
    """
    is_listening = False

    def listen(nlp: Language, args: dict[str, Any]) -> None:
        nonlocal is_listening
        if not is_listening:
            is_listening = True
            # Python lets no other thread do it.
            is_main = threading.current_thread() is threading.main_thread()
            if is_main and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
                signal.signal(signal.SIGTERM, _stop)

    return listen


def _stop(number: int, frame: FrameType | None) -> None:
    if _is_saving(frame):
        again = threading.Timer(_WAIT, os.kill, (os.getpid(), signal.SIGTERM))
        again.daemon = True
        again.start()
        return
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stderr.write(
        f"SIGTERM: training stops here. What it has learned is saved as model-last, if there is an "
        f"--output, and the exit status is {_STATUS}.\n"
    )
    raise SystemExit(_STATUS)


def _is_saving(frame: FrameType | None) -> bool:
    """Whether a checkpoint is being written, or copied to model-best."""
    while frame is not None:
        code = frame.f_code
        if code is Language.to_disk.__code__:
            return True
        if code.co_name == "save_checkpoint" and code.co_filename == loop.__file__:
            return True
        frame = frame.f_back
    return False
