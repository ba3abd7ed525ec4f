"""Sequences that are run several times end to end, and read in the last copy."""

import copy

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from spacy_lgu.decoder.decoder import LGUDecoder
from spacy_lgu.decoder.packing import PackedBatch
from spacy_lgu.unmasking import parse_pattern

from . import hybrids
from .helpers import IDS, LENGTHS, build, read_description_of, restore, save, vectors
from .reference import BY_NAME, CPU, make_lgu, make_pair, random_ids, relative_error, run_reference

LISTS = st.lists(st.integers(1, 9), min_size=1, max_size=6)
FAMILIES = ("llama", "gpt_neox", "mistral-sliding", "gemma3", "deepseek_v3")


def repeat_by_hand(ids, lengths, repeat):
    """Each sequence followed by its copies, and the rows of the last one of each."""
    sequences, rows, n_rows = [], [], 0
    for sequence in numpy.split(ids, numpy.cumsum(lengths)[:-1]):
        sequences += [sequence] * (repeat + 1)
        n_rows += len(sequence) * (repeat + 1)
        rows += range(n_rows - len(sequence), n_rows)
    return numpy.concatenate(sequences), [n * (repeat + 1) for n in lengths], rows


def test_a_repeated_batch_by_eye():
    packed = PackedBatch.pack(numpy.array([5, 6, 7, 8, 9]), [3, 2], device=CPU, repeat=1)
    assert packed.ids.tolist() == [[5, 6, 7, 5, 6, 7, 8, 9, 8, 9]]
    assert packed.positions.tolist() == [[0, 1, 2, 3, 4, 5, 0, 1, 2, 3]]
    assert packed.cu_seqlens.tolist() == [0, 6, 10]
    assert packed.lengths.tolist() == [6, 4]
    assert packed.read.tolist() == [3, 4, 5, 8, 9]
    assert packed.read.dtype == torch.int64
    assert (packed.n_subtokens, packed.max_length) == (10, 6)
    assert PackedBatch.pack(numpy.array([5]), [1], device=CPU).read is None


@given(lengths=LISTS, repeat=st.integers(1, 4))
def test_repeated_batches_are_those_made_by_hand(lengths, repeat):
    ids = random_ids(lengths)
    packed = PackedBatch.pack(ids, lengths, device=CPU, repeat=repeat)
    by_hand, longer, rows = repeat_by_hand(ids, lengths, repeat)
    expected = PackedBatch.pack(by_hand, longer, device=CPU)
    assert torch.equal(packed.ids, expected.ids)
    assert torch.equal(packed.positions, expected.positions)
    assert torch.equal(packed.cu_seqlens, expected.cu_seqlens)
    assert packed.read.tolist() == rows
    assert packed.ids[0, packed.read].tolist() == ids.tolist()


@pytest.mark.parametrize("repeat", [1, 3])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_last_copy_of_a_text_repeated_by_hand(name, repeat):
    family, lengths = BY_NAME[name], [5, 1, 4]
    packed, eager = make_pair(family)
    ids = random_ids(lengths)
    by_hand, longer, rows = repeat_by_hand(ids, lengths, repeat)
    for pattern in ("cccc", "ccbb", "bbbb"):
        unmasked = parse_pattern(pattern)
        decoder = make_lgu(packed, unmasked, repeat=repeat)
        with torch.no_grad():
            expected = run_reference(eager, family.windows, by_hand, longer, unmasked)[rows]
            Y = decoder(PackedBatch.pack(ids, lengths, device=CPU, repeat=repeat))
        assert Y.shape == (10, 32)
        assert relative_error(Y, expected) < 1e-5
        assert torch.equal(decoder.predict(ids, numpy.array(lengths), 1000), Y)


@pytest.mark.parametrize("hybrid", hybrids.THREE, ids=lambda hybrid: hybrid.model_type)
def test_a_hybrid_reads_the_copies_as_one_sequence(hybrid):
    packed, eager = hybrids.make_pair(hybrid)
    unmasked = (False, True, False, False)
    by_hand, longer, rows = repeat_by_hand(IDS, LENGTHS.tolist(), 2)
    with torch.no_grad():
        expected = hybrids.run_alone(eager, hybrid, by_hand, longer, unmasked)[rows]
    decoder = hybrids.make_lgu(packed, unmasked, repeat=2)
    assert relative_error(decoder.predict(IDS, LENGTHS, 1000), expected) < 1e-5


def test_a_causal_decoder_sees_the_whole_sequence():
    packed, _ = make_pair(BY_NAME["llama"])
    ids, lengths = random_ids([5]), numpy.array([5])
    changed = ids.copy()
    changed[4] += 1
    moved = []
    for repeat in (0, 1):
        decoder = make_lgu(packed, (False,) * 4, repeat=repeat)
        before, after = (decoder.predict(values, lengths, 100) for values in (ids, changed))
        moved.append(((before - after).abs().amax(1) > 1e-4).tolist())
    assert moved == [[False] * 4 + [True], [True] * 5]


@given(lengths=LISTS, max_items=st.integers(1, 60), repeat=st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_all_copies_count_in_a_forward_pass(lengths, max_items, repeat):
    packed, _ = make_pair(BY_NAME["llama"])
    decoder = make_lgu(packed, parse_pattern("ccbb"), repeat=repeat)
    ids = random_ids(lengths)
    expected = decoder.predict(ids, numpy.array(lengths), 10_000)
    forward, sizes = LGUDecoder.forward, []

    def record(self, batch):
        sizes.append((batch.n_subtokens, len(batch.lengths)))
        return forward(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LGUDecoder, "forward", record)
        patch.setattr("spacy_lgu.decoder.decoder.count_filler", lambda *args: 0)
        Y = decoder.predict(ids, numpy.array(lengths), max_items)
    assert all(size <= max_items or n == 1 for size, n in sizes)
    assert sum(size for size, _ in sizes) == sum(lengths) * (repeat + 1)
    assert_close(Y, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("repeat", [1, 2])
def test_gradients_are_those_of_the_rows_that_are_read(decoder_folder, repeat, checkpointing):
    built = build(decoder_folder, repeat=repeat, gradient_checkpointing=checkpointing)
    decoder = built.decoder.train()
    by_hand, longer, rows = repeat_by_hand(IDS, LENGTHS.tolist(), repeat)
    found = []
    for batch in (
        PackedBatch.pack(IDS, LENGTHS, device=CPU, repeat=repeat),
        PackedBatch.pack(by_hand, longer, device=CPU),
    ):
        decoder.zero_grad()
        Y = decoder(batch)
        Y = Y if batch.read is not None else Y[rows]
        (Y * torch.linspace(-1, 1, Y.numel()).reshape(Y.shape)).sum().backward()
        found.append({name: p.grad.clone() for name, p in decoder.trainable()})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        assert bool(gradient.any())
        assert_close(gradient, found[1][name], msg=name)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_saved_and_loaded_gives_the_same_vectors(decoder_folder, tmp_path, quantization):
    built = build(decoder_folder, repeat=2, quantization=quantization)
    once = build(decoder_folder, quantization=quantization)
    assert not torch.allclose(vectors(built), vectors(once), atol=1e-2)
    assert torch.equal(copy.deepcopy(built.decoder).predict(IDS, LENGTHS, 100), vectors(built))
    save(built, tmp_path / "x")
    assert read_description_of(tmp_path / "x")["repeat"] == 2
    assert torch.equal(vectors(restore(tmp_path / "x", built)), vectors(built))
