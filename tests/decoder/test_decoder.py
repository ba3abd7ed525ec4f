import copy
from itertools import product

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_lgu.decoder.decoder import LGUDecoder
from spacy_lgu.decoder.memory import is_out_of_memory
from spacy_lgu.decoder.packing import count_filler
from spacy_lgu.decoder.versions import enable_checkpointing
from spacy_lgu.unmasking import parse_pattern

from .helpers import BATCH, IDS, LENGTHS, build, gradients, shake, vectors
from .reference import BY_NAME, make_lgu, make_pair, random_ids


@pytest.fixture(scope="module")
def tiny():
    packed, _ = make_pair(BY_NAME["llama"])
    return make_lgu(packed, parse_pattern("ccbb"))


@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=8),
    max_items=st.integers(1, 60),
)
@settings(max_examples=25, deadline=None)
def test_micro_batches_equal_a_single_pass(tiny, lengths, max_items):
    ids = random_ids(lengths)
    expected = tiny.predict(ids, numpy.array(lengths), 10_000)
    Y = tiny.predict(ids, numpy.array(lengths), max_items)
    torch.testing.assert_close(Y, expected, atol=1e-5, rtol=1e-5)


def test_vectors_are_float32_whatever_the_default(tiny):
    """Which transformers changes while another thread loads a decoder."""
    ids, lengths = numpy.arange(2, 12), numpy.array([4, 6])
    try:
        torch.set_default_dtype(torch.bfloat16)
        assert tiny.predict(ids, lengths, 6).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


def test_predict_keeps_no_graph(tiny):
    Y = tiny.predict(random_ids([4]), numpy.array([4]), 100)
    assert Y.shape == (4, 32)
    assert not Y.requires_grad
    assert (tiny.width, tiny.device) == (32, torch.device("cpu"))


def test_one_direction_per_layer_is_needed():
    packed, _ = make_pair(BY_NAME["llama"])
    with pytest.raises(ValueError, match="Expected 4 directions, one per layer, but got 3"):
        make_lgu(packed, (True, False, True))


@pytest.mark.parametrize(
    ("tuning", "quantization"),
    [("full", "none"), *product(["lora", "frozen"], ["none", "nf4", "int8"])],
)
def test_copy_has_its_own_trained_weights_on_shared_frozen_ones(
    decoder_folder, tuning, quantization
):
    built = build(decoder_folder, tuning=tuning, quantization=quantization)
    before = vectors(built)
    copied = copy.deepcopy(built.decoder)
    assert copied.unmasked == built.decoder.unmasked
    assert torch.equal(copied(BATCH), before)
    for (name, p), (name_copied, p_copied) in zip(
        built.decoder.named_parameters(), copied.named_parameters(), strict=True
    ):
        assert name == name_copied
        assert (p.data_ptr() == p_copied.data_ptr()) == (not p.requires_grad)
    shake(copied, seed=9)
    assert torch.equal(copied(BATCH), before) == (tuning == "frozen")
    assert torch.equal(vectors(built), before)
    if tuning != "frozen":
        # PEFT's view belongs to the copy, too.
        assert gradients(copied).keys() == gradients(built.decoder).keys()
    assert (copied.adapter is None) == (tuning != "lora")
    if copied.adapter is not None:
        assert copied.adapter.get_base_model() is copied.base


def test_copy_keeps_the_mode(decoder_folder):
    decoder = build(decoder_folder).decoder
    assert not copy.deepcopy(decoder).training
    assert copy.deepcopy(decoder.train()).training


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_checkpointing_changes_no_gradient(decoder_folder, quantization):
    built = build(decoder_folder, quantization=quantization)
    plain = gradients(built.decoder)
    enable_checkpointing(built.decoder.base)
    for name, gradient in gradients(built.decoder).items():
        torch.testing.assert_close(gradient, plain[name], msg=name)


# int8 looks for outliers in the whole batch; here are none.
@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_a_sequence_does_not_depend_on_its_neighbours(decoder_folder, quantization):
    built = build(decoder_folder, quantization=quantization)
    together, start = vectors(built), 0
    for length in LENGTHS:
        rows = slice(start, start + length)
        alone = built.decoder.predict(IDS[rows], numpy.array([length]), 100)
        torch.testing.assert_close(alone, together[rows], atol=1e-4, rtol=1e-4)
        start += length


def test_full_tuning_computes_in_half_precision_on_float32_weights(decoder_folder):
    exact = build(decoder_folder, tuning="full")
    built = build(decoder_folder, tuning="full", dtype="bfloat16")
    assert {p.dtype for p in built.decoder.parameters()} == {torch.float32}
    error = (vectors(built) - vectors(exact)).norm() / vectors(exact).norm()
    assert 1e-5 < error < 0.05
    assert {g.dtype for g in gradients(built.decoder).values()} == {torch.float32}


CUDA = torch.OutOfMemoryError("CUDA out of memory.")
CPU = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    "tried to allocate 4000000000000000 bytes. Error code 12 (Cannot allocate memory)"
)


def limit_memory(monkeypatch, decoder, most, error=CUDA):
    """As if a forward pass of more subtokens did not fit. Returns what is tried."""
    monkeypatch.setattr(decoder, "_halving", None)
    forward, tried = LGUDecoder.forward, []

    def limited(self, packed):
        tried.append(packed.n_subtokens)
        if packed.n_subtokens > most:
            raise error
        return forward(self, packed)

    monkeypatch.setattr(LGUDecoder, "forward", limited)
    return tried


@pytest.mark.usefixtures("no_filler")
@pytest.mark.parametrize("error", [CUDA, CPU], ids=["cuda", "cpu"])
def test_too_little_memory_halves_what_is_computed_at_once(tiny, monkeypatch, caplog, error):
    lengths = numpy.array([5, 3, 4, 2, 6])
    ids = random_ids(lengths.tolist())
    expected = tiny.predict(ids, lengths, 100)
    tried = limit_memory(monkeypatch, tiny, 8, error)
    with caplog.at_level("WARNING", logger="spacy_lgu"):
        torch.testing.assert_close(tiny.predict(ids, lengths, 100), expected)
        assert tried == [20, 8, 6, 6]  # at most half, as they are: 5 3, 4 2, 6
        tried.clear()
        torch.testing.assert_close(tiny.predict(ids, lengths, 100), expected)
    assert tried == [6, 9, 5, 4, 5]  # from what went well before
    (record,) = caplog.records
    assert record.getMessage() == (
        "There is too little memory on cpu for 20 subtokens at once: from now on, it is at most "
        "10. Set max_batch_items of the component lgu_transformer lower."
    )


@pytest.mark.usefixtures("no_filler")
def test_packs_in_another_order_are_halved_too(tiny, monkeypatch, caplog):
    lengths = numpy.array([1, 5, 3, 4, 2, 6])
    ids = random_ids(lengths.tolist())
    expected = tiny.predict(ids, lengths, 100)
    tried = limit_memory(monkeypatch, tiny, 6)
    with caplog.at_level("WARNING", logger="spacy_lgu"):
        torch.testing.assert_close(tiny.predict(ids, lengths, 12), expected)
    assert tried == [11, 6, 5, 10, 4, 5, 1]  # 6 5, 4 3 2 1
    assert len(caplog.records) == 1


@pytest.mark.parametrize("error", [CUDA, CPU], ids=["cuda", "cpu"])
def test_a_sequence_that_alone_is_too_long_is_an_error(tiny, monkeypatch, error):
    limit_memory(monkeypatch, tiny, 4, error)
    message = r"memory on cpu for 5 subtokens in one sequence\. Set a smaller window .*\(.*memory"
    with pytest.raises(torch.OutOfMemoryError, match=message):
        tiny.predict(random_ids([3, 5]), numpy.array([3, 5]), 100)


@pytest.mark.parametrize(
    "message",
    [
        "[enforce fail at alloc_cpu.cpp:72] data. DefaultCPUAllocator: not enough memory: you",
        "could not create a primitive",
        "could not execute a primitive",
    ],
)
def test_words_of_cpus_for_too_little_memory(message):
    assert is_out_of_memory(RuntimeError(message))
    assert not is_out_of_memory(ValueError(message))


def test_other_errors_are_no_reason_to_halve(tiny, monkeypatch):
    tried = limit_memory(monkeypatch, tiny, 4, RuntimeError("CUDA error: an illegal memory access"))
    with pytest.raises(RuntimeError, match="illegal memory access"):
        tiny.predict(random_ids([3, 5]), numpy.array([3, 5]), 100)
    assert tried == [8]


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (1, 4),
        (4, 4),
        (31, 32),
        (33, 40),
        (127, 128),
        (129, 144),
        (255, 256),
        (257, 288),
        (1024, 1024),
    ],
)
def test_rows_are_a_round_number_on_a_cpu_alone(total, expected):
    cpu = torch.device("cpu")
    assert total + count_filler(total, expected, cpu) == expected
    assert count_filler(total, expected, torch.device("cuda")) == 0
    assert (
        count_filler(total, max(total, expected - 1), cpu) == 0
    )  # what is allowed is not exceeded
    assert count_filler(total, 0, cpu) == expected - total  # a sequence longer than a batch


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=5), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_filler_leaves_no_trace(tiny, lengths, seed):
    ids = random_ids(lengths, seed=seed)
    sizes, forward = [], LGUDecoder.forward

    def record(self, batch):
        sizes.append(batch.n_subtokens)
        return forward(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LGUDecoder, "forward", record)
        Y = tiny.predict(ids, numpy.array(lengths), 1000)
    total = sum(lengths)
    assert sizes == [total + count_filler(total, 1000, torch.device("cpu"))]
    with torch.no_grad():
        expected = tiny(tiny.pack(ids, numpy.array(lengths)))
    torch.testing.assert_close(Y, expected, rtol=1e-5, atol=1e-5)
