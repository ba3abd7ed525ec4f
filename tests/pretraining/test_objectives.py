import numpy
import pytest
import torch
from torch.testing import assert_close

from spacy_lgu.decoder.packing import PackedBatch
from spacy_lgu.pretraining.objectives import (
    LinearCrossEntropy,
    Objective,
    check_directions,
    mask_subtoken,
)
from tests.conftest import make_tokenizer

CPU = torch.device("cpu")
BOS, MASK = 0, 2


def pack(*sequences):
    ids = numpy.concatenate([numpy.array(s) for s in sequences])
    return PackedBatch.pack(ids, [len(s) for s in sequences], device=CPU)


def make_objective(kind, **values):
    return Objective(kind, mask_id=MASK, special_ids=(BOS,), vocab_size=100, **values)


def test_causal_predicts_the_next_subtoken_of_the_same_sequence():
    packed = pack([BOS, 10, 11], [BOS, 12])
    task = make_objective("causal").task(packed, numpy.random.default_rng(0))
    assert task.packed is packed
    assert task.rows.tolist() == [0, 1, 3]
    assert task.targets.tolist() == [10, 11, 12]


def test_masked_predicts_at_the_place_and_masked_next_before_it():
    packed = pack([BOS, *range(10, 40)], [BOS, *range(40, 60)])
    ids = packed.ids[0]
    for kind, shift in (("masked", 0), ("masked-next", 1)):
        objective = make_objective(kind, mask_rate=0.5)
        task = objective.task(packed, numpy.random.default_rng(0))
        assert task.targets.tolist() == ids[task.rows + shift].tolist()
        assert BOS not in task.targets.tolist()
        changed = (task.packed.ids[0] != ids).nonzero()[:, 0]
        assert set(changed.tolist()) <= set((task.rows + shift).tolist())
        assert task.packed.positions is packed.positions


def test_masked_next_never_reaches_into_the_sequence_before():
    packed = pack([10, 11], [12, 13])  # without BOS
    objective = Objective("masked-next", mask_id=MASK, mask_rate=0.9, vocab_size=100)
    for seed in range(20):
        rows = objective.task(packed, numpy.random.default_rng(seed)).rows
        assert set(rows.tolist()) <= {0, 2}


def test_shares_of_what_is_shown():
    packed = pack(numpy.full(20_000, 50))
    objective = make_objective("masked", mask_rate=0.25)
    task = objective.task(packed, numpy.random.default_rng(0))
    shown = task.packed.ids[0, task.rows]
    assert len(task.rows) / 20_000 == pytest.approx(0.25, abs=0.02)
    assert (shown == MASK).float().mean() == pytest.approx(0.8, abs=0.02)
    assert (shown == 50).float().mean() == pytest.approx(0.1, abs=0.02)
    others = torch.ones(20_000, dtype=torch.bool)
    others[task.rows] = False
    assert (task.packed.ids[0, others] == 50).all()


def test_bad_values():
    with pytest.raises(ValueError, match="objective is 'mlm': expected one of"):
        Objective("mlm")
    with pytest.raises(ValueError, match=r"mask rate must lie in \(0, 1\), but is 1"):
        Objective("masked", mask_rate=1)


def test_objectives_and_patterns_that_do_not_go_together():
    check_directions("causal", (False, False))
    check_directions("masked-next", (False, True))
    with pytest.raises(ValueError, match="it would learn to copy"):
        check_directions("causal", (False, True))
    with pytest.raises(ValueError, match="'masked-next' is for patterns with unmasked groups"):
        check_directions("masked-next", (False, False))


def test_the_subtoken_that_stands_for_a_masked_one():
    tokenizer = make_tokenizer()
    assert tokenizer.convert_ids_to_tokens(mask_subtoken(tokenizer)) == "_"
    tokenizer.add_special_tokens({"mask_token": "<mask>"})
    assert mask_subtoken(tokenizer) == len(tokenizer) - 1


def test_no_subtoken_for_a_masked_one():
    class Tokenizer:
        mask_token_id = unk_token_id = None

        def __call__(self, text, add_special_tokens):
            return {"input_ids": [5, 6]}

        def convert_ids_to_tokens(self, ids):
            return ["x", "y"]

    with pytest.raises(ValueError, match="no mask token, and '_' is not one of its subtokens"):
        mask_subtoken(Tokenizer())


def test_the_unknown_subtoken_is_no_mask():
    class Tokenizer:
        mask_token_id, unk_token_id = None, 5

        def __call__(self, text, add_special_tokens):
            return {"input_ids": [5]}

    with pytest.raises(ValueError, match="no mask token, and '_' is not one of its subtokens"):
        mask_subtoken(Tokenizer())


def test_the_underscore_of_sentencepiece_follows_a_space():
    class Tokenizer:
        mask_token_id = unk_token_id = None

        def __call__(self, text, add_special_tokens):
            return {"input_ids": [5, 6]}

        def convert_ids_to_tokens(self, ids):
            return ["▁", "_"]

    assert mask_subtoken(Tokenizer()) == 6


@pytest.mark.parametrize("n_rows", [0, 1, 1100])
def test_cross_entropy_equals_torch(n_rows):
    torch.manual_seed(0)
    hidden = torch.randn(n_rows, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 8, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(11, (n_rows,))
    loss = LinearCrossEntropy.apply(hidden, weight, targets)
    expected = torch.nn.functional.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    expected = expected / max(1, n_rows)
    assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
    gradients = torch.autograd.grad(loss, (hidden, weight))
    for found, wanted in zip(
        gradients, torch.autograd.grad(expected, (hidden, weight)), strict=True
    ):
        assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_cross_entropy_with_a_frozen_head():
    hidden = torch.randn(3, 8, requires_grad=True)
    weight = torch.randn(11, 8)
    LinearCrossEntropy.apply(hidden, weight, torch.tensor([1, 2, 3])).backward()
    expected = hidden.detach().clone().requires_grad_()
    torch.nn.functional.cross_entropy(expected @ weight.T, torch.tensor([1, 2, 3])).backward()
    assert_close(hidden.grad, expected.grad)
    assert weight.grad is None
