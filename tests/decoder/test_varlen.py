"""The flash kernel needs a GPU; here, ones written by hand stand in for it."""

from dataclasses import dataclass

import numpy
import pytest
import torch

from spacy_lgu.decoder import attention, varlen
from spacy_lgu.decoder.attention import packed_attention
from spacy_lgu.decoder.packing import PackedBatch

from .reference import CPU, relative_error
from .test_attention import MIXED, Layer, heads


def varlen_by_hand(  # the signature and the windows of torch.nn.attention.varlen.varlen_attn
    query, key, value, cu_q, cu_k, max_q, max_k, *, scale, window_size, enable_gqa
):
    left, right = (float("inf") if size == -1 else size for size in window_size)
    assert (max_q, max_k) == (int(cu_q.diff().max()), int(cu_k.diff().max()))
    repeats = query.shape[1] // key.shape[1]
    assert enable_gqa == (repeats > 1)
    Ys = []
    for start, end in zip(cu_q[:-1].tolist(), cu_q[1:].tolist(), strict=True):
        Q = query[start:end].transpose(0, 1)  # (heads, length, head_width)
        K, V = (
            X[start:end].transpose(0, 1).repeat_interleave(repeats, dim=0) for X in (key, value)
        )
        back = torch.arange(end - start)[:, None] - torch.arange(end - start)[None]
        scores = Q @ K.mT * (scale or Q.shape[-1] ** -0.5)
        scores = scores.masked_fill((back > left) | (-back > right), -torch.inf)
        Ys.append((scores.softmax(-1) @ V).transpose(0, 1))
    return torch.cat(Ys)


def early_varlen_by_hand(query, key, value, cu_q, cu_k, max_q, max_k, is_causal=False):
    """As the first versions had it: no windows, no scale, grouped keys as they are."""
    return varlen_by_hand(
        *(query, key, value, cu_q, cu_k, max_q, max_k),
        scale=None,
        window_size=(-1, 0) if is_causal else (-1, -1),
        enable_gqa=query.shape[1] != key.shape[1],
    )


@pytest.fixture
def kernel(monkeypatch):
    """Puts a kernel in the place of torch's, for tensors on a CPU."""

    def put(function):
        monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", function)
        varlen.varlen_parameters.cache_clear()
        monkeypatch.setattr(attention, "fits_varlen", lambda query, value, window: True)

    yield put
    varlen.varlen_parameters.cache_clear()


@pytest.mark.parametrize("n_key_heads", [1, 4])
@pytest.mark.parametrize("scaling", [None, 0.2])
@pytest.mark.parametrize("window", [None, 3, 100])
@pytest.mark.parametrize("unmasked", [True, False])
def test_the_kernel_is_asked_for_the_same(kernel, unmasked, window, scaling, n_key_heads):
    expected = attend(unmasked, window, scaling, n_key_heads)
    kernel(varlen_by_hand)
    Y = attend(unmasked, window, scaling, n_key_heads)
    assert Y.shape == expected.shape
    assert relative_error(Y, expected) < 1e-5


@pytest.mark.parametrize("scaling", [None, 0.2])
@pytest.mark.parametrize("unmasked", [True, False])
def test_an_early_kernel_is_asked_for_the_same(kernel, unmasked, scaling):
    expected = attend(unmasked, None, scaling, 2)
    kernel(early_varlen_by_hand)
    assert relative_error(attend(unmasked, None, scaling, 2), expected) < 1e-5


def attend(unmasked, window, scaling, n_key_heads):
    packed = PackedBatch.pack(numpy.arange(sum(MIXED)), MIXED, device=CPU)
    Q = heads(4, sum(MIXED))
    K, V = (heads(n_key_heads, sum(MIXED), seed=seed) for seed in (1, 2))
    options = {"packed": packed, "unmasked": (unmasked,), "scaling": scaling}
    return packed_attention(Layer(), Q, K, V, None, sliding_window=window, **options)[0]


@dataclass
class OnGPU:
    """What a tensor on a GPU says of itself."""

    dtype: torch.dtype = torch.bfloat16
    width: int = 64
    is_cuda: bool = True
    device: str = "cuda"

    @property
    def shape(self):
        return (1, 4, 100, self.width)


@pytest.mark.parametrize(
    ("query", "value", "capability", "fits"),
    [
        (OnGPU(), OnGPU(), (8, 0), True),
        (OnGPU(torch.float16, 256), OnGPU(torch.float16, 256), (9, 0), True),
        (OnGPU(torch.float32), OnGPU(torch.float32), (8, 0), False),
        (OnGPU(width=512), OnGPU(width=512), (8, 0), False),
        (OnGPU(width=20), OnGPU(width=20), (8, 0), False),
        (OnGPU(width=192), OnGPU(width=128), (8, 0), False),
        (OnGPU(), OnGPU(), (7, 5), False),
        (OnGPU(is_cuda=False), OnGPU(is_cuda=False), (8, 0), False),
    ],
)
def test_what_the_kernel_is_for(monkeypatch, query, value, capability, fits):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(varlen, "varlen_parameters", lambda: {"window_size"})
    assert varlen.fits_varlen(query, value, None) == fits
    assert varlen.fits_varlen(query, value, 5) == fits
    monkeypatch.setattr(varlen, "varlen_parameters", lambda: {"is_causal"})
    assert varlen.fits_varlen(query, value, None) == fits
    assert not varlen.fits_varlen(query, value, 5)
    monkeypatch.setattr(varlen, "varlen_parameters", frozenset)
    assert not varlen.fits_varlen(query, value, None)


def test_older_versions_of_torch_have_no_kernel(monkeypatch):
    monkeypatch.setattr(varlen, "find_spec", lambda name: None)
    assert varlen.varlen_parameters.__wrapped__() == frozenset()


def test_the_parameters_of_the_installed_kernel():
    assert {"window_size", "enable_gqa", "scale"} <= varlen.varlen_parameters()


@pytest.mark.parametrize("unmasked", [True, False])
@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_what_the_kernel_is_not_for_runs_in_plain_math_on_a_gpu(
    monkeypatch, unmasked, window, dropout
):
    """Never by SDPA, which may plan for each new shape."""
    packed = PackedBatch.pack(numpy.arange(sum(MIXED)), MIXED, device=CPU)
    Q, K, V = (heads(2, sum(MIXED), seed=seed) for seed in (0, 1, 2))
    options = {"packed": packed, "unmasked": (unmasked,), "sliding_window": window}
    expected, _ = packed_attention(Layer(), Q, K, V, None, **options)
    monkeypatch.setattr(attention, "scaled_dot_product_attention", None)
    monkeypatch.setattr(attention, "_is_on_gpu", lambda X: True)
    Y, _ = packed_attention(Layer(), Q, K, V, None, dropout=dropout, **options)
    assert (relative_error(Y, expected) < 1e-5) == (dropout == 0)
