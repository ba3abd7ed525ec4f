"""How far a study is, on a terminal and in a log; and how long runs take."""

import io
from dataclasses import replace
from pathlib import Path

import pytest

from spacy_lgu.study import display
from spacy_lgu.study.display import Display
from spacy_lgu.study.engine import Progress
from spacy_lgu.study.estimates import estimate_minutes, spell_minutes, sum_minutes
from spacy_lgu.study.plan import System, Task
from spacy_lgu.study.runs import Job, Run

FILES = {"train": "a", "dev": "b", "test": "c"}
RUN = Run(Task("names", "Names", "ner", FILES, epochs=1), System("cnn", "CNN", "cnn"), None, 0)
JOB = Job(RUN, Path("corpus"), {"training.max_steps": 60}, None, 0, "s1")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass: a list, of which each look at the clock takes the first."""
    times = []
    monkeypatch.setattr(display.time, "monotonic", lambda: times.pop(0))
    return times


def test_a_log_gets_a_line_now_and_then(clock):
    stream = io.StringIO()
    clock += [-60.0, 0.0, 59.0, 60.0, 61.0, 120.0]
    with Display(stream).showing("run 1 of 2, names cnn 0", 1200, minutes_after=3.0) as report:
        report(Progress(0, 1200))
        report(Progress(299, 1200))
        report(Progress(300, 1200))
        report(Progress(310, 1200))
        report(Progress(1200, 1200, 0.8125))
    assert stream.getvalue().splitlines() == [
        "run 1 of 2, names cnn 0: 1,200 steps",
        "run 1 of 2, names cnn 0: step 0 of 1,200",
        "run 1 of 2, names cnn 0: step 300 of 1,200, 3 min left, 6 min left in all",
        "run 1 of 2, names cnn 0: step 1,200 of 1,200, 0 s left, dev 81.2, 3 min left in all",
    ]


def test_a_terminal_gets_a_line_that_is_rewritten():
    stream = Terminal()
    with Display(stream).showing("run 1 of 2, names cnn 0", 6, minutes_after=None) as report:
        report(Progress(2, 6))
        report(Progress(3, 6, 0.5))
    lines = stream.getvalue().split("\r")
    assert any(line.startswith("run 1 of 2, names cnn 0:  50%") for line in lines)
    assert any("3/6" in line and "dev 50.0" in line for line in lines)
    assert "\n" not in stream.getvalue()
    assert not lines[-1].strip()


def make_line(**changes):
    return {
        **RUN.key, "limit": 0, "settings": "s0", "steps": 100, "train_minutes": 5.0, **changes
    }  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "minutes"),
    [
        ([], None),
        ([make_line(system="decoder")], None),
        ([make_line()], 3.0),
        ([make_line(), make_line(train_minutes=7.0)], 3.6),
        # The nearest count: the same task, the same pattern.
        ([make_line(task="other", train_minutes=9.0)], 5.4),
        ([make_line(task="other", train_minutes=9.0), make_line()], 3.0),
        ([make_line(pattern="cccc", train_minutes=9.0), make_line()], 3.0),
    ],
)
def test_minutes_are_those_of_finished_runs_by_step(lines, minutes):
    assert estimate_minutes(JOB, lines) == (minutes and pytest.approx(minutes))


def test_minutes_of_what_is_left():
    other = replace(JOB, run=replace(RUN, seed=1))
    unknown = replace(JOB, run=replace(RUN, system=System("rnn", "RNN", "cnn")))
    done = make_line(settings="s1")
    assert sum_minutes([JOB, other], [done]) == pytest.approx(3.0)
    assert sum_minutes([JOB, other, unknown], [done]) is None
    assert sum_minutes([JOB], [done]) == 0


def test_durations():
    assert [spell_minutes(m) for m in (0.5, 1, 99, 150)] == ["30 s", "1 min", "99 min", "2.5 h"]
