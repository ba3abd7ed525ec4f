import pytest
import torch
from torch.testing import assert_close

from spacy_lgu.pretraining.learner import Learner

from .conftest import weights

CPU = torch.device("cpu")


def test_a_checkpoint_of_another_run(make_learner, tmp_path):
    make_learner(unmasking="ccbb").save(tmp_path)
    message = "run with unmasking = 'ccbb', but this one has unmasking = 'bbbb'"
    with pytest.raises(ValueError, match=message):
        make_learner(unmasking="bbbb").load(tmp_path)


def test_gradients_are_clipped_together(make_learner):
    learner = make_learner(peak=0.0)
    norms = []
    optimizer = learner.optimizers[0]
    optimizer.register_step_pre_hook(
        lambda optimizer, *_: norms.append(
            torch.cat([p.grad.ravel() for p in optimizer.param_groups[0]["params"]]).norm()
        )
    )
    packed = next(learner.windows.batches(64, CPU))
    for clip in (1e-3, 1e9):
        learner.step(packed, factor=1.0, clip=clip)
    assert norms[0] == pytest.approx(1e-3, rel=1e-3)
    assert norms[1] > 1e-2


def test_a_run_that_diverges_ends_before_the_weights_are_lost(make_learner):
    learner = make_learner()
    before = weights(learner)
    learner.decoder.base.norm.weight.data[0] = float("nan")
    packed = next(learner.windows.batches(64, CPU))
    with pytest.raises(ValueError, match="norm is nan in step 0: training has diverged"):
        learner.step(packed, factor=1.0, clip=1.0)
    for found, wanted in zip(weights(learner)[:-1], before[:-1], strict=True):
        assert_close(found, wanted)


def test_cuda_random_state_travels_with_the_checkpoint(make_learner, tmp_path, monkeypatch):
    learner = make_learner()
    monkeypatch.setattr(type(learner.decoder), "device", torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda: torch.tensor([7], dtype=torch.uint8))
    states = learner._random_states()
    assert states["cuda"].tolist() == [7]
    monkeypatch.undo()
    restored = []
    monkeypatch.setattr(torch.cuda, "set_rng_state", restored.append)
    monkeypatch.setattr(Learner, "_random_states", lambda self: states)
    learner.save(tmp_path)
    make_learner().load(tmp_path)
    assert [state.tolist() for state in restored] == [[7]]
    # Begun on a CPU.
    monkeypatch.setattr(Learner, "_random_states", lambda self: {"cpu": states["cpu"]})
    learner.save(tmp_path)
    monkeypatch.setattr(Learner, "_random_states", lambda self: states)
    make_learner().load(tmp_path)
    assert len(restored) == 1


def test_dropout_goes_on_where_it_stopped(make_learner, tmp_path):
    learner = make_learner()
    torch.manual_seed(3)
    learner.save(tmp_path)
    expected = torch.rand(3)
    torch.manual_seed(4)
    make_learner().load(tmp_path)
    assert_close(torch.rand(3), expected)
