"""The head: one matrix for a batch, gradients, room for more tags."""

import numpy
from numpy.testing import assert_allclose
from thinc.api import Model, set_dropout_rate

from spacy_lgu.layers.sequence_labeler import resize_output, sequence_labeler

W = numpy.array([[1, 0], [0, 1], [1, 1]], dtype="float32")
VECTORS = [
    numpy.array([[1, 2], [3, 4]], dtype="float32"),
    numpy.zeros((0, 2), dtype="float32"),
    numpy.array([[5, 6]], dtype="float32"),
]


def make_head():
    """Three tags on vectors of width 2, and what flows back into the vectors."""
    received = []

    def forward(model, X, is_train):
        return X, received.append

    tok2vec = Model("vectors", forward, dims={"nO": 2})
    model = sequence_labeler(tok2vec)
    model.initialize(X=VECTORS, Y=numpy.zeros((3, 3), dtype="float32"))
    output = model.get_ref("output_layer")
    output.set_param("W", W)
    output.set_param("b", numpy.array([0, 0, 10], dtype="float32"))
    return model, received


def test_logits_of_all_docs_in_one_matrix():
    model, _ = make_head()
    assert model.predict(VECTORS).tolist() == [[1, 2, 13], [3, 4, 17], [5, 6, 21]]


def test_gradients_go_back_to_their_docs():
    model, received = make_head()
    _, backprop = model.begin_update(VECTORS)
    backprop(numpy.array([[1, 0, 0], [0, 1, 0], [0, 0, 2]], dtype="float32"))
    (dX,) = received
    assert [d.tolist() for d in dX] == [[[1, 0], [0, 1]], [], [[2, 2]]]
    output = model.get_ref("output_layer")
    assert output.get_grad("b").tolist() == [1, 1, 2]
    assert output.get_grad("W").tolist() == [[1, 2], [3, 4], [10, 12]]


def test_dropout_in_training_only():
    model, _ = make_head()
    set_dropout_rate(model, 0.9)
    assert model.predict(VECTORS).tolist() == [[1, 2, 13], [3, 4, 17], [5, 6, 21]]
    Y, _ = model.begin_update(VECTORS)
    assert Y.tolist() != [[1, 2, 13], [3, 4, 17], [5, 6, 21]]


def test_more_tags_keep_the_rows_there_are():
    model, _ = make_head()
    resize_output(model, 5)
    output = model.get_ref("output_layer")
    assert output.get_param("W").tolist() == [*W.tolist(), [0, 0], [0, 0]]
    assert output.get_param("b").tolist() == [0, 0, 10, -10, -10]
    assert model.get_dim("nO") == output.get_dim("nO") == 5
    assert model.predict(VECTORS).tolist()[0] == [1, 2, 13, -10, -10]
    restored, _ = make_head()
    restored = resize_output(restored, 5).from_bytes(model.to_bytes())
    assert_allclose(restored.predict(VECTORS), model.predict(VECTORS))


def test_a_copy_is_resized_by_itself():
    model, _ = make_head()
    copied = model.copy()
    copied.set_ref("output_layer", copied.layers[-1].layers[0])  # thinc copies no references
    resize_output(copied, 5)
    assert copied.predict(VECTORS).shape == (3, 5)
    assert model.predict(VECTORS).shape == (3, 3)
