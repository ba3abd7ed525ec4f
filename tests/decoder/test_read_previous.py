"""Subtokens that are read at the one before them."""

import copy

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from spacy_lgu.decoder.packing import PackedBatch

from .helpers import IDS, LENGTHS, build, read_description_of, restore, save, vectors

CPU = torch.device("cpu")
# Of LENGTHS, 5, 1, 8 and 3: each row, or the first of its sequence.
PREVIOUS = [0, 0, 1, 2, 3, 5, 6, 6, 7, 8, 9, 10, 11, 12, 14, 14, 15]


def pack(lengths, **options):
    return PackedBatch.pack(numpy.arange(sum(lengths)), lengths, device=CPU, **options)


def test_which_rows_are_read_by_eye():
    assert pack([3, 2], read_previous=True).read.tolist() == [0, 0, 1, 3, 3]
    assert pack([3, 2], repeat=1, read_previous=True).read.tolist() == [3, 3, 4, 8, 8]
    some = pack([3, 2, 2], read_previous=numpy.array([False, True, False]))
    assert some.read.tolist() == [0, 1, 2, 3, 3, 5, 6]
    assert some.read.dtype == torch.int64
    assert pack([3, 2], read_previous=numpy.array([False, False])).read is None


@given(
    sequences=st.lists(
        st.tuples(st.integers(1, 9), st.integers(0, 2), st.booleans()), min_size=1, max_size=6
    )
)
def test_each_sequence_as_it_asks(sequences):
    lengths, repeat, previous = (list(values) for values in zip(*sequences, strict=True))
    packed = pack(lengths, repeat=numpy.array(repeat), read_previous=numpy.array(previous))
    expected, begin = [], 0
    for length, copies, is_previous in sequences:
        begin += length * copies
        rows = range(begin, begin + length)
        expected += [begin, *rows[:-1]] if is_previous else rows
        begin += length
    if packed.read is None:
        assert expected == list(range(sum(lengths)))
    else:
        assert packed.read.tolist() == expected


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_vectors_and_gradients_are_those_of_the_rows_before(decoder_folder, tuning):
    decoder = build(decoder_folder, tuning=tuning, read_previous=True).decoder.train()
    found = []
    for rows in (None, PREVIOUS):
        decoder.zero_grad()
        packed = decoder.pack(IDS, LENGTHS)
        if rows is not None:
            packed = PackedBatch.pack(IDS, LENGTHS, device=CPU)
        Y = decoder(packed)
        Y = Y if rows is None else Y[rows]
        (Y * torch.linspace(-1, 1, Y.numel()).reshape(Y.shape)).sum().backward()
        found.append((Y.detach(), {name: p.grad.clone() for name, p in decoder.trainable()}))
    (Y, gradients), (expected, others) = found
    assert torch.equal(Y, expected)
    for name, gradient in gradients.items():
        assert_close(gradient, others[name], msg=name)


def test_packs_of_any_size_read_the_same(decoder_folder):
    decoder = build(decoder_folder, read_previous=True).decoder
    plain = build(decoder_folder).decoder
    expected = plain.predict(IDS, LENGTHS, 100)[PREVIOUS]
    for max_items in (100, 9, 1):
        Y = decoder.predict(IDS, LENGTHS, max_items)
        assert_close(Y, expected, atol=1e-6, rtol=1e-5)
    assert torch.equal(decoder.under("ccbb").predict(IDS, LENGTHS, 100), expected)


def test_saved_and_loaded(decoder_folder, tmp_path):
    built = build(decoder_folder, read_previous=True)
    assert torch.equal(copy.deepcopy(built.decoder).predict(IDS, LENGTHS, 100), vectors(built))
    save(built, tmp_path / "x")
    assert read_description_of(tmp_path / "x")["read_previous"] is True
    assert torch.equal(vectors(restore(tmp_path / "x", built)), vectors(built))
    with pytest.raises(ValueError, match="trained with read_previous = True, but the config says"):
        restore(tmp_path / "x", built, read_previous=False)
