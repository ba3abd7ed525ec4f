"""Searches from the command line on a tiny decoder, with real trainings."""

import json
import os
import shutil
import signal

import pytest
from spacy.util import load_config

from spacy_lgu.search import process
from spacy_lgu.search.checking import check_patterns
from spacy_lgu.search.folder import read_trials
from spacy_lgu.search.space import Space, make_space
from spacy_lgu.unmasking import LayerKind

from .conftest import failure, run


def search(arguments, folder, *options):
    config, *overrides = arguments
    return run("lgu", "search", config, folder, *options, *overrides)


def refuse(arguments, folder, *options):
    config, *overrides = arguments
    return failure("lgu", "search", config, folder, *options, *overrides)


def test_an_exhaustive_search(tmp_path, arguments, in_process):
    folder = tmp_path / "out"
    printed = search(arguments, folder, "--strategy", "exhaustive", "--groups", 1, "--seeds", 2)
    assert "16 training steps for 2 candidates: 100 % of the 16" in printed
    trials = read_trials(folder)
    assert [trial.name for trial, _ in trials] == ["c-s0-4", "b-s0-4", "c-s1-4", "b-s1-4"]
    for _, line in trials:
        assert [step for step, _ in line["curve"]] == [0, 2, 4]
        assert line["score"] == max(score for _, score in line["curve"])
        # The scores are those of the checkpoint that the score is of.
        assert line["scores"]["ents_f"] == pytest.approx(line["score"])
        assert len(line["documents"]) == 12
        correct, predicted, annotated = map(sum, zip(*line["documents"], strict=True))
        assert predicted > 0
        assert 2 * correct / (predicted + annotated) == pytest.approx(line["score"])
    gold = json.loads((folder / "predictions" / "gold.json").read_text())
    assert gold["texts"][0] == "Ann Lee works in Rome."
    assert gold["gold"][0] == [[0, 7, "PERSON"], [17, 21, "GPE"]]
    assert not list(folder.rglob("model-*"))

    best = load_config(folder / "best.cfg")
    means = {p: sum(line["score"] for t, line in trials if t.candidate.pattern == p) for p in "bc"}
    pattern = best["components"]["transformer"]["model"]["unmasking"]
    assert means[pattern] == max(means.values())
    assert best["training"]["max_steps"] == 4
    assert f"python -m spacy train {folder / 'best.cfg'}" in printed

    # Once more: nothing is repeated.
    n_jobs = len(in_process)
    search(arguments, folder, "--strategy", "exhaustive", "--groups", 1, "--seeds", 2)
    assert len(in_process) == n_jobs


def test_the_best_config_is_trained_by_spacy(tmp_path, arguments, in_process):
    options = ("--strategy", "exhaustive", "--patterns", "cb", "--max-trials", 1)
    search(arguments, tmp_path / "out", *options)
    run("train", tmp_path / "out" / "best.cfg", "--output", tmp_path / "trained")
    ((_, line),) = read_trials(tmp_path / "out")
    meta = json.loads((tmp_path / "trained" / "model-best" / "meta.json").read_text())
    assert meta["performance"]["ents_f"] == pytest.approx(line["score"])


def test_a_dry_run_trains_nothing(tmp_path, arguments, in_process):
    printed = search(arguments, tmp_path / "out", "--dry-run", "--seeds", 2)
    assert "12 training steps" not in printed
    assert "of trying all of them in full" in printed
    assert not in_process
    assert not (tmp_path / "out").exists()


def test_another_search_in_the_folder_is_refused(tmp_path, arguments, in_process):
    options = ("--strategy", "exhaustive", "--patterns", "cb")
    search(arguments, tmp_path, *options)
    message = refuse([*arguments, "--training.eval_frequency", 4], tmp_path, *options)
    assert "config training.eval_frequency was 2, now it is 4." in message
    message = refuse(arguments, tmp_path, "--strategy", "greedy", "--patterns", "cb")
    assert "search strategy was 'exhaustive', now it is 'greedy'." in message
    message = refuse(arguments, tmp_path, *options[:2], "--patterns", "cb,bb")
    assert 'space patterns was ["cb"], now it is ["cb", "bb"]' in message


def test_other_data_are_another_search(tmp_path, arguments, in_process, corpus):
    data = tmp_path / "train.spacy"
    data.write_bytes(corpus.read_bytes())
    with_data = [*arguments, "--paths.train", data]
    options = ("--strategy", "exhaustive", "--patterns", "cb")
    search(with_data, tmp_path / "out", *options)
    data.write_bytes(corpus.read_bytes() + b" ")
    assert "train.spacy was '" in refuse(with_data, tmp_path / "out", *options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--groups", 5], "Cannot divide 4 decoder layers into 5 layer groups"),
        (["--training.max_steps", 0], "training.max_steps is 0. Set it in the config"),
        (["--paths.dev", "none.spacy"], "none.spacy"),
        (["--component", "ner"], "Expected one in 'ner'"),
        (["--strategy", "best"], "There is no strategy 'best'"),
        (["--depths", "a"], "--depths expects whole numbers with commas between them, but got 'a'"),
        (["--minutes", -1], "Expected a budget of more than 0 minutes"),
        (["--training.score_weights.ents_f", 0.0], "has no score that counts"),
        (
            ["--repeats", "0,63"],
            "63 repeats: repeat = 63 runs each sequence 64 times, which leaves",
        ),
        (["--components.transformer.model.window", 65], "decoder was made for at most 64"),
        (["--gpus-per-trial", 0.5], "--cpus-per-trial and --gpus-per-trial are for --ray"),
        (["--ray", "auto", "--gpu-id", 0], "With --ray, give --gpus-per-trial 1."),
    ],
)
def test_what_cannot_be_searched_is_refused_at_once(
    tmp_path, arguments, in_process, options, message
):
    config, *overrides = arguments
    assert message in failure("lgu", "search", config, tmp_path / "out", *overrides, *options)
    assert not in_process
    assert not (tmp_path / "out").exists()


def test_a_decoder_without_a_pattern_is_refused(tmp_path, arguments):
    config, *overrides = arguments
    without = [line for line in config.read_text().splitlines() if "unmasking =" not in line]
    (tmp_path / "config.cfg").write_text("\n".join(without))
    message = refuse([tmp_path / "config.cfg", *overrides], tmp_path / "out")
    assert "[components.transformer.model] has no unmasking: expected a pattern" in message


def test_another_decoder_under_the_same_name_is_another_search(
    tmp_path, arguments, in_process, decoder_folder
):
    decoder = tmp_path / "decoder"
    shutil.copytree(decoder_folder, decoder)
    given = [*arguments, "--paths.decoder", decoder]
    options = ("--strategy", "exhaustive", "--patterns", "cb")
    search(given, tmp_path / "out", *options)
    weights = decoder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    assert f"file {decoder} was '" in refuse(given, tmp_path / "out", *options)


def test_groups_without_a_mask_are_refused_at_once():
    kinds = [LayerKind.RECURRENT] * 3 + [LayerKind.ATTENTION]
    check_patterns(Space(2), kinds * 2)
    with pytest.raises(ValueError, match=r"Of 4 layer groups, group 1 \(layers 0 to 1\) has no"):
        check_patterns(Space(4), kinds * 2)
    check_patterns(make_space("c", patterns=["cbcc", "bbcc"]), kinds * 2)
    with pytest.raises(ValueError, match="The unmasking pattern 'bccc' unmasks layers 0-1, none"):
        check_patterns(make_space("c", patterns=["cbcc", "bccc"]), kinds * 2)


def test_a_search_with_failed_trials_is_not_finished(tmp_path, arguments, in_process, monkeypatch):
    options = ("--strategy", "exhaustive", "--groups", 1)
    folder = tmp_path / "out"

    def fail(config, *args, **given):
        if "b-s0-4" in str(config):
            raise ValueError("no such luck")
        return train(config, *args, **given)

    train = process.train
    monkeypatch.setattr(process, "train", fail)
    assert "1 trial failed" in refuse(arguments, folder, *options)
    assert "# The best so far" in (folder / "best.cfg").read_text()
    assert "not finished" in (folder / "report.html").read_text()


def test_a_search_that_is_killed_in_mid_trial_goes_on(tmp_path, arguments, in_process, monkeypatch):
    folder = tmp_path / "out"
    options = ("--strategy", "exhaustive", "--groups", 1)
    search_process = os.fork()
    if not search_process:
        monkeypatch.setattr(process, "train", kill_in_second(process.train))
        try:
            search(arguments, folder, *options)
        finally:
            os._exit(1)
    status = os.waitpid(search_process, 0)[1]
    assert os.WIFSIGNALED(status)
    assert (folder / "trials" / "b-s0-4" / "model-last").exists()
    before = (folder / "results.jsonl").read_bytes()
    assert before.count(b"\n") == 1
    assert "# The best so far" in (folder / "best.cfg").read_text()
    assert "not finished" in (folder / "report.html").read_text()
    printed = search(arguments, folder, *options)
    assert (folder / "results.jsonl").read_bytes().startswith(before)
    assert [trial.name for trial, _ in read_trials(folder)] == ["c-s0-4", "b-s0-4"]
    assert "c-s0-4:" not in printed
    assert len(in_process) == 1
    assert "# The best of" in (folder / "best.cfg").read_text()
    assert "not finished" not in (folder / "report.html").read_text()


def kill_in_second(train):
    """A training that kills its process at step 2, the second time."""
    n_trainings = 0

    def train_and_kill(*args, **options):
        nonlocal n_trainings
        n_trainings += 1

        def kill(nlp, args):
            if n_trainings == 2 and args["step"] == 2:
                os.kill(os.getpid(), signal.SIGKILL)

        return train(*args, before_update=kill, **options)

    return train_and_kill


def test_shared_weights_score_all_candidates(tmp_path, arguments, in_process):
    options = ("--strategy", "oneshot", "--top", 1, "--draw", "middle", "--keep")
    printed = search(arguments, tmp_path, *options)
    (shared, line), (best, _) = read_trials(tmp_path)
    assert (shared.name, best.kind) == ("oneshot-s0-4", "train")
    assert len(line["found"]) == 16
    scores = {entry["pattern"]: entry["score"] for entry in line["found"]}
    assert scores[best.candidate.pattern] == max(scores.values()) == line["score"]
    assert "oneshot-s0-4: 16 candidates scored" in printed
    # The drawing is over: what is saved says nothing of it.
    saved = load_config(tmp_path / "trials" / shared.name / "model-last" / "config.cfg")
    ours = load_config(arguments[0])["training"]
    assert [saved["training"][part] for part in ("before_update", "logger")] == [
        ours["before_update"], ours["logger"]
    ]  # fmt: skip


@pytest.mark.parametrize("strategy", ["oneshot", "gates"])
def test_what_would_be_trained_next_is_the_best_so_far(tmp_path, arguments, in_process, strategy):
    options = ("--strategy", strategy, "--groups", 2, "--top", 1)
    printed = search(arguments, tmp_path, *options, "--max-trials", 1)
    assert "report.html" not in printed  # which shows trainings
    text = (tmp_path / "best.cfg").read_text()
    assert "# Chosen in one training for all candidates; not trained yet.\n" in text
    model = load_config(tmp_path / "best.cfg")["components"]["transformer"]["model"]
    search(arguments, tmp_path, *options)
    _, (trained, _) = read_trials(tmp_path)
    assert trained.candidate.pattern == model["unmasking"]
    assert "on dev after 4 steps, 1 seed." in (tmp_path / "best.cfg").read_text()


def test_depths_and_repeats_are_searched(tmp_path, arguments, in_process):
    space = ("--groups", 1, "--depths", "4,2", "--repeats", "0,1")
    search(arguments, tmp_path / "shared", "--strategy", "oneshot", "--top", 1, *space)
    (_, line), (trial, _) = read_trials(tmp_path / "shared")
    assert len(line["found"]) == 8
    model = load_config(tmp_path / "shared" / "best.cfg")["components"]["transformer"]["model"]
    chosen = (model["unmasking"], model["n_layers"], model["repeat"])
    assert chosen == (trial.candidate.pattern, trial.candidate.n_layers, trial.candidate.repeat)
    assert in_process[0]["kind"] == "oneshot"
    message = refuse(arguments, tmp_path / "out", "--depths", "4,5")
    assert "n_layers is 5, but the decoder" in message
    message = refuse(arguments, tmp_path / "out", "--depths", 2)
    assert "Cannot divide 2 decoder layers into 4 layer groups" in message


def test_gates_choose_a_pattern(tmp_path, arguments, in_process):
    printed = search(arguments, tmp_path, "--strategy", "gates", "--top", 1, "--groups", 2)
    (gated, line), (nearest, _) = read_trials(tmp_path)
    assert (gated.name, line["score"]) == ("gates-s0-4", None)
    assert len(line["layers"]) == 4
    assert line["gates"] == pytest.approx([sum(line["layers"][i : i + 2]) / 2 for i in (0, 2)])
    letters = "".join("b" if gate > 0.5 else "c" for gate in line["gates"])
    assert nearest.candidate.pattern == letters
    assert "gates-s0-4: gates 0." in printed


def test_gates_cannot_learn_beside_a_frozen_decoder(tmp_path, arguments):
    options = ("--strategy", "gates", "--components.transformer.model.tuning", "frozen")
    assert "no gradient reaches the decoder" in refuse(arguments, tmp_path / "out", *options)


def test_halving_in_real_trainings(tmp_path, arguments, in_process):
    options = ("--strategy", "halving", "--factor", 2, "--shortest", 0.5, "--patterns", "cc,cb,bb")
    search(arguments, tmp_path, *options)
    trials = read_trials(tmp_path)
    assert [trial.steps for trial, _ in trials] == [2, 2, 2, 4, 4]
    assert [step for step, _ in trials[0][1]["curve"]] == [0, 1, 2]


def test_a_failed_trial_is_told(tmp_path, arguments, in_process, monkeypatch):
    train = process.train

    def fail(config, *args, **options):
        if "bb" in config.read_text():
            raise ValueError("no such luck")
        return train(config, *args, **options)

    monkeypatch.setattr(process, "train", fail)
    options = ("--strategy", "exhaustive", "--patterns", "cc,bb")
    message = refuse(arguments, tmp_path, *options)
    assert "bb-s0-4: failed, see" in message
    assert "which ends with: no such luck" in message
    assert "1 trial failed" in message
    assert "best.cfg" in message


def test_a_search_whose_trials_all_fail_ends(tmp_path, arguments, in_process, monkeypatch):
    def fail(*args, **options):
        raise ValueError("no such luck")

    monkeypatch.setattr(process, "train", fail)
    message = refuse(arguments, tmp_path, "--strategy", "exhaustive")
    assert "All trials failed so far, so the search ends: see" in message
    assert "which ends with: no such luck" in message
    assert len(in_process) == 1


def test_trials_in_processes_of_their_own(tmp_path, arguments):
    folder = tmp_path / "out"
    printed = search(arguments, folder, "--strategy", "exhaustive", "--groups", 1, "--workers", 2)
    assert {trial.name for trial, _ in read_trials(folder)} == {"c-s0-4", "b-s0-4"}
    log = (folder / "trials" / "c-s0-4" / "train.log").read_text()
    assert "LOSS TRANS" in log
    assert "dev " in printed


def test_a_full_disk_is_named(tmp_path, arguments, in_process, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    folder = tmp_path / "out"
    monkeypatch.setattr("spacy_lgu.search.running.keep_result", fail)
    told = refuse(arguments, folder, "--strategy", "exhaustive", "--groups", 1)
    assert f"There is no space left for {str(folder)!r}. Free some, and give the same" in told
    assert "finished trials are kept" in told
