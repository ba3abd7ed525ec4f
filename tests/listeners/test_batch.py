"""A batch in one row, and each Doc's share of it."""

import numpy
import pytest
import torch
from thinc.api import Ragged

ROW = [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0], [8.0, 9.0]]


@pytest.fixture
def batch(classes):
    """Docs of two tokens with three subtokens, none, and three tokens that share two."""
    return classes.PackedTransformerBatch(
        spans=[[], [], []],
        wordpieces=classes.WordpieceBatch(
            strings=[["a", "b", "c", "d", "e"]],
            input_ids=numpy.array([[5, 6, 7, 8, 9]]),
            attention_mask=numpy.ones((1, 5), dtype="float32"),
            lengths=[5],
            token_type_ids=None,
        ),
        model_output=classes.ModelOutput(last_hidden_state=torch.tensor([ROW])),
        align=Ragged(
            numpy.array([0, 1, 2, 3, 4, 4], dtype="int32"),
            numpy.array([1, 2, 1, 1, 1], dtype="int32"),
        ),
        doc_lengths=numpy.array([3, 0, 2]),
        n_tokens=numpy.array([2, 0, 3]),
    )


def test_it_is_one_of_the_batches_in_use(classes, batch):
    assert isinstance(batch, classes.FullTransformerBatch)
    assert batch.tensors[0].tolist() == [ROW]
    assert batch.tokens["input_ids"].tolist() == [[5, 6, 7, 8, 9]]


def test_split(classes, batch):
    first, second, third = batch.doc_data
    assert {type(data) for data in batch.doc_data} == {classes.TransformerData}
    assert first.model_output.last_hidden_state.tolist() == [ROW[:3]]
    assert first.wordpieces.strings == [["a", "b", "c"]]
    assert first.wordpieces.input_ids.tolist() == [[5, 6, 7]]
    assert first.wordpieces.lengths == [3]
    assert first.align.lengths.tolist() == [1, 2]
    assert first.align.dataXd.tolist() == [0, 1, 2]
    assert second.model_output == {}
    assert len(second.align.lengths) == 0
    assert third.model_output.last_hidden_state.tolist() == [ROW[3:]]
    assert third.wordpieces.strings == [["d", "e"]]
    assert third.wordpieces.attention_mask.tolist() == [[1.0, 1.0]]
    assert third.align.lengths.tolist() == [1, 1, 1]
    assert third.align.dataXd.tolist() == [0, 1, 1]
    assert batch.doc_data[0] is first  # computed once


def test_unsplit(classes, batch):
    gradients = [[numpy.full((1, n, 2), n, dtype="float32")] for n in (3, 2)]
    found = batch.unsplit_by_doc(gradients)
    assert type(found) is classes.PackedTransformerBatch
    assert type(found.model_output) is classes.ModelOutput
    expected = [[3.0, 3.0]] * 3 + [[2.0, 2.0]] * 2
    assert found.model_output.last_hidden_state.tolist() == [expected]
    assert found.cached_doc_data is None
    assert batch.model_output.last_hidden_state.tolist() == [ROW]


def test_gradients_that_do_not_cover_it(batch):
    with pytest.raises(ValueError, match="gradients for 5 subtokens of 3 Docs, but got 3"):
        batch.unsplit_by_doc([[numpy.zeros((1, 3, 2), dtype="float32")]])


def test_empty(classes):
    batch = classes.PackedTransformerBatch.empty(2)
    assert batch.spans == [[], []]
    assert [data.model_output for data in batch.doc_data] == [{}, {}]
    assert batch.tensors == ()
    assert len(batch.wordpieces) == 0


def test_the_layer_that_splits(classes, batch):
    Y, backprop = classes.split_trf_batch()(batch, is_train=True)
    assert Y is batch.doc_data
    gradients = [Y[0], Y[2]]  # empty Docs have none
    dX = backprop(gradients)
    assert dX.model_output.last_hidden_state.tolist() == [ROW]
    assert dX.doc_lengths.tolist() == [3, 0, 2]
