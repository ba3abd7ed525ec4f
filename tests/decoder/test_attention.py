from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from spacy_lgu.decoder.adapter import BaseReference, LoraTargets, add_adapter
from spacy_lgu.decoder.attention import ATTENTION, packed_attention, register_attention
from spacy_lgu.decoder.packing import PackedBatch
from spacy_lgu.decoder.settings import LoraSettings
from spacy_lgu.decoder.versions import enable_checkpointing
from spacy_lgu.unmasking import list_patterns, parse_pattern

from ..conftest import IS_5
from .reference import (
    BY_NAME,
    CPU,
    make_lgu,
    make_pair,
    random_ids,
    relative_error,
    run_reference,
)
from .reference_families import FAMILIES, N_LAYERS, WIDTH

MIXED = [5, 1, 9, 4, 9]


def run_packed(packed, ids, lengths, unmasked):
    return make_lgu(packed, unmasked)(PackedBatch.pack(ids, lengths, device=CPU))


class Layer(torch.nn.Module):
    """All of an attention layer that packed_attention looks at."""

    layer_idx = 0


def heads(n_heads=1, total=5, width=8, *, seed=0, requires_grad=False):
    generator = torch.Generator().manual_seed(seed)
    shape = (1, n_heads, total, width)
    return torch.randn(shape, generator=generator, requires_grad=requires_grad)


def visible(*, unmasked, lengths=(3, 2), **kwargs):
    """Which inputs move which outputs: row = output, column = changed key and value."""
    packed = PackedBatch.pack(numpy.arange(sum(lengths)), lengths, device=CPU)
    X = heads(total=sum(lengths))
    rows = []
    for column in range(sum(lengths)):
        X_changed = X.clone()
        X_changed[0, :, column] += 1
        before, after = (
            packed_attention(Layer(), X, K, K, None, packed=packed, unmasked=(unmasked,), **kwargs)
            for K in (X, X_changed)
        )
        rows.append((before[0] != after[0]).any(-1).any(-1)[0])
    return torch.stack(rows, dim=1).int().tolist()


def test_causal_layer_sees_the_past_of_its_own_sequence():
    assert visible(unmasked=False) == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 1, 1],
    ]


def test_bidirectional_layer_sees_all_of_its_own_sequence():
    assert visible(unmasked=True) == [
        [1, 1, 1, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 0, 0],
        [0, 0, 0, 1, 1],
        [0, 0, 0, 1, 1],
    ]


def test_sliding_window_counts_the_row_itself():
    assert visible(unmasked=False, lengths=(4, 1), sliding_window=2) == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 1, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1],
    ]


def test_unmasked_layer_loses_its_sliding_window():
    assert visible(unmasked=True, sliding_window=2) == visible(unmasked=True)


@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
def test_every_pattern_equals_the_reference(family):
    packed, eager = make_pair(family)
    ids = random_ids(MIXED)
    seen = []
    with torch.no_grad():
        for pattern in list_patterns(N_LAYERS):
            unmasked = parse_pattern(pattern)
            Y = run_packed(packed, ids, MIXED, unmasked)
            expected = run_reference(eager, family.windows, ids, MIXED, unmasked)
            assert relative_error(Y, expected) < 1e-5, pattern
            seen.append(Y)
    # The reference tells patterns apart, so that equality above means something.
    distances = [relative_error(a, b) for i, a in enumerate(seen) for b in seen[:i]]
    assert min(distances) > 1e-3


@pytest.mark.parametrize("lengths", [[7], [1], [6, 6, 6], [1, 1], [40, 3, 38, 2, 1]])
@pytest.mark.parametrize("pattern", ["cccc", "bbbb", "cbbc"])
@pytest.mark.parametrize("name", ["mistral-sliding", "gemma3"])
def test_every_shape_of_batch_equals_the_reference(name, pattern, lengths):
    packed, eager = make_pair(BY_NAME[name])
    ids, unmasked = random_ids(lengths), parse_pattern(pattern)
    with torch.no_grad():
        Y = run_packed(packed, ids, lengths, unmasked)
        expected = run_reference(eager, BY_NAME[name].windows, ids, lengths, unmasked)
    assert relative_error(Y, expected) < 1e-5


@pytest.fixture(scope="module")
def sliding_pair():
    return make_pair(BY_NAME["qwen2-sliding"])


@given(
    lengths=st.lists(st.integers(1, 24), min_size=1, max_size=6),
    pattern=st.sampled_from(list_patterns(N_LAYERS)),
    seed=st.integers(0, 9),
)
@settings(max_examples=20, deadline=None)
def test_any_batch_equals_the_reference(sliding_pair, lengths, pattern, seed):
    packed, eager = sliding_pair
    ids, unmasked = random_ids(lengths, seed=seed), parse_pattern(pattern)
    windows = BY_NAME["qwen2-sliding"].windows
    with torch.no_grad():
        Y = run_packed(packed, ids, lengths, unmasked)
        expected = run_reference(eager, windows, ids, lengths, unmasked)
    assert relative_error(Y, expected) < 1e-5


@pytest.mark.parametrize(("window", "length"), [(5, 1030), (600, 1100), (300, 513)])
def test_windows_across_blocks_of_rows(window, length):
    """The sliding window is computed 512 rows at a time."""
    lengths = [length, length - 1, 2]
    X, K, V = (
        heads(4, sum(lengths), seed=0),
        heads(2, sum(lengths), seed=1),
        heads(2, sum(lengths), seed=2),
    )
    packed = PackedBatch.pack(numpy.arange(sum(lengths)), lengths, device=CPU)
    Y, _ = packed_attention(
        Layer(), X, K, V, None, packed=packed, unmasked=(False,), sliding_window=window
    )
    start = 0
    for n in lengths:
        rows = slice(start, start + n)
        back = torch.arange(n)[:, None] - torch.arange(n)[None]
        scores = X[0, :, rows] @ K[0, :, rows].repeat_interleave(2, 0).mT / 8**0.5
        scores = scores.masked_fill((back < 0) | (back >= window), -torch.inf)
        expected = scores.softmax(-1) @ V[0, :, rows].repeat_interleave(2, 0)
        assert relative_error(Y[0, rows].transpose(0, 1), expected) < 1e-5
        start += n


def test_long_sequences_of_a_sliding_decoder():
    family = BY_NAME["mistral-sliding"]
    packed, eager = make_pair(family, sliding_window=516)
    lengths, unmasked = [530, 3], parse_pattern("ccbc")
    ids = random_ids(lengths)
    with torch.no_grad():
        Y = run_packed(packed, ids, lengths, unmasked)
        expected = run_reference(eager, (516,) * N_LAYERS, ids, lengths, unmasked)
    assert relative_error(Y, expected) < 1e-5


def full_gradients(module, Y, seed=3):
    G = torch.randn(Y.shape, generator=torch.Generator().manual_seed(seed))
    module.zero_grad()
    (Y * G).sum().backward()
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


WITH_SINKS = ("gpt_oss", "granite_swa", "mimo_v2_flash")
KINDS = ["llama", "mistral-sliding", "gemma3", "gpt_neox", "gemma2", "deepseek_v3", "mixtral"]
if IS_5:
    KINDS += ["gemma4", "gpt_oss", "granite_swa", "mimo_v2_flash", "modernbert-decoder", "olmo3"]


@pytest.mark.parametrize("name", KINDS)
def test_gradients_equal_the_reference(name):
    family = BY_NAME[name]
    packed, eager = make_pair(family)
    ids, unmasked = random_ids(MIXED), parse_pattern("cbbc")
    found = full_gradients(packed, run_packed(packed, ids, MIXED, unmasked))
    expected = full_gradients(eager, run_reference(eager, family.windows, ids, MIXED, unmasked))
    assert found.keys() == expected.keys()
    assert any("sinks" in name for name in found) == (name in WITH_SINKS)
    # A bias on all keys moves no attention weight: its gradient is zero but for rounding.
    size = max(float(gradient.norm()) for gradient in expected.values())
    for parameter, gradient in expected.items():
        assert float((found[parameter] - gradient).norm()) < 1e-5 * size, parameter
        if float(gradient.norm()) > 1e-3 * size:
            assert relative_error(found[parameter], gradient) < 1e-4, parameter


def test_lora_gradients_with_and_without_checkpointing_equal_the_reference():
    family = BY_NAME["mistral-sliding"]
    pair = make_pair(family)
    lora = LoraSettings(rank=2, dropout=0.0)
    for module in pair:
        torch.manual_seed(1)
        module.requires_grad_(False)
        targets = LoraTargets(["q_proj", "v_proj"])
        add_adapter(module, lora, targets=targets, base=BaseReference("x", None))
        for name, parameter in module.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.2)
    packed, eager = (module.train() for module in pair)
    ids, unmasked = random_ids(MIXED), parse_pattern("cbcb")
    plain = full_gradients(packed, run_packed(packed, ids, MIXED, unmasked))
    expected = full_gradients(eager, run_reference(eager, family.windows, ids, MIXED, unmasked))
    enable_checkpointing(packed)
    assert packed.is_gradient_checkpointing
    recomputed = full_gradients(packed, run_packed(packed, ids, MIXED, unmasked))
    assert len(expected) == N_LAYERS * 2 * 2
    assert expected.keys() == plain.keys() == recomputed.keys()
    for name, gradient in expected.items():
        assert relative_error(plain[name], gradient) < 1e-4, name
        assert relative_error(recomputed[name], plain[name]) < 1e-6, name


def test_threads_equal_one_thread():
    packed, _ = make_pair(BY_NAME["mistral-sliding"])
    decoders = [make_lgu(packed, parse_pattern(p)) for p in ("ccbb", "bccb")]
    rng = numpy.random.default_rng(0)
    jobs = []
    for i in range(40):
        lengths = rng.integers(1, 12, rng.integers(1, 6))
        jobs.append((decoders[i % 2], random_ids(lengths.tolist(), seed=i), lengths))
    expected = [decoder.predict(ids, lengths, 1000) for decoder, ids, lengths in jobs]
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(d.predict, ids, lengths, 1000) for d, ids, lengths in jobs]
        found = [future.result() for future in futures]
    for Y, Y_expected in zip(found, expected, strict=True):
        assert torch.equal(Y, Y_expected)


def test_bfloat16_is_close_to_float32():
    packed, _ = make_pair(BY_NAME["llama"])
    ids, unmasked = random_ids(MIXED), parse_pattern("ccbb")
    batch = PackedBatch.pack(ids, MIXED, device=CPU)
    with torch.no_grad():
        expected = make_lgu(packed, unmasked)(batch)
        Y = make_lgu(packed.to(torch.bfloat16), unmasked, dtype="bfloat16")(batch)
    assert Y.dtype == torch.float32
    assert 0 < relative_error(Y, expected) < 0.05


@pytest.mark.parametrize(
    "options",
    [{"unmasked": (True,)}, {"unmasked": (False,)}, {"unmasked": (False,), "sliding_window": 3}],
)
def test_attention_dropout_drops_in_training(options):
    X = heads(total=60)
    packed = PackedBatch.pack(numpy.arange(60), [50, 10], device=CPU)
    torch.manual_seed(0)
    Y, dropped = (
        packed_attention(Layer(), X, X, X, None, packed=packed, dropout=dropout, **options)[0]
        for dropout in (0.0, 0.5)
    )
    assert 0.1 < relative_error(dropped, Y) < 2


def test_scaling_is_used():
    X = heads()
    packed = PackedBatch.pack(numpy.arange(5), [5], device=CPU)
    Y, _ = packed_attention(Layer(), X, X, X, None, packed=packed, unmasked=(True,), scaling=0.3)
    expected = (X[0, 0] @ X[0, 0].T * 0.3).softmax(-1) @ X[0, 0]
    torch.testing.assert_close(Y[0, :, 0], expected)
    assert Y.shape == (1, 5, 1, WIDTH // 4)


def test_autocast_decides_the_dtype():
    X = heads()
    packed = PackedBatch.pack(numpy.arange(5), [5], device=CPU)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        Y, _ = packed_attention(
            Layer(), X, X, X.to(torch.bfloat16), None, packed=packed, unmasked=(True,)
        )
    assert Y.dtype == torch.bfloat16


def test_training_on_a_cpu_attends_in_float32():
    packed = PackedBatch.pack(numpy.arange(5), [5], device=CPU)
    given = [heads().to(torch.bfloat16) for _ in range(3)]

    def attend(X):
        return packed_attention(Layer(), *X, None, packed=packed, unmasked=(True,))[0]

    Xs = [X.clone().requires_grad_() for X in given]
    exact = [X.float().requires_grad_() for X in given]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        Y = attend(Xs)
    expected = attend(exact)
    Y.float().sum().backward()
    expected.sum().backward()
    # What bfloat16 loses, it loses in the last rounding only.
    assert torch.equal(Y, expected.to(torch.bfloat16))
    for X, X_exact in zip(Xs, exact, strict=True):
        assert torch.equal(X.grad, X_exact.grad.to(torch.bfloat16))
    assert not torch.equal(attend(given), Y)


PACKED = PackedBatch.pack(numpy.arange(5), [5], device=CPU)


@pytest.mark.parametrize(
    ("mask", "kwargs"),
    [
        (None, {}),
        (None, {"packed": PACKED}),
        (None, {"unmasked": (True,)}),
        (torch.zeros(1, 1, 5, 5), {"packed": PACKED, "unmasked": (True,)}),
    ],
)
def test_calls_without_a_packed_batch_are_refused(mask, kwargs):
    X = heads()
    with pytest.raises(ValueError, match="runs on packed batches only: call it with"):
        packed_attention(Layer(), X, X, X, mask, **kwargs)


@pytest.mark.parametrize(
    "name", ["head_mask", "position_bias", "alibi", "sinks", "indices", "block_indices"]
)
def test_more_than_softmax_attention_is_refused(name):
    X = heads()
    with pytest.raises(ValueError, match=f"Layer asks for attention with {name}=50.0"):
        packed_attention(Layer(), X, X, X, None, packed=PACKED, unmasked=(True,), **{name: 50.0})


def test_transformers_calls_our_function():
    register_attention()
    assert ALL_ATTENTION_FUNCTIONS[ATTENTION] is packed_attention
    packed, _ = make_pair(BY_NAME["llama"])
    with pytest.raises(ValueError, match="runs on packed batches only"):
        packed(input_ids=torch.tensor([[5, 6]]))


def attend_gated(gate, X, **kwargs):
    packed = PackedBatch.pack(numpy.arange(5), (3, 2), device=CPU)
    return packed_attention(Layer(), X, X, X, None, packed=packed, unmasked=(gate,), **kwargs)[0]


@pytest.mark.parametrize("kwargs", [{}, {"sliding_window": 2}, {"softcap": 5.0}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gate_is_exact_at_both_ends_and_goes_in_between(kwargs, dtype):
    X = heads().to(dtype)
    causal, whole = (attend_gated(flag, X, **kwargs) for flag in (False, True))
    assert torch.equal(attend_gated(torch.tensor(0.0), X, **kwargs), causal)
    assert torch.equal(attend_gated(torch.tensor(1.0), X, **kwargs), whole)
    half = attend_gated(torch.tensor(0.5), X, **kwargs)
    torch.testing.assert_close(half, (causal + whole) / 2)
    assert half.dtype == dtype


def test_the_gradient_of_a_gate():
    X = heads(requires_grad=True)
    gate = torch.tensor(0.3, requires_grad=True)
    weights = heads(seed=1)[0, 0]

    def loss(value):
        return (attend_gated(value, X)[0, :, 0] * weights).sum()

    loss(gate).backward()
    step = 1e-2
    with torch.no_grad():
        slope = (loss(torch.tensor(0.3 + step)) - loss(torch.tensor(0.3 - step))) / (2 * step)
    assert gate.grad.item() == pytest.approx(slope.item(), rel=1e-3)
    assert X.grad.abs().sum() > 0


def test_gates_of_a_decoder_at_their_ends_equal_its_pattern():
    family = BY_NAME["mistral"]
    packed, _ = make_pair(family)
    ids = random_ids(MIXED)
    unmasked = parse_pattern("cbbc")[:N_LAYERS]
    gates = tuple(torch.tensor(float(flag)) for flag in unmasked)
    plain = run_packed(packed, ids, MIXED, unmasked)
    decoder = make_lgu(packed, unmasked)
    decoder.unmasked = gates
    assert torch.equal(decoder(PackedBatch.pack(ids, MIXED, device=CPU)), plain)
