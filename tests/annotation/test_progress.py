"""How far a run is, in a log and on a terminal."""

import io
import re

from spacy_lgu.annotation.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_in_a_log_a_line_now_and_then():
    stream = io.StringIO()
    with Progress(2000, 500, 1, stream=stream, interval=0) as progress:
        progress.tell(250, 0)
        progress.tell(250, 2)
    first, second = stream.getvalue().splitlines()
    assert re.fullmatch(r"750 of 2000 docs \[00:00<.*docs/s, 1 failed\]", first)
    assert re.fullmatch(r"1000 of 2000 docs \[00:00<.*docs/s, 3 failed\]", second)
    stream = io.StringIO()
    with Progress(2000, 0, 0, stream=stream) as progress:
        progress.tell(250, 0)
    assert stream.getvalue() == ""


def test_on_a_terminal_a_bar():
    stream = Terminal()
    with Progress(20, 5, 0, stream=stream) as progress:
        progress.tell(10, 2)
        progress.tell(-10, 0)
    assert "5/20" in stream.getvalue()
