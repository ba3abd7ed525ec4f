"""Attention in blocks of rows, on AMD's CPUs."""

import math

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_lgu.decoder import attention, block_attention
from spacy_lgu.decoder.attention import packed_attention
from spacy_lgu.decoder.block_attention import attend_in_blocks
from spacy_lgu.decoder.packing import PackedBatch
from spacy_lgu.decoder.products import multiply

pytestmark = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="torch was built without oneDNN"
)


@pytest.fixture(autouse=True, scope="module")
def small_blocks():
    """Sequences of tens of subtokens have several blocks, with a rest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block_attention, "_BLOCK", 8)
        patch.setattr(block_attention, "_ROWS", 16)
        patch.setattr(block_attention, "_STEP", 4)
        patch.setattr(block_attention, "MIN_LENGTH", 20)
        yield


def attend_by_definition(q, k, v, *, unmasked, window, scaling, softcap, sinks):
    """Attention of one sequence in float64, as a textbook has it."""
    q, k, v = (X.double().numpy() for X in (q, k, v))
    group, length = len(q) // len(k), q.shape[1]
    back = numpy.arange(length)[:, None] - numpy.arange(length)[None]
    seen = numpy.full(back.shape, True) if unmasked else (back >= 0) & (back < (window or length))
    heads = []
    for h in range(len(q)):
        scores = q[h] @ k[h // group].T * (scaling or q.shape[-1] ** -0.5)
        if softcap is not None:
            scores = softcap * numpy.tanh(scores / softcap)
        weights = numpy.where(seen, numpy.exp(scores), 0)
        sink = 0 if sinks is None else math.exp(sinks[h])
        heads.append(weights / (weights.sum(1, keepdims=True) + sink) @ v[h // group])
    return torch.from_numpy(numpy.stack(heads))


@settings(max_examples=80, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=3),
    heads=st.sampled_from([(1, 1), (4, 2), (3, 3), (6, 1)]),
    widths=st.sampled_from([(8, 8), (5, 3), (16, 8)]),
    unmasked=st.booleans(),
    window=st.none() | st.integers(1, 60),
    scaling=st.sampled_from([None, 1.0]),
    softcap=st.sampled_from([None, 2.0]),
    sinks=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    seed=st.integers(0, 99),
)
def test_each_row_attends_to_what_its_layer_lets_it_see(
    lengths, heads, widths, unmasked, window, scaling, softcap, sinks, dtype, seed
):
    torch.manual_seed(seed)
    n, longest = len(lengths), max(lengths)
    q, k, v = (
        torch.randn(n, n_heads, longest, width).to(dtype)
        for n_heads, width in [
            (heads[0], widths[0]),
            (heads[1], widths[0]),
            (heads[1], widths[1]),
        ]
    )
    real = torch.arange(longest)[None] < torch.tensor(lengths)[:, None]
    options = {"unmasked": unmasked, "window": None if unmasked else window, "scaling": scaling}
    options |= {"softcap": softcap, "sinks": torch.randn(heads[0]) if sinks else None}
    Y = attend_in_blocks(q, k, v, None if real.all() else real, **options)
    assert (Y.shape, Y.dtype) == ((n, heads[0], longest, widths[1]), dtype)
    for i, length in enumerate(lengths):
        expected = attend_by_definition(*(X[i, :, :length] for X in (q, k, v)), **options)
        tolerance = 1e-5 if dtype is torch.float32 else 2e-2
        torch.testing.assert_close(
            Y[i, :, :length].double(), expected, rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize(("unmasked", "window"), [(True, None), (False, None), (False, 20)])
def test_many_threads_compute_no_more_scores_at_once(monkeypatch, unmasked, window):
    monkeypatch.setattr(block_attention, "_MAX_SCORES", 1000)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    sizes = []

    def spy(X, W):
        sizes.append(len(X) * len(W))
        return multiply(X, W)

    monkeypatch.setattr(block_attention, "multiply", spy)
    q, k, v = (torch.randn(1, n_heads, 50, 8) for n_heads in (4, 1, 1))
    options = {"unmasked": unmasked, "window": window, "scaling": None}
    options |= {"softcap": None, "sinks": None}
    Y = attend_in_blocks(q, k, v, None, **options)
    assert max(sizes) <= 832  # 4 heads, 4 rows, and 52 columns at most
    torch.testing.assert_close(
        Y[0].double(), attend_by_definition(q[0], k[0], v[0], **options), rtol=1e-5, atol=1e-5
    )


def test_the_default_device_is_not_used():
    block_attention._mask.cache_clear()
    X = torch.randn(1, 1, 50, 8)
    with torch.device("meta"):
        Y = attend_in_blocks(X, X, X, None, unmasked=False)
    options = {"unmasked": False, "window": None, "scaling": None, "softcap": None, "sinks": None}
    expected = attend_by_definition(X[0], X[0], X[0], **options)
    torch.testing.assert_close(Y[0].double(), expected, rtol=1e-5, atol=1e-5)


class Layer(torch.nn.Module):
    layer_idx = 0


def run(lengths, unmasked, *, threads=1, grad=False, dtype=torch.float32, **options):
    """packed_attention over sequences of these lengths, and how often blocks were used."""
    torch.manual_seed(0)
    inputs = [
        torch.randn(1, n, sum(lengths), 8, dtype=dtype, requires_grad=grad) for n in (4, 2, 2)
    ]
    packed = PackedBatch.pack(
        numpy.zeros(sum(lengths), dtype="int64"), lengths, device=torch.device("cpu")
    )
    calls = []

    def spy(*args, **kwargs):
        calls.append(args[0].shape)
        return attend_in_blocks(*args, **kwargs)

    torch.set_num_threads(threads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "attend_in_blocks", spy)
        Y, _ = packed_attention(
            Layer(), *inputs, None, packed=packed, unmasked=(unmasked,), **options
        )
    torch.set_num_threads(1)
    return Y, calls


@pytest.mark.usefixtures("on_amd")
@pytest.mark.parametrize("unmasked", [True, False])
@pytest.mark.parametrize(
    "options",
    [{}, {"sliding_window": 7}, {"softcap": 1.5}, {"s_aux": torch.tensor([-1.0, 0.5, 2.0, 0.0])}],
)
def test_a_packed_batch_has_the_same_vectors(unmasked, options, monkeypatch):
    lengths = [3, 45, 1, 38, 30, 4]
    Y, calls = run(lengths, unmasked, **options)
    assert calls
    monkeypatch.setattr(block_attention, "MIN_LENGTH", 1000)
    expected, calls = run(lengths, unmasked, **options)
    assert not calls
    torch.testing.assert_close(Y, expected)


@pytest.mark.usefixtures("on_amd")
@pytest.mark.parametrize(
    ("lengths", "options"),
    [
        ([19, 7], {}),
        ([39], {"threads": 2}),  # torch's kernel shares out heads, not products
        ([40], {"grad": True}),
        ([40], {"s_aux": torch.zeros(4, requires_grad=True)}),
        ([40], {"dropout": 0.1}),
        ([40], {"dtype": torch.float64}),
    ],
)
def test_what_does_not_gain_goes_another_way(lengths, options):
    assert run(lengths, True, **options)[1] == []


@pytest.mark.usefixtures("on_amd")
@pytest.mark.parametrize(("lengths", "threads"), [([20], 1), ([40], 2)])
def test_from_this_length_on_blocks_are_used(lengths, threads):
    assert run(lengths, True, threads=threads)[1] == [(1, 4, *lengths, 8)]


@pytest.mark.usefixtures("torchs_products")
def test_other_cpus_use_torchs_kernel():
    assert run([40], True)[1] == []
