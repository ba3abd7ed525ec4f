"""The loop of a search, with workers that look scores up in a table."""

import io
import shutil
from pathlib import Path

import pytest

from spacy_lgu.search.folder import check_identity, held, keep_result, read_trials
from spacy_lgu.search.progress import SearchDisplay
from spacy_lgu.search.running import Budget, run_search, spell_share
from spacy_lgu.search.space import Candidate, Space, make_space
from spacy_lgu.search.strategies import make_strategy
from spacy_lgu.search.trials import Task, Trial
from spacy_lgu.study.engine import Progress, RunError

from ..killing import kill_everywhere
from .helpers import SCORES, play

TASK = Task(Space(4), (0,), 900)


class TableWorkers:
    """Finish the oldest trial at each call of wait."""

    def __init__(self, *, size=1, failing=(), scores=SCORES):
        self.size, self.failing, self.scores = size, failing, scores
        self.started, self.running, self.is_closed = [], [], False
        self.most = 0

    def start(self, trial, report):
        report(Progress(1, trial.steps))
        self.started.append(trial)
        self.running.append(trial)
        self.most = max(self.most, len(self.running))

    def wait(self, timeout):
        trial = self.running.pop(0)
        if trial.name in self.failing:
            return [(trial, RunError(f"see {trial.name}.log"))]
        pattern = trial.candidate.pattern
        figures = {"score": self.scores[pattern], "seconds": 60.0 * trial.steps}
        return [(trial, {**figures, "texts": ["a"], "gold": [[]], "predicted": [[]]})]

    def close(self):
        self.is_closed = True


def search(folder, strategy, workers, budget=None, stream=None):
    said = []
    ending = run_search(
        strategy,
        folder,
        workers,
        budget=budget or Budget(),
        display=SearchDisplay(stream or io.StringIO(), interval=0),
        say=said.append,
    )
    return ending, said


def test_all_that_is_proposed_is_executed_and_kept(tmp_path):
    workers = TableWorkers()
    strategy = make_strategy("halving", TASK)
    ending, said = search(tmp_path, strategy, workers)
    assert workers.started == play(strategy)
    assert [trial for trial, _ in read_trials(tmp_path)] == workers.started
    assert (ending.failed, ending.is_complete, workers.is_closed) == ([], True, True)
    assert said[-1] == "cbbb-s0-900: dev 69.00, 900.0 minutes"
    lines = [line for _, line in read_trials(tmp_path)]
    assert "predicted" not in lines[0]
    assert (tmp_path / "predictions" / "gold.json").read_text() == '{"texts": ["a"], "gold": [[]]}'
    assert (tmp_path / "predictions" / "cccc-s0-100.json").read_text() == "[[]]"


@pytest.mark.parametrize("kind", ["exhaustive", "halving", "greedy"])
def test_wherever_it_is_interrupted_no_trial_is_repeated(tmp_path, kind):
    strategy = make_strategy(kind, TASK)
    whole = play(strategy)
    for n in range(0, len(whole), 3):
        folder = tmp_path / str(n)
        folder.mkdir()
        first = TableWorkers()
        ending, _ = search(folder, strategy, first, Budget(trials=n) if n else Budget(steps=1))
        assert not ending.is_complete
        second = TableWorkers()
        search(folder, strategy, second)
        assert first.started + second.started == whole


def test_wherever_it_is_killed_it_goes_on(tmp_path):
    """At every change of a file: finished trials stay, and the rest is made."""
    folder = tmp_path / "out"
    task = Task(make_space("c", patterns=["cccc", "ccbb"]), (0,), 900)
    strategy = make_strategy("exhaustive", task)

    def go_on():
        with held(folder):
            check_identity(folder, {"space": task.space.values})
            workers = TableWorkers()
            search(folder, strategy, workers)
        return workers.started

    def prepare():
        shutil.rmtree(folder, ignore_errors=True)

    n_kills = 0
    for event in kill_everywhere(go_on, below=folder, prepare=prepare):
        n_kills += event is not None
        done = [trial for trial, _ in read_trials(folder)] if folder.exists() else []
        assert done + go_on() == play(strategy)
        names = {path.name for path in folder.iterdir()}
        assert names >= {"results.jsonl", "search.json", "predictions"}
    assert n_kills > 20


def test_several_at_a_time(tmp_path):
    workers = TableWorkers(size=4)
    search(tmp_path, make_strategy("exhaustive", TASK), workers)
    assert workers.most == 4
    assert len(workers.started) == len(set(workers.started)) == 16


def test_budgets_of_steps_and_time(tmp_path):
    strategy = make_strategy("exhaustive", TASK)
    ending, _ = search(tmp_path, strategy, TableWorkers(), Budget(steps=2700))
    assert not ending.is_complete
    assert len(read_trials(tmp_path)) == 3
    # The earlier ones say that a trial takes 900 minutes.
    workers = TableWorkers()
    ending, _ = search(tmp_path, strategy, workers, Budget(minutes=899))
    assert (workers.started, ending.is_complete) == ([], False)
    workers = TableWorkers()
    search(tmp_path, strategy, workers, Budget(minutes=901))
    assert workers.started


def test_a_budget_that_is_enough(tmp_path):
    strategy = make_strategy("greedy", TASK)
    ending, _ = search(tmp_path, strategy, TableWorkers(), Budget(trials=5))
    assert ending.is_complete


def test_failures_are_told_and_tried_again(tmp_path):
    strategy = make_strategy("exhaustive", TASK)
    workers = TableWorkers(failing={"cccb-s0-900"})
    ending, said = search(tmp_path, strategy, workers)
    assert ending.failed == ["cccb-s0-900: see cccb-s0-900.log"]
    assert "cccb-s0-900: failed, see cccb-s0-900.log" in said
    assert len(read_trials(tmp_path)) == 15
    workers = TableWorkers()
    ending, _ = search(tmp_path, strategy, workers)
    assert [trial.name for trial in workers.started] == ["cccb-s0-900"]


def test_failures_are_not_what_a_budget_pays_for(tmp_path):
    workers = TableWorkers(failing={"cccb-s0-900"})
    search(tmp_path, make_strategy("exhaustive", TASK), workers, Budget(trials=3))
    assert len(read_trials(tmp_path)) == 3


def test_what_ends_together_with_failures_is_kept(tmp_path):
    class Together(TableWorkers):
        def wait(self, timeout):
            return [super(Together, self).wait(timeout)[0] for _ in list(self.running)]

    names = [trial.name for trial in play(make_strategy("exhaustive", TASK))]
    workers = Together(size=3, failing=set(names[:2]))
    ending, _ = search(tmp_path, make_strategy("exhaustive", TASK), workers)
    assert len(ending.failed) == 2
    assert len(read_trials(tmp_path)) == 14


def test_nothing_but_failures_end_the_search(tmp_path):
    names = {trial.name for trial in play(make_strategy("exhaustive", TASK))}
    for size in (1, 3):
        workers = TableWorkers(size=size, failing=names)
        with pytest.raises(RunError, match=r"All trials failed so far, so the search ends: see"):
            search(tmp_path, make_strategy("exhaustive", TASK), workers)
        assert len(workers.started) <= 2 * size
        assert workers.is_closed


def test_what_is_shown(tmp_path):
    stream = io.StringIO()
    task = Task(make_space("c", patterns=["cccc", "ccbb"]), (0,), 900)
    keep_result(tmp_path, Trial("train", Candidate("cccc"), 0, 900), {"score": 0.5, "seconds": 60})
    search(tmp_path, make_strategy("exhaustive", task), TableWorkers(), stream=stream)
    assert stream.getvalue().splitlines()[-1] == (
        "search: step 1,800 of 1,800, 2 of 2 trials, best ccbb 70.0; running: nothing"
    )


def test_time_left_is_known_from_earlier_trials():
    stream = io.StringIO()
    display = SearchDisplay(stream, interval=0)
    strategy = make_strategy("exhaustive", TASK)
    display.begin(strategy.plan(), [], 0.01)
    display.start(Trial("train", Candidate("cccc"), 0, 900))
    display.tick()
    assert stream.getvalue() == (
        "search: step 0 of 14,400, 0 of 16 trials, 2.4 h left; running: cccc-s0-900\n"
    )


def test_on_a_terminal_one_line_is_rewritten():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    display = SearchDisplay(stream)
    strategy = make_strategy("exhaustive", TASK)
    trial = Trial("train", Candidate("cccc"), 0, 900)
    display.begin(strategy.plan(), [], None)
    report = display.start(trial)
    report(Progress(450, 900))
    display.tick()
    display.clear()
    display.end()
    shown = stream.getvalue()
    assert "search:   3%" in shown
    assert "450/14400" in shown
    assert "0 of 16 trials" in shown
    assert "\n" not in shown


def test_shares():
    assert spell_share(36, 100) == "36 %"
    assert spell_share(2, 100_000) == "0.002 %"


@pytest.mark.parametrize("budget", [{"trials": 0}, {"steps": -1}, {"minutes": 0.0}])
def test_what_is_no_budget(budget):
    with pytest.raises(ValueError, match=r"Expected a budget of more than 0 \w+, but got"):
        Budget(**budget)


def test_a_disk_that_is_full_is_no_fault_of_a_trial(tmp_path):
    class FullDisk(TableWorkers):
        def wait(self, timeout):
            raise OSError("No space left on device")

    workers = FullDisk()
    with pytest.raises(OSError, match="No space left"):
        search(Path(tmp_path), make_strategy("greedy", TASK), workers)
    assert workers.is_closed
