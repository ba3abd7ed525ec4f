"""Vectors of tokens from those of their subtokens, and the gradients on the way back."""

import numpy
import pytest
from thinc.api import reduce_first, reduce_last, reduce_mean

from spacy_lgu.listeners.pooling import trfs2arrays

from .conftest import make_data, own_classes

# Three tokens: the first has two subtokens, the others share the third.
VECTORS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
INDICES, LENGTHS = [0, 1, 2, 2], [2, 1, 1]


@pytest.fixture
def datas(classes):
    return [
        make_data(classes, VECTORS, INDICES, LENGTHS),
        classes.TransformerData.empty(),
        make_data(classes, [[7.0, 8.0]], [0], [1]),
    ]


@pytest.mark.parametrize(
    ("pooling", "first"),
    [(reduce_mean, [2.0, 3.0]), (reduce_first, [1.0, 2.0]), (reduce_last, [3.0, 4.0])],
)
def test_tokens(classes, datas, pooling, first):
    Y = classes.trfs2arrays(pooling(), 1.0).predict(datas)
    assert [array.tolist() for array in Y] == [[first, [5.0, 6.0], [5.0, 6.0]], [], [[7.0, 8.0]]]
    assert {array.dtype for array in Y} == {numpy.dtype("float32")}


@pytest.mark.parametrize(
    ("pooling", "rows"),
    [
        (reduce_mean, [[0.5, 0.5], [0.5, 0.5]]),
        (reduce_first, [[1.0, 1.0], [0.0, 0.0]]),
        (reduce_last, [[0.0, 0.0], [1.0, 1.0]]),
    ],
)
def test_gradients(classes, datas, pooling, rows):
    Y, backprop = classes.trfs2arrays(pooling(), 1.0)(datas, is_train=True)
    dY = [numpy.array(a, dtype="float32") for a in ([[1, 1], [2, 3], [4, 5]], [], [[6, 7]])]
    dY[1] = Y[1]
    first, third = backprop(dY)  # the empty Doc has none
    # What was given to the two tokens that share a subtoken is added.
    assert first.model_output.last_hidden_state.tolist() == [[*rows, [6.0, 8.0]]]
    assert third.model_output.last_hidden_state.tolist() == [[[6.0, 7.0]]]
    assert type(first) is classes.TransformerData


@pytest.mark.parametrize("factor", [0.0, 0.5])
def test_the_factor_on_gradients(classes, datas, factor):
    Y, backprop = classes.trfs2arrays(reduce_mean(), factor)(datas, is_train=True)
    (first, third) = backprop([numpy.ones_like(array) for array in Y])
    expected = [[factor / 2] * 2, [factor / 2] * 2, [2 * factor] * 2]
    assert first.model_output.last_hidden_state.tolist() == [expected]
    assert third.model_output.last_hidden_state.tolist() == [[[factor] * 2]]


def test_its_input_is_left_alone(classes, datas):
    Y, backprop = classes.trfs2arrays(reduce_mean(), 2.0)(datas, is_train=True)
    backprop([numpy.ones_like(array) for array in Y])
    assert datas[0].model_output.last_hidden_state.tolist() == [VECTORS]


def test_docs_without_tokens():
    from spacy_lgu.listeners.data import TransformerData

    layer = trfs2arrays(reduce_mean(), 1.0)
    nothing = [TransformerData.empty(), TransformerData.zeros(0, 2)]
    Y, backprop = layer(nothing, is_train=True)
    assert [array.shape for array in Y] == [(0, 0), (0, 0)]
    assert backprop(Y) == []
    Y = layer.predict([*nothing, TransformerData.zeros(1, 2)])
    assert [array.shape for array in Y] == [(0, 2), (0, 2), (1, 2)]


def test_what_is_no_transformer_data(classes):
    with pytest.raises(ValueError, match=r"Expected .*TransformerData"):
        classes.trfs2arrays(reduce_mean(), 1.0).predict([numpy.zeros((2, 2))])


def test_two_arrays_go_to_the_device_however_many_docs(monkeypatch):
    classes = own_classes()
    values = (VECTORS, INDICES, LENGTHS), ([[7.0, 8.0]], [0], [1])
    datas = [make_data(classes, *of_doc) for of_doc in values]
    layer = trfs2arrays(reduce_mean(), 1.0)
    sent = []
    asarray = layer.ops.asarray1i

    def asarray1i(array, **options):
        sent.append(array.tolist())
        return asarray(array, **options)

    monkeypatch.setattr(layer.ops, "asarray1i", asarray1i)
    layer.predict(datas)
    assert sent == [[0, 1, 2, 2, 3], [2, 1, 1, 1]]
