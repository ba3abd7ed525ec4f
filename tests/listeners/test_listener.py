"""A listener gives what its Docs carry, or in training what the transformer handed over."""

import pytest

from .conftest import make_data


@pytest.fixture
def listener(classes):
    layer = classes.TransformerListener("trf")
    layer.set_dim("nO", 2)
    return layer


@pytest.fixture
def outputs(classes):
    return [
        make_data(classes, [[1.0, 2.0], [3.0, 4.0]], [0, 1], [1, 1]),
        classes.TransformerData.empty(),
        make_data(classes, [[5.0, 6.0]] * 3, [0, 1, 2], [1, 1, 1]),
    ]


@pytest.fixture
def carrying(docs, outputs):
    for doc, data in zip(docs, outputs, strict=True):
        doc._.trf_data = data
    yield docs
    for doc in docs:
        doc._.trf_data = None


def test_its_name_and_upstream(listener):
    assert listener.name == "transformer-listener"
    assert listener.upstream_name == "trf"


def test_predicts_what_the_docs_carry(listener, carrying, outputs):
    found = listener.predict(carrying)
    assert [id(data) for data in found] == [id(data) for data in outputs]


def test_predicts_zeros_where_docs_carry_nothing(listener, docs):
    found = [data.model_output.last_hidden_state.tolist() for data in listener.predict(docs)]
    assert found == [[[[0.0, 0.0]] * 2], [[]], [[[0.0, 0.0]] * 3]]


def test_training_gives_what_was_received_and_hands_gradients_back(listener, docs, outputs):
    received = []

    def backprop(gradients):
        received.extend(gradients)
        return docs

    listener.receive(listener.get_batch_id(docs), outputs, backprop)
    assert listener.verify_inputs(docs)
    Y, give_back = listener.begin_update(docs)
    assert Y is outputs
    assert give_back([outputs[0], outputs[2]]) is docs
    assert [id(data) for data in received] == [id(outputs[0]), id(outputs[2])]
    with pytest.raises(ValueError):  # the batch is forgotten
        listener.verify_inputs(docs)
    assert listener.backprop_and_clear([]) is None


def test_predicting_leaves_a_received_batch_alone(listener, carrying, outputs):
    listener.receive(listener.get_batch_id(carrying), [], None)
    assert listener.predict(carrying)[0] is outputs[0]
    assert listener.verify_inputs(carrying)


def test_another_batch_is_refused(listener, docs, outputs):
    listener.receive(listener.get_batch_id(docs[:1]), outputs, None)
    with pytest.raises(ValueError, match="Mismatched IDs"):
        listener.begin_update(docs)


def test_batch_ids(listener, docs):
    batch_id = listener.get_batch_id(docs)
    assert batch_id == listener.get_batch_id([doc.copy() for doc in docs])
    assert batch_id == listener.get_batch_id([docs[0], docs[2]])  # empty Docs do not count
    assert batch_id != listener.get_batch_id(docs[2:])


def test_the_order_of_a_batch_counts(docs):
    from spacy_lgu.listeners.listener import TransformerListener

    get_batch_id = TransformerListener.get_batch_id
    assert get_batch_id(docs) != get_batch_id(docs[::-1])


def test_training_without_a_batch_reads_the_docs(listener, carrying, outputs):
    """The transformer is frozen and annotates."""
    Y, give_back = listener.begin_update(carrying)
    assert [id(data) for data in Y] == [id(data) for data in outputs]
    assert give_back([]) == []


def test_training_without_vectors(classes, docs):
    with pytest.raises(ValueError, match=r"annotating_components|annotating components"):
        classes.TransformerListener("*").begin_update(docs)


def test_its_width_is_needed_for_zeros_alone(carrying, outputs):
    from spacy_lgu.listeners.listener import TransformerListener

    listener = TransformerListener("*")
    assert listener.predict(carrying)[2] is outputs[2]
    carrying[0]._.trf_data = None
    with pytest.raises(ValueError, match="nO"):
        listener.predict(carrying)
