"""What each strategy tries, on a table of scores."""

from collections import Counter
from dataclasses import replace

import pytest

from spacy_lgu.search.exhaustive import Exhaustive
from spacy_lgu.search.gates import Gates, find_nearest
from spacy_lgu.search.greedy import Greedy
from spacy_lgu.search.halving import Halving
from spacy_lgu.search.oneshot import OneShot
from spacy_lgu.search.running import count_steps
from spacy_lgu.search.space import Candidate, Space, make_space
from spacy_lgu.search.strategies import STRATEGIES, make_strategy
from spacy_lgu.search.trials import Outcome, Task, Trial, mean_scores, rank

from .helpers import SCORES, look_up, play

DIGITS = str.maketrans("cb", "01")
TASK = Task(Space(4), (0, 1), 900)


def name(trials):
    return [trial.name for trial in trials]


def test_exhaustive_goes_seed_by_seed():
    space = make_space("c", patterns=["cccc", "bbbb"])
    trials = play(Exhaustive(Task(space, (0, 1), 5)))
    assert name(trials) == ["cccc-s0-5", "bbbb-s0-5", "cccc-s1-5", "bbbb-s1-5"]
    assert len(play(Exhaustive(TASK))) == 32


def test_halving_narrows_down():
    trials = play(Halving(TASK))
    assert Counter(trial.steps for trial in trials) == {100: 16, 300: 6, 900: 4}
    assert {t.candidate.pattern for t in trials if t.steps == 300} == {
        "ccbb", "cbbb", "cbcb", "cccb", "bcbb", "cbbc"
    }  # fmt: skip
    assert name(t for t in trials if t.steps == 900) == [
        "ccbb-s0-900", "cbbb-s0-900", "ccbb-s1-900", "cbbb-s1-900"
    ]  # fmt: skip


def test_halving_costs_what_it_plans():
    for size in (2, 5, 16, 30):
        patterns = [f"{i:05b}" for i in range(size)]
        for factor in (2, 3, 4):
            task = Task(make_space("c", patterns=patterns), (0,), 900)
            strategy = Halving(task, factor=factor, shortest=0.05)
            trials = play(
                strategy,
                lambda t: Outcome(t, int(t.candidate.pattern.translate(DIGITS), 2) * 7 % 31),
            )
            assert sum(trial.steps for trial in trials) == count_steps(strategy.plan())


def test_halving_does_not_make_a_stage_without_a_choice():
    assert [r.n_candidates for r in Halving(Task(Space(1), (0,), 900)).rungs] == [2]
    # Two steps cannot be divided into three lengths.
    assert [r.steps for r in Halving(Task(Space(4), (0,), 2)).rungs] == [1, 2]


def test_halving_goes_on_as_soon_as_a_place_is_certain():
    strategy = Halving(TASK)
    outcomes = [look_up(trial) for trial in strategy.propose([])[:-1]]
    proposed = strategy.propose(outcomes)
    # One of 16 is unknown: five of the six places are certain.
    assert name(proposed[:2]) == ["bbbb-s0-100", "ccbb-s0-300"]
    assert len([t for t in proposed if t.steps == 300]) == 5


def test_halving_in_parallel_ends_with_the_same():
    alone = play(Halving(TASK))
    together = play(Halving(TASK), size=5)
    assert {t for t in alone if t.steps == 900} <= set(together)
    assert {t.candidate for t in together if t.steps == 900} >= {Candidate("ccbb")}


def test_halving_drops_what_fails():
    def fail(trial):
        failing = trial.candidate.pattern.startswith("c")
        return replace(look_up(trial), score=None) if failing else look_up(trial)

    trials = play(Halving(TASK), fail)
    assert {t.candidate.pattern for t in trials if t.steps == 900} == {"bcbb", "bbbb"}


def test_halving_with_fewer_left_than_there_are_places():
    def fail(trial):
        return replace(look_up(trial), score=None if trial.candidate.pattern != "bbbb" else 0.5)

    trials = play(Halving(TASK), fail)
    assert name(trials)[-3:] == ["bbbb-s0-300", "bbbb-s0-900", "bbbb-s1-900"]


def test_greedy_opens_from_the_output_side():
    trials = play(Greedy(Task(Space(4), (0,), 900)))
    assert [t.candidate.pattern for t in trials] == ["cccc", "cccb", "ccbb", "cbbb", "bcbb"]


def test_greedy_loses_patience():
    scores = {**SCORES, "cccb": 0.4, "ccbc": 0.4}

    def fall(trial):
        return Outcome(trial, scores[trial.candidate.pattern])

    trials = play(Greedy(Task(Space(4), (0,), 900), patience=2), fall)
    assert [t.candidate.pattern for t in trials] == ["cccc", "cccb", "ccbc"]
    trials = play(Greedy(Task(Space(4), (0,), 900), patience=3), fall)
    assert [t.candidate.pattern for t in trials][3:] == ["cbcc", "bbcc"]


def test_greedy_then_tries_depths_and_repetitions():
    def score(trial):
        c = trial.candidate
        return Outcome(trial, SCORES[c.pattern] + (c.n_layers == 3) * 0.1 - (c.repeat == 2) * 0.1)

    space = make_space("cccc", depths=[4, 3], repeats=[1, 2])
    trials = play(Greedy(Task(space, (0,), 900)), score)
    assert [str(t.candidate) for t in trials][-2:] == [
        "ccbb, 3 layers, 1 repeat",
        "ccbb, 3 layers, 2 repeats",
    ]


def test_greedy_counts_failures_in_a_row():
    scores = {**SCORES, "cccb": 0.4, "ccbc": 0.6, "cbbc": 0.5, "bcbc": 0.7}
    strategy = Greedy(Task(Space(4), (0,), 900), patience=2)
    trials = play(strategy, lambda trial: Outcome(trial, scores[trial.candidate.pattern]))
    assert [t.candidate.pattern for t in trials] == ["cccc", "cccb", "ccbc", "cbbc", "bcbc"]


@pytest.mark.parametrize(
    ("patterns", "tried"),
    [
        (["cccb", "ccbb", "bbbb"], ["cccb", "ccbb", "bbbb"]),
        # The first groups from the output side are open already.
        (["ccbb", "cbbb", "bbbb"], ["ccbb", "cbbb", "bbbb"]),
        # No two of them differ in one group alone.
        (["cccc", "bbbb"], ["cccc", "bbbb"]),
        (["cccc", "ccbb", "bbbb"], ["cccc", "ccbb", "bbbb"]),
        (["bbbb", "ccbc"], ["ccbc", "bbbb"]),
    ],
)
def test_greedy_stays_among_the_named_patterns(patterns, tried):
    space = make_space("c", patterns=patterns)
    trials = play(Greedy(Task(space, (0,), 900)))
    assert [t.candidate.pattern for t in trials] == tried


def test_oneshot_trains_the_best_with_shared_weights():
    trials = play(OneShot(TASK, top=2))
    assert name(trials) == [
        "oneshot-s0-900", "ccbb-s0-900", "ccbb-s1-900", "cbbb-s0-900", "cbbb-s1-900"
    ]  # fmt: skip
    assert dict(trials[0].options) == {"draw": "even", "most": 256}


@pytest.mark.parametrize("kind", ["oneshot", "gates"])
@pytest.mark.parametrize("patterns", [["cccb"], ["cccb", "ccbb"]])
def test_what_needs_no_choice_is_trained_at_once(kind, patterns):
    task = Task(make_space("c", patterns=patterns), (0, 1), 900)
    strategy = make_strategy(kind, task, top=2)
    expected = [f"{pattern}-s{seed}-900" for seed in (0, 1) for pattern in patterns]
    assert name(play(strategy)) == expected
    assert count_steps(strategy.plan()) == 900 * len(expected)


@pytest.mark.parametrize("name", ["depths", "repeats"])
def test_gates_try_no_several_depths_or_repeats(name):
    space = make_space("cb", **{name: [2, 1]})
    with pytest.raises(ValueError, match=f"but got {name} 2, 1. Give one of them, or use another"):
        Gates(Task(space, (0,), 40))
    assert Gates(Task(make_space("cb", depths=[2], repeats=[1]), (0,), 40)).propose([])


def test_gates_train_the_nearest_patterns():
    trials = play(Gates(Task(Space(4), (0,), 900), top=3))
    assert name(trials) == ["gates-s0-900", "ccbb-s0-900", "cbbb-s0-900", "bcbb-s0-900"]


def test_nearest_patterns_are_the_most_probable():
    gates = (0.2, 0.6, 0.97, 0.5)

    def probability(pattern):
        product = 1.0
        for letter, gate in zip(pattern, gates, strict=True):
            product *= gate if letter == "b" else 1 - gate
        return product

    every = sorted((c.pattern for c in Space(4)), key=probability, reverse=True)
    found = find_nearest(gates, Space(4), 16)
    assert [probability(p) for p in found] == pytest.approx([probability(p) for p in every])
    assert len(set(found)) == 16
    assert find_nearest(gates, make_space("c", patterns=["bbbb", "cbbc"]), 5) == ["cbbc", "bbbb"]
    assert find_nearest([1.0] * 31 + [0.0], Space(32), 2)[0] == "b" * 31 + "c"


def test_failures_of_what_is_shared_end_the_search():
    for kind in (OneShot, Gates):
        trials = play(kind(TASK), lambda trial: Outcome(trial, None))
        assert len(trials) == 1


@pytest.mark.parametrize("kind", STRATEGIES)
def test_finished_strategies_propose_nothing(kind):
    strategy = make_strategy(kind, TASK)
    outcomes = [look_up(trial) for trial in play(strategy)]
    assert strategy.propose(outcomes) == []
    assert strategy.propose(outcomes[::-1]) == []
    assert len(set(play(strategy, size=3))) == len(play(strategy, size=3))


@pytest.mark.parametrize("kind", ["greedy", "oneshot", "gates"])
def test_a_group_per_layer_can_be_searched(kind):
    make_strategy(kind, Task(Space(126), (0,), 100))
    strategy = make_strategy(kind, Task(Space(32), (0,), 100))
    assert count_steps(strategy.plan()) <= 3300
    assert len(strategy.propose([])) == 1


def test_references_are_trained_at_last():
    strategy = make_strategy("greedy", Task(Space(4), (0,), 900), compare=True)
    assert [t.candidate.pattern for t in play(strategy)][-1] == "bbbb"
    assert strategy.plan()[-1].n_trials == 2


@pytest.mark.parametrize(("patterns", "added"), [([], []), (["ccbb", "bbbb"], ["cccc"])])
def test_references_among_the_candidates_are_trained_once(patterns, added):
    space = make_space("cccc", patterns=patterns)
    strategy = make_strategy("exhaustive", Task(space, (0, 1), 900), compare=True)
    trials = play(strategy)
    assert len(trials) == len(set(trials)) == 2 * (len(space.listed) + len(added))
    assert [t.candidate.pattern for t in trials][2 * len(space.listed) :] == added * 2
    assert count_steps(strategy.plan()) == 900 * len(trials)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("best", {}, "There is no strategy 'best': expected one of exhaustive, halving"),
        (
            "greedy",
            {"top": 2},
            "The strategy greedy has no --top; it has --patience. Leave it "
            "out, or give --strategy oneshot or --strategy gates.",
        ),
        ("oneshot", {"factor": 2}, "has no --factor; .* give --strategy halving."),
        ("exhaustive", {"learn_rate": 1.0}, "exhaustive has no --learn-rate; it has none"),
        ("halving", {"factor": 1}, "Expected a factor of at least 2 .* got 1 and"),
        ("halving", {"shortest": 0.0}, "a shortest training of more than 0 .* and 0.0"),
        ("greedy", {"patience": 0}, "Expected a patience of at least 1 group, but got 0"),
        ("oneshot", {"top": 0}, "Expected at least 1 candidate that is trained"),
        ("oneshot", {"draw": "odd"}, "Expected a draw of even or middle, but got 'odd'"),
        ("gates", {"learn_rate": 0.0}, "Expected at least 1 pattern .* but got 2 and 0.0"),
    ],
)
def test_what_is_no_strategy(kind, options, message):
    with pytest.raises(ValueError, match=message):
        make_strategy(kind, TASK, **options)


def test_large_spaces_are_refused_by_those_that_list_them():
    for kind in ("exhaustive", "halving"):
        with pytest.raises(ValueError, match="Use the strategy greedy, oneshot or gates"):
            make_strategy(kind, Task(Space(32), (0,), 10))


def test_trials_have_names_of_their_own():
    assert Trial("train", Candidate("cb", 3, 2), 1, 40).name == "cb-l3-r2-s1-40"
    assert Trial("gates", Candidate("cc"), 0, 40).name == "gates-s0-40"


def test_gates_are_tried_at_the_depth_that_they_were_learned_at():
    task = Task(make_space("cb", depths=[2], repeats=[1]), (0,), 40)
    trials = play(Gates(task, top=1), lambda trial: Outcome(trial, 0.5, gates=(0.1, 0.9)))
    assert [trial.candidate for trial in trials] == [Candidate("cc", 2, 1), Candidate("cb", 2, 1)]


def test_what_is_compared_has_the_depth_of_the_others():
    task = Task(make_space("cb", depths=[3], repeats=[1]), (0,), 40)
    trials = play(make_strategy("greedy", task, compare=True), lambda trial: Outcome(trial, 0.5))
    assert {trial.candidate.n_layers for trial in trials} == {3}


def test_a_candidate_is_worth_the_mean_of_its_seeds():
    outcomes = [Outcome(Trial("train", Candidate("cb"), i, 9), 0.2 + 0.4 * i) for i in (0, 1)]
    assert mean_scores(outcomes, 9) == {Candidate("cb"): pytest.approx(0.4)}


def test_of_equal_candidates_the_cheaper_comes_first():
    order = [Candidate("bb", 2), Candidate("cb", 4), Candidate("cb")]
    assert rank(dict.fromkeys([order[2], order[1], order[0]], 0.5)) == order
