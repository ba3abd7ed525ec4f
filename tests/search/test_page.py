"""What a search has found: figures, pictures and the page."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from spacy_lgu.search.best import find_standings
from spacy_lgu.search.charts import (
    Point,
    _Axis,
    draw_curves,
    draw_effects,
    draw_front,
    draw_heat_map,
)
from spacy_lgu.search.folder import keep_result, make_outcome, read_trials
from spacy_lgu.search.page import write_page
from spacy_lgu.search.space import Candidate, Space, make_space
from spacy_lgu.search.summary import Effect, find_effects, find_front, summarize
from spacy_lgu.search.svg import tag, text
from spacy_lgu.search.trials import Task, Trial

from .helpers import SCORES

TASK = Task(Space(4), (0, 1), 900)
TEXTS = ["Ann saw <script>alert(1)</script> & Bo", "Oslo"]
GOLD = [[[0, 3, "PER<b>"]], [[0, 4, "GPE"]]]


def add(folder, trial, score, **figures):
    line = {
        "score": score,
        "seconds": 60.0,
        "curve": [[0, 0.0], [trial.steps // 2, score / 2], [trial.steps, score]],
        "scores": {"speed": 2000.0},
        "documents": [[int(100 * score), 100, 100], [50, 100, 100]],
    }
    keep_result(folder, trial, {**line, **figures})


@pytest.fixture
def folder(tmp_path) -> Path:
    """All candidates with two seeds; texts in which the best is right and all-causal is not."""
    predictions = tmp_path / "predictions"
    predictions.mkdir()
    (predictions / "gold.json").write_text(json.dumps({"texts": TEXTS, "gold": GOLD}))
    for seed in (0, 1):
        for pattern, score in SCORES.items():
            trial = Trial("train", Candidate(pattern), seed, 900)
            add(tmp_path, trial, score + seed * (0.01 if pattern == "ccbb" else 0.0))
            found = GOLD if pattern == "ccbb" else [[], GOLD[1]]
            (predictions / f"{trial.name}.json").write_text(json.dumps(found))
    return tmp_path


class Reader(HTMLParser):
    """Collects elements, and checks that each is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.texts = [], [], []

    def handle_starttag(self, name, attributes):
        self.seen.append((name, dict(attributes)))
        if name not in ("meta", "br"):
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        self.texts.append(data)


def read(file):
    reader = Reader()
    reader.feed(file.read_text())
    assert reader.open == []
    return reader


def test_the_page(folder):
    page = folder / "report.html"
    write_page(page, read_trials(folder), TASK, title="a & b", is_final=True)
    reader = read(page)
    words = " ".join(" ".join(reader.texts).split())
    for expected in (
        "a & b", "best ccbb", "70.50 (mean of 2 seeds)", "group 4", "all causal cccc +20.50",
        "the runner-up cbbb +1.50", "100 % of what trying every candidate", "In 1 text of dev",
        "<script>alert(1)</script>", "PER<b>", "ccbb: 70.50 after 900 steps (seeds: 70.00, 71.00)",
    ):  # fmt: skip
        assert expected in words
    assert "not finished" not in words
    assert [name for name, _ in reader.seen].count("article") == 1
    assert [name for name, _ in reader.seen].count("svg") == 5


def test_the_page_asks_nobody_for_anything(folder):
    page = folder / "report.html"
    write_page(page, read_trials(folder), TASK, title="x", is_final=True)
    reader = read(page)
    names = {name for name, _ in reader.seen}
    assert not names & {"script", "link", "img", "iframe", "a", "object", "embed", "use"}
    for _, attributes in reader.seen:
        assert not {"href", "src", "srcset", "onload", "onclick"} & set(attributes)
    content = page.read_text()
    assert not re.search(r"url\(|@import|https?:", content)
    assert "default-src 'none'" in content
    assert "prefers-color-scheme: dark" in content
    assert "width=device-width" in content


def test_a_page_of_the_first_trial(tmp_path):
    add(tmp_path, Trial("train", Candidate("cccb"), 0, 100), 0.5, documents=None, scores={})
    page = tmp_path / "report.html"
    write_page(page, read_trials(tmp_path), TASK, title="x", is_final=False)
    words = " ".join(read(page).texts)
    assert "The search is not finished." in words
    assert "No candidate is trained in full yet: 100 of 900 steps." in words
    assert "Nothing to compare the best with" in words


def test_pages_of_depths_and_of_shared_trainings(tmp_path):
    space = make_space("cb", depths=[24, 32], repeats=[0, 1])
    task = Task(space, (0,), 900)
    shared = [{"pattern": c.pattern, "n_layers": c.n_layers, "repeat": c.repeat, "score": 0.5}
              for c in space]  # fmt: skip
    start = Candidate("cc", 32, 1)
    keep_result(
        tmp_path, Trial("oneshot", start, 0, 900), {"score": 0.5, "seconds": 1.0, "found": shared}
    )
    gates = {"score": None, "seconds": 1.0, "gates": [0.25, 0.75]}
    keep_result(tmp_path, Trial("gates", start, 0, 900), gates)
    for candidate in list(space)[:3]:
        add(tmp_path, Trial("train", candidate, 0, 900), 0.5)
    page = tmp_path / "report.html"
    write_page(page, read_trials(tmp_path), task, title="x", is_final=True)
    words = " ".join(read(page).texts)
    for expected in ("24 layers, 1 repeat", "Scores with shared weights", "Learned gates", "0.75"):
        assert expected in words


def test_main_effects_are_of_pairs_alone():
    lines = [
        (Trial("train", Candidate(p), 0, 900), {"score": s})
        for p, s in {"cc": 0.5, "cb": 0.6, "bb": 0.9}.items()
    ]
    lines.append((Trial("train", Candidate("bc"), 0, 100), {"score": 0.0}))
    first, second = find_effects(lines, {}, Space(2))
    assert (first.group, first.n_pairs) == (0, 1)
    assert first.difference == pytest.approx(0.3)
    assert (second.n_pairs, second.difference) == (1, pytest.approx(0.1))
    assert find_effects(lines[:1], {}, Space(2)) == []
    # Shared weights tell of more pairs.
    shared = {Candidate(p): s for p, s in {"cc": 0.1, "cb": 0.3, "bc": 0.1, "bb": 0.5}.items()}
    first, second = find_effects(lines, shared, Space(2))
    assert (second.n_pairs, second.difference) == (2, pytest.approx(0.3))
    assert (second.low, second.high) == (pytest.approx(0.2), pytest.approx(0.4))


def test_the_front_is_beaten_by_none():
    points = [(1.0, 0.5), (2.0, 0.4), (2.0, 0.7), (3.0, 0.7), (0.5, 0.1)]
    assert find_front(points) == [4, 0, 2]


def test_comparisons(folder):
    summary = summarize(read_trials(folder), TASK)
    causal, opened, runner_up = summary.comparisons
    assert (causal.title, causal.candidate, causal.seeds) == (
        "all causal",
        Candidate("cccc"),
        [0, 1],
    )
    assert causal.difference == pytest.approx(0.205)
    assert causal.p_value == pytest.approx(0.0078, abs=1e-3)
    assert causal.bootstrap.difference == pytest.approx(0.1025, abs=0.01)
    assert (opened.candidate, runner_up.candidate) == (Candidate("bbbb"), Candidate("cbbb"))


def test_one_seed_has_no_t_test(tmp_path):
    for pattern in ("cccc", "ccbb"):
        add(tmp_path, Trial("train", Candidate(pattern), 0, 900), SCORES[pattern])
    causal, _ = summarize(read_trials(tmp_path), TASK).comparisons
    assert (causal.p_value, causal.why_not) == (None, "needs two seeds")
    assert causal.bootstrap is not None


def test_only_trainings_of_one_length_with_common_seeds_are_compared(tmp_path):
    add(tmp_path, Trial("train", Candidate("cccc"), 0, 100), 0.9)
    add(tmp_path, Trial("train", Candidate("bbbb"), 1, 900), 0.2)
    add(tmp_path, Trial("train", Candidate("ccbb"), 0, 900), 0.7)
    assert summarize(read_trials(tmp_path), TASK).comparisons == []
    # Of the best there are both seeds now; the texts of that which both have count.
    for seed, documents in ((0, [[0, 100, 100], [0, 100, 100]]), (1, [[90, 100, 100]] * 2)):
        add(tmp_path, Trial("train", Candidate("cbbb"), seed, 900), 0.8, documents=documents)
    opened, runner_up = summarize(read_trials(tmp_path), TASK).comparisons
    assert (opened.candidate, opened.seeds) == (Candidate("bbbb"), [1])
    assert opened.bootstrap.difference == pytest.approx(0.9 - (0.2 + 0.5) / 2)
    assert (runner_up.candidate, runner_up.seeds) == (Candidate("ccbb"), [0])


def test_texts_of_another_number_are_not_compared(tmp_path):
    """A reader of dev may draw its texts."""
    for pattern in ("cccc", "ccbb"):
        for seed in (0, 1):
            documents = [[1, 2, 2]] * (3 + seed)
            trial = Trial("train", Candidate(pattern), seed, 900)
            add(tmp_path, trial, SCORES[pattern], documents=documents)
    causal, _ = summarize(read_trials(tmp_path), TASK).comparisons
    assert causal.bootstrap is None


def test_texts_are_those_of_a_common_seed(tmp_path):
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions" / "gold.json").write_text(json.dumps({"texts": TEXTS, "gold": GOLD}))
    for pattern, seeds in (("ccbb", (0, 1)), ("cccc", (1, 2))):
        for seed in seeds:
            trial = Trial("train", Candidate(pattern), seed, 900)
            add(tmp_path, trial, SCORES[pattern])
            found = GOLD if (pattern, seed) == ("ccbb", 1) else [[], []]
            (tmp_path / "predictions" / f"{trial.name}.json").write_text(json.dumps(found))
    page = tmp_path / "report.html"
    write_page(page, read_trials(tmp_path), TASK, title="x", is_final=True)
    assert "In 2 texts of dev" in page.read_text()


def test_trainings_of_other_lengths_have_their_own_pictures(tmp_path):
    for pattern in ("cccc", "ccbb", "bbbb"):
        trial = Trial("train", Candidate(pattern), 0, 100)
        add(tmp_path, trial, 0.9, scores={"speed": 9000.0})
    add(tmp_path, Trial("train", Candidate("ccbb"), 0, 900), SCORES["ccbb"])
    summary = summarize(read_trials(tmp_path), TASK)
    assert {steps: len(rows) for steps, rows in summary.stages.items()} == {900: 1, 100: 3}
    (row,) = summary.longest
    assert (row.words_per_second, [step for step, _ in row.curve]) == (2000.0, [0, 450, 900])
    page = tmp_path / "report.html"
    write_page(page, read_trials(tmp_path), TASK, title="x", is_final=True)
    words = " ".join(read(page).texts)
    assert words.index("candidates after 900 steps") < words.index("candidates after 100 steps")
    assert words.count("at the end") == 1


def test_effects_are_of_one_depth_each():
    scores = {("c", 2): 0.5, ("b", 2): 0.6, ("c", 4): 0.1, ("b", 4): 0.4}
    lines = [(Trial("train", Candidate(*c), 0, 9), {"score": s}) for c, s in scores.items()]
    (effect,) = find_effects(lines, {}, Space(1))
    assert (effect.n_pairs, effect.difference) == (2, pytest.approx(0.2))


def test_overlapping_spans_are_shown_below_each_other(tmp_path):
    content = "The old man <b> slept"
    gold = [[[0, 15, "NP"], [4, 11, "NP<i>"]]]
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions" / "gold.json").write_text(
        json.dumps({"texts": [content], "gold": gold})
    )
    for pattern, found in (("ccbb", gold), ("cccc", [[]])):
        trial = Trial("train", Candidate(pattern), 0, 900)
        add(tmp_path, trial, SCORES[pattern])
        (tmp_path / "predictions" / f"{trial.name}.json").write_text(json.dumps(found))
    page = tmp_path / "report.html"
    write_page(page, read_trials(tmp_path), TASK, title="x", is_final=True)
    words = " ".join(" ".join(read(page).texts).split())
    assert words.count("NP<i>") == 2
    assert "The old man <b> slept" in words  # where nothing is found
    assert words.count("old") == words.count("man") == words.count("<b>") == 3


def test_longer_trainings_and_more_seeds_stand_first(tmp_path):
    add(tmp_path, Trial("train", Candidate("cccc"), 0, 100), 0.9)
    add(tmp_path, Trial("train", Candidate("bbbb"), 0, 900), 0.8)
    for seed in (0, 1):
        add(tmp_path, Trial("train", Candidate("ccbb"), seed, 900), 0.7)
        add(tmp_path, Trial("train", Candidate("cccb"), seed, 900), 0.6)
    standings = find_standings(make_outcome(t, line) for t, line in read_trials(tmp_path))
    assert [s.candidate.pattern for s in standings] == ["ccbb", "cccb", "bbbb", "cccc"]
    assert standings[0].mean == pytest.approx(0.7)


def test_marks_are_escaped():
    assert text('<a & "b">') == "&lt;a &amp; &quot;b&quot;&gt;"
    assert (
        tag("p", text("<"), class_='x"y', data_z=1.5) == '<p class="x&quot;y" data-z="1.5">&lt;</p>'
    )


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0.5, 0.5), (0, 20_000), (-0.3, 0.01), (3, 3.001)]
)
def test_ticks_are_few_and_round(low, high):
    axis = _Axis(low, high, 0.0, 100.0)
    ticks = axis.find_ticks()
    assert 3 <= len(ticks) <= 12
    assert all(0 <= axis.place(tick) <= 100 for tick in ticks)


def test_high_scores_are_dark_and_stand_high():
    cells = {("a", "x"): (0.1, "low"), ("a", "y"): (0.9, "high"), ("b", "x"): (0.5, "half")}
    drawn = draw_heat_map(["a", "b"], ["x", "y"], cells, title="x")
    fills = dict(re.findall(r"<title>(\w+)</title><rect [^>]*fill=\"(#\w+)\"", drawn))
    assert fills == {"low": "#e8eef7", "high": "#184e94", "half": "#809ec6"}
    drawn = draw_curves([("a", [(0, 0.2), (10, 0.8)])])
    ((start, end),) = re.findall(r"<polyline points=\"\S+,(\S+) \S+,(\S+)\"", drawn)
    assert float(start) > float(end)


def test_pictures_of_single_values():
    assert "<svg" in draw_front([Point(1.0, 0.5, "a", "b")], x_title="x")
    assert "<svg" in draw_curves([("a", [(0, 0.0), (4, 0.0)])])
    assert "<svg" in draw_effects([Effect(0, 0.0, 0.0, 0.0, 1)])
