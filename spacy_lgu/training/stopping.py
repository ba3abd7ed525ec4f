"""SIGTERM, which clusters and `docker stop` send: training ends as with Ctrl-C, and says so.

spaCy saves model-last whenever its training loop is left by an exception, Ctrl-C included. SIGTERM
raises none by itself: the process ends at once.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
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
            if is_main and signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, _go_on_saving):
                signal.signal(signal.SIGTERM, _stop)

    return listen


def _stop(number: int, frame: FrameType | None) -> None:
    running = list(_find_code(frame))
    if any(map(_is_saving, running)):
        again = threading.Timer(_WAIT, os.kill, (os.getpid(), signal.SIGTERM))
        again.daemon = True
        again.start()
        return
    if loop.train.__code__ not in running:
        _do_as_before()
        return
    signal.signal(signal.SIGTERM, _go_on_saving)
    sys.stderr.write(
        f"SIGTERM: training stops here. What it has learned is saved as model-last, if there is an "
        f"--output, and the exit status is {_STATUS}.\n"
    )
    raise SystemExit(_STATUS)


def _go_on_saving(number: int, frame: FrameType | None) -> None:
    """What was learned is being saved, which is part of spaCy's loop."""
    if loop.train.__code__ not in _find_code(frame):
        _do_as_before()


def _do_as_before() -> None:
    """In a notebook, when training is over."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


def _find_code(frame: FrameType | None) -> Iterator[CodeType]:
    """What is running, from the inside out."""
    while frame is not None:
        yield frame.f_code
        frame = frame.f_back


def _is_saving(code: CodeType) -> bool:
    """Whether this writes a checkpoint, or copies it to model-best."""
    is_checkpoint = code.co_name == "save_checkpoint" and code.co_filename == loop.__file__
    return is_checkpoint or code is Language.to_disk.__code__
