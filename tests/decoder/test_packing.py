import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spacy_lgu.decoder.packing import PackedBatch, bucket_sequences, micro_batches

CPU = torch.device("cpu")
LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=30)


def test_packed_batch_by_eye():
    packed = PackedBatch.pack(numpy.array([5, 6, 7, 8, 9]), [3, 2], device=CPU)
    assert packed.ids.tolist() == [[5, 6, 7, 8, 9]]
    assert packed.positions.tolist() == [[0, 1, 2, 0, 1]]
    assert packed.cu_seqlens.tolist() == [0, 3, 5]
    assert packed.lengths.tolist() == [3, 2]
    assert (packed.n_subtokens, packed.max_length) == (5, 3)
    assert (packed.ids.dtype, packed.positions.dtype) == (torch.int64, torch.int64)
    assert packed.cu_seqlens.dtype == torch.int32


@pytest.mark.parametrize("lengths", [[], [3], [3, 3], [5, 0], [6, -1]])
def test_lengths_that_do_not_fit_are_refused(lengths):
    with pytest.raises(ValueError, match="lengths that sum to 5, the number of subtokens, but got"):
        PackedBatch.pack(numpy.arange(5), lengths, device=CPU)


def test_one_bucket_by_eye():
    # Sequences 0..2, 3..4: the longer first, padding repeats the last row of the shorter.
    [(rows, real)] = bucket_sequences(numpy.array([2, 3]))
    assert rows.tolist() == [[2, 3, 4], [0, 1, 1]]
    assert real.tolist() == [[True, True, True], [True, True, False]]


def test_lengths_far_apart_go_into_different_buckets():
    groups = bucket_sequences(numpy.array([100, 5, 95, 1]))
    assert [rows.shape for rows, _ in groups] == [(2, 100), (2, 5)]


@given(LENGTHS)
def test_buckets_hold_each_row_once_and_lead_back(lengths):
    total = sum(lengths)
    packed = PackedBatch.pack(numpy.arange(total), lengths, device=CPU)
    buckets = packed.buckets
    cells = torch.cat([bucket.rows.flatten() for bucket in buckets.groups])
    assert cells[buckets.source].tolist() == list(range(total))
    n_cells = 0
    for bucket in buckets.groups:
        sequence_lengths = (
            torch.full((len(bucket.rows),), bucket.rows.shape[1])
            if bucket.real is None
            else bucket.real.sum(1)
        )
        longest = bucket.rows.shape[1]
        assert sequence_lengths.max() == longest
        assert sequence_lengths.min() >= longest - max(longest // 8, 4)
        n_cells += int(sequence_lengths.sum())
    assert n_cells == total


def test_micro_batches_by_eye():
    groups = micro_batches(numpy.array([3, 9, 4, 2, 1]), 6)
    # 9 is longer than 6 and runs alone; 4 leaves no room for 3; 3 + 2 + 1 fill a group.
    assert [group.tolist() for group in groups] == [[1], [2], [0, 3, 4]]


@given(LENGTHS, st.integers(1, 100))
def test_micro_batches_are_bounded_and_complete(lengths, max_items):
    lengths = numpy.array(lengths)
    groups = micro_batches(lengths, max_items)
    assert sorted(numpy.concatenate(groups).tolist()) == list(range(len(lengths)))
    for group in groups:
        assert lengths[group].sum() <= max_items or len(group) == 1
