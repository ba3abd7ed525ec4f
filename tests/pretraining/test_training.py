import json
import math
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors import safe_open
from torch.testing import assert_close

from spacy_lgu.pretraining import training
from spacy_lgu.pretraining.learner import CHECKPOINT, Learner, Progress
from spacy_lgu.pretraining.training import Budget, peak_flops, train

from .conftest import weights

CPU = torch.device("cpu")


def run(learner, steps, folder, *, begun=0.0, decay=0.25, validate=None, validate_every=1e9):
    train(
        learner,
        Budget(steps, "step", warmup=2, decay=decay, begun=begun),
        batch_subtokens=64,
        clip=1.0,
        checkpoint=folder,
        validate=validate or (lambda: 1.5),
        metric="nats",
        validate_every=validate_every,
    )


def test_learning_rate_warms_up_stays_and_decays():
    budget = Budget(100, "step", warmup=4, decay=0.25)
    steps = (0, 1, 3, 50, 75, 80, 90, 100, 110)
    factors = [budget.factor(Progress(step=step)) for step in steps]
    assert factors == pytest.approx([0.25, 0.5, 1, 1, 1, 0.8, 0.4, 0, 0])
    assert [budget.decays(Progress(step=step)) for step in (75, 76)] == [False, True]


def test_a_budget_that_begins_later():
    budget = Budget(60, "seconds", warmup=1, decay=0.5, begun=100)
    factors = [budget.factor(Progress(seconds=s)) for s in (100, 130, 145, 160)]
    assert factors == pytest.approx([1, 1, 0.5, 0])


def test_ending_early_decays_over_the_same_share():
    budget = Budget(1000, "step", warmup=1, decay=0.25)
    budget.end_early(Progress(step=300))
    assert budget.total == pytest.approx(400)
    budget.end_early(Progress(step=390))  # in the decay, nothing changes
    assert budget.total == pytest.approx(400)
    budget = Budget(1000, "step", warmup=1, decay=1.0)
    budget.end_early(Progress(step=0))
    assert budget.total == pytest.approx(1)


@pytest.mark.parametrize("kind", ["causal", "masked", "masked-next"])
def test_training_lowers_the_loss(make_learner, tmp_path, kind):
    learner = make_learner(kind)
    run(learner, 40, tmp_path)
    losses = [entry[2] for entry in learner.progress.history[:-1]]
    assert losses[-1] < 0.85 * losses[0]
    assert learner.progress.step == 40
    assert learner.progress.history[-1][2:] == [None, 1.5]
    assert not learner.decoder.training


def test_an_interrupted_run_equals_a_straight_one(make_learner, tmp_path):
    straight = make_learner("masked")
    run(straight, 8, tmp_path / "a")
    expected = weights(straight)
    resumed = make_learner("masked")
    resumed.load(tmp_path / "a")
    assert resumed.progress.step == 7  # of 8: the last checkpoint is from before the decay
    run(resumed, 8, tmp_path / "b")
    for found, wanted in zip(weights(resumed), expected, strict=True):
        assert_close(found, wanted, rtol=0, atol=0)


def test_a_run_that_is_resumed_has_to_leave_time_for_the_decay(make_learner, tmp_path):
    run(make_learner(), 8, tmp_path)
    resumed = make_learner()
    resumed.load(tmp_path)
    with pytest.raises(ValueError, match=r"to take 7 steps, but its checkpoint is at 7.*longer"):
        run(resumed, 7, tmp_path)


def test_each_validation_saves_a_checkpoint(make_learner, tmp_path):
    learner = make_learner()
    modes, steps = [], []

    def validate():
        modes.append(learner.decoder.training)
        if (tmp_path / CHECKPOINT).exists():
            with safe_open(tmp_path / CHECKPOINT, "pt") as file:
                progress = json.loads(file.metadata()["progress"])
            steps.append(progress["step"])
            assert [entry[3] for entry in progress["history"]] == [2.0] * len(steps)
        return 2.0

    run(learner, 4, tmp_path, validate=validate, validate_every=0)
    assert modes == [False] * 5
    assert steps == [1, 2, 3, 4]
    assert [entry[3] for entry in learner.progress.history] == [2.0] * 5


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupt_begins_the_decay(make_learner, tmp_path, name, monkeypatch):
    learner = make_learner()
    step = Learner.step
    factors = []

    def interrupted(self, packed, *, factor, clip):
        factors.append(factor)
        if len(factors) == 6:
            os.kill(os.getpid(), getattr(signal, name))
        return step(self, packed, factor=factor, clip=clip)

    monkeypatch.setattr(Learner, "step", interrupted)
    before = signal.getsignal(signal.SIGINT)
    run(learner, 1000, tmp_path, decay=0.5)
    assert len(factors) == 12
    assert factors[5:] == pytest.approx([1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    assert (tmp_path / CHECKPOINT).exists()
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_in_the_decay_is_noted(make_learner, tmp_path, monkeypatch, capsys):
    learner = make_learner()
    step = Learner.step

    def interrupted(self, packed, **options):
        if self.progress.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, packed, **options)

    monkeypatch.setattr(Learner, "step", interrupted)
    run(learner, 5, tmp_path, decay=1.0)
    assert learner.progress.step == 5
    message = "Interrupted: the decay goes on. Interrupt again to stop at once."
    assert capsys.readouterr().out.count(message) == 1


def test_a_second_interrupt_stops_at_once(make_learner, tmp_path, monkeypatch):
    learner = make_learner()

    def interrupted(self, packed, *, factor, clip):
        os.kill(os.getpid(), signal.SIGINT)
        return 1.0

    monkeypatch.setattr(Learner, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(learner, 1000, tmp_path)


def test_trains_outside_of_the_main_thread(make_learner, tmp_path):
    learner = make_learner()
    with ThreadPoolExecutor(1) as threads:
        threads.submit(run, learner, 2, tmp_path).result()
    assert learner.progress.step == 2


def test_a_validation_score_that_is_not_finite_ends_the_run(make_learner, tmp_path):
    scores = iter([2.0, math.nan])
    with pytest.raises(ValueError, match="score is nan nats after step 2: training has diverged"):
        run(make_learner(), 4, tmp_path, validate=lambda: next(scores), validate_every=0)
    with safe_open(tmp_path / CHECKPOINT, "pt") as file:
        assert json.loads(file.metadata()["progress"])["step"] == 1


def test_flops_count_what_is_trained_and_predicted(make_learner):
    learner = make_learner()
    layers = sum(p.numel() for p in learner.decoder.base.layers.parameters())
    norm = learner.decoder.base.norm.weight.numel()
    head = learner.head.numel()
    expected = 6 * layers + 2 * norm + 6 * head
    assert training._flops_per_subtoken(learner) == expected
    learner.head.requires_grad_(False)
    masked = make_learner("masked")
    masked.head.requires_grad_(False)
    expected = 6 * layers + 2 * norm + 4 * 0.3 * head
    assert training._flops_per_subtoken(masked) == pytest.approx(expected)


def test_peak_of_known_and_unknown_devices(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert peak_flops(CPU) == 4 * 2.2e11
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    assert peak_flops(torch.device("cuda")) == 9.9e14
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some card")
    assert math.isnan(peak_flops(torch.device("cuda")))


def test_unknown_peak_shows_no_share(make_learner, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training, "peak_flops", lambda device: math.nan)
    run(make_learner(), 2, tmp_path)
    printed = capsys.readouterr().err
    assert "subtokens/s" in printed
    assert "peak" not in printed
