"""The comparison of strategies, on a table of scores."""

import math

import pytest
from thinc.api import Config

from benchmarks.search_strategies import PooledWorkers, compare, correlate, judge
from spacy_lgu.search.jobs import Search
from spacy_lgu.search.searching import Prepared
from spacy_lgu.search.space import Candidate, Space
from spacy_lgu.search.strategies import STRATEGIES, make_strategy
from spacy_lgu.search.trials import Task, Trial

from ..search.helpers import SCORES

TASK = Task(Space(4), (0, 1), 900)


class TableWorkers:
    """All that an inner worker is asked for."""

    size = 1

    def __init__(self):
        self.started, self.is_closed = [], False

    def start(self, trial, report):
        self.started.append(trial)

    def wait(self, timeout):
        trial = self.started[-1]
        figures = {"score": SCORES[trial.candidate.pattern], "seconds": 1.0, "texts": ["x"]}
        if trial.kind == "oneshot":
            depth = {"n_layers": None, "repeat": None}
            figures["found"] = [{"pattern": p, **depth, "score": s} for p, s in SCORES.items()]
        if trial.kind == "gates":
            figures |= {"score": None, "gates": [0.1, 0.4, 0.9, 0.9]}
        return [(trial, figures)]

    def close(self):
        self.is_closed = True


def test_the_table_of_strategies(tmp_path, capsys):
    search = Search(Config(), ("components",), TASK)
    prepared = Prepared("x.cfg", search, make_strategy("exhaustive", TASK), {})
    workers = TableWorkers()
    compare(prepared, tmp_path, workers, names=[*STRATEGIES, "oneshot:top=1"], runs=1)
    printed = capsys.readouterr().out
    assert "16 candidates, 900 steps; F1 on dev from 40.00 to 70.00, best ccbb" in printed
    assert "| exhaustive | 100% | 1.00 | 0.00 | ccbb |" in printed
    assert "| halving | 36% | 1.00 | 0.00 | ccbb |" in printed
    assert "| greedy | 31% | 1.00 | 0.00 | ccbb |" in printed
    assert "| oneshot | 19% | 1.00 | 0.00 | ccbb |" in printed
    assert "| gates | 19% | 0." in printed
    assert "| oneshot:top=1 | 12% | 1.00 | 0.00 | ccbb |" in printed
    assert "| always cccc |  |  | 20.00 |  |" in printed
    assert workers.is_closed
    # Twice 16 for the truth; of the strategies each trial once, whoever asks for it.
    assert len(workers.started) == len(set(workers.started)) == 32 + 16 + 16 + 6 + 2

    again = TableWorkers()
    compare(prepared, tmp_path, again, names=list(STRATEGIES), runs=1)
    assert again.started == []
    assert "| halving | 36% |" in capsys.readouterr().out


def test_rank_correlation():
    truth = {Candidate(p): s for p, s in {"cc": 1.0, "cb": 2.0, "bc": 3.0, "bb": 4.0}.items()}
    backwards = {candidate: -score for candidate, score in truth.items()}
    assert correlate(truth, truth) == pytest.approx(1)
    assert correlate(backwards, truth) == pytest.approx(-1)
    assert correlate({**truth, Candidate("bb"): 3.0}, truth) == pytest.approx(0.9487, abs=1e-4)
    assert math.isnan(correlate({Candidate("cc"): 1.0}, truth))
    assert math.isnan(correlate(dict.fromkeys(truth, 1.0), truth))


def test_longer_trainings_rank_first():
    trials = [
        (Trial("train", Candidate("cc"), 2, 100), {"score": 0.9}),
        (Trial("train", Candidate("cb"), 2, 100), {"score": 0.8}),
        (Trial("train", Candidate("cb"), 2, 900), {"score": 0.5}),
    ]
    found = judge(trials, TASK)
    assert found.steps == 1100
    assert found.pick == Candidate("cb")
    assert found.estimates[Candidate("cb")] > found.estimates[Candidate("cc")]


def test_what_is_known_is_not_tried_again(tmp_path):
    inner = TableWorkers()
    workers = PooledWorkers(inner, tmp_path)
    trial = Trial("train", Candidate("cccb"), 0, 900)
    for _ in range(2):
        workers.start(trial, print)
        ((ended, figures),) = workers.wait(1.0)
        assert (ended, figures["score"]) == (trial, 0.6)
    assert inner.started == [trial]
