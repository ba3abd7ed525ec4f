import numpy
import pytest
import torch

from spacy_lgu.decoder import plain_attention
from spacy_lgu.decoder.attention import packed_attention
from spacy_lgu.decoder.packing import PackedBatch
from spacy_lgu.decoder.plain_attention import attend_plainly

from .reference import CPU, relative_error
from .test_attention import Layer, heads, visible

SINKS = torch.tensor([0.5])


def by_hand(Q, K, V, *, visible=None, softcap=None, sinks=None, scaling=None):
    """One sequence: a score for every pair, and a column of sinks."""
    K, V = (X.repeat_interleave(len(Q) // len(K), 0) for X in (K, V))
    scores = Q @ K.mT * (scaling or Q.shape[-1] ** -0.5)
    if softcap is not None:
        scores = (scores / softcap).tanh() * softcap
    if visible is not None:
        scores = scores.masked_fill(~visible, -torch.inf)
    if sinks is not None:
        scores = torch.cat([scores, sinks[:, None, None].expand(-1, len(Q[0]), 1)], dim=-1)
    return scores.softmax(-1)[..., : len(K[0])] @ V


def back(length):
    return torch.arange(length)[:, None] - torch.arange(length)[None]


KINDS = [{"softcap": 1.5}, {"s_aux": SINKS}, {"softcap": 1.5, "s_aux": SINKS}]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_see_what_they_see_without(kind):
    for direction in (
        {"unmasked": True},
        {"unmasked": False},
        {"unmasked": False, "lengths": (4, 1), "sliding_window": 2},
        {"unmasked": True, "sliding_window": 2},
    ):
        assert visible(**direction, **kind) == visible(**direction)


def test_a_soft_cap_bends_the_scores():
    Q = torch.tensor([[[[8.0, 0.0], [0.0, 8.0]]]])
    V = torch.eye(2)[None, None]
    Y = attend_plainly(Q, V, V, None, unmasked=True, scaling=1.0, softcap=2.0)
    # Scores of 8 and 0 become 2 tanh(4) = 1.99866 and 0.
    expected = torch.tensor([[0.880656, 0.119344], [0.119344, 0.880656]])
    torch.testing.assert_close(Y[0, 0], expected, atol=1e-5, rtol=0)


def test_a_sink_takes_its_share_of_the_softmax():
    Q, V = torch.zeros(1, 2, 1, 1), torch.ones(1, 1, 1, 1)
    sinks = torch.tensor([0.0, 1.0])
    Y = attend_plainly(Q, V, V, None, unmasked=True, sinks=sinks)
    # The only score is 0: 1 / (1 + e^0) and 1 / (1 + e^1).
    torch.testing.assert_close(Y[0, :, 0, 0], torch.tensor([0.5, 0.268941]), atol=1e-5, rtol=0)


def test_without_either_it_is_softmax_attention():
    Q, K, V = heads(4), heads(2, seed=1), heads(2, seed=2)
    Y = attend_plainly(Q, K, V, None, unmasked=False)
    expected = torch.nn.functional.scaled_dot_product_attention(
        Q, K, V, is_causal=True, enable_gqa=True
    )
    assert relative_error(Y, expected) < 1e-6


@pytest.mark.parametrize("max_scores", [2**24, 4 * 60 * 10, 1])
@pytest.mark.parametrize("window", [None, 3, 40])
@pytest.mark.parametrize("unmasked", [True, False])
def test_blocks_of_rows_equal_one_block_with_gradients(monkeypatch, unmasked, window, max_scores):
    monkeypatch.setattr(plain_attention, "_MAX_SCORES", max_scores)
    monkeypatch.setattr(plain_attention, "SLIDING_BLOCK", 7)
    lengths = [60, 57, 1]
    packed = PackedBatch.pack(numpy.arange(118), lengths, device=CPU)
    Xs = [heads(n, 118, seed=seed, requires_grad=True) for seed, n in enumerate((4, 2, 2))]
    sinks = torch.randn(4, generator=torch.Generator().manual_seed(3), requires_grad=True)
    options = {"softcap": 1.5, "scaling": 0.9}
    Y, _ = packed_attention(
        Layer(), *Xs, None, packed=packed, unmasked=(unmasked,), sliding_window=window,
        s_aux=sinks, **options,
    )  # fmt: skip
    expected = []
    for rows in torch.arange(118).split(lengths):
        seen = back(len(rows)) >= 0
        if window is not None:
            seen &= back(len(rows)) < window
        one = [X[0, :, rows] for X in Xs]
        expected.append(by_hand(*one, visible=None if unmasked else seen, sinks=sinks, **options))
    expected = torch.cat(expected, dim=1).transpose(0, 1)[None]
    assert relative_error(Y.detach(), expected.detach()) < 1e-5
    G = heads(1, 118, seed=4).transpose(1, 2)
    found = torch.autograd.grad((Y * G).sum(), [*Xs, sinks])
    for gradient, right in zip(
        found, torch.autograd.grad((expected * G).sum(), [*Xs, sinks]), strict=True
    ):
        assert relative_error(gradient, right) < 1e-4


@pytest.mark.parametrize(
    ("longest", "rows", "unmasked", "window", "largest"),
    [
        (8192, 32, False, None, 64),  # 32 heads x 64 rows x 8,192 columns
        (8192, 32, True, None, 64),
        (8192, 32, False, 128, 512),  # 512 rows see 639 columns
        (8192, 32, False, 4096, 64),
        (20, 32 * 400, False, None, 20),  # many short sequences at once
    ],
)
def test_blocks_bound_the_memory(longest, rows, unmasked, window, largest):
    blocks = list(plain_attention._find_blocks(longest, rows, unmasked=unmasked, window=window))
    assert [start for start, *_ in blocks] == list(range(0, longest, largest))
    assert blocks[-1][1] == longest
    for start, end, first, last in blocks:
        assert rows * (end - start) * (last - first) <= 2**24
        assert (first, last) == (
            (0, longest) if unmasked else (0 if window is None else max(0, start - window + 1), end)
        )


def test_scores_of_several_blocks_are_not_kept_for_the_backward_pass(monkeypatch):
    monkeypatch.setattr(plain_attention, "_MAX_SCORES", 300 * 10)
    X = heads(total=300, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor.numel()) or tensor, lambda tensor: tensor
    ):
        attend_plainly(X, X, X, None, unmasked=True, softcap=2.0)
    assert max(kept) < 300 * 10


def test_attention_dropout_drops_in_training():
    X = heads(total=60)
    torch.manual_seed(0)
    Y, dropped = (
        attend_plainly(X, X, X, None, unmasked=True, softcap=2.0, dropout=dropout)
        for dropout in (0.0, 0.5)
    )
    assert 0.1 < relative_error(dropped, Y) < 2


def test_half_precision_keeps_scores_and_softmax_in_float32():
    Q, K, V = (10 * heads(seed=seed) for seed in range(3))
    half = [X.to(torch.bfloat16) for X in (Q, K, V)]
    Y = attend_plainly(*half, None, unmasked=True, softcap=50.0)
    assert Y.dtype == torch.bfloat16
    expected = by_hand(*(X[0].float() for X in half), softcap=50.0)
    assert relative_error(Y[0].float(), expected) < 5e-3
