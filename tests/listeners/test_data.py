"""What Docs carry: read as users of spacy-transformers read it, and the same after a round trip."""

import copy
import pickle

import numpy
import pytest
import spacy
from spacy.tokens import Doc, DocBin

from spacy_lgu.listeners import data as own
from spacy_lgu.listeners import stock
from spacy_lgu.listeners.component import install_extensions

from ..conftest import needs_stock
from .conftest import make_data, own_classes, stock_classes

VECTORS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


@pytest.fixture
def data(classes):
    found = make_data(classes, VECTORS, [0, 1, 2], [1, 2])
    found.wordpieces = classes.WordpieceBatch(
        strings=[["An", "n", "ate"]],
        input_ids=numpy.array([[7, 8, 9]]),
        attention_mask=numpy.ones((1, 3), dtype="float32"),
        lengths=[3],
        token_type_ids=None,
    )
    return found


def assert_equal(found, expected):
    assert found.model_output.last_hidden_state.tolist() == [VECTORS]
    assert found.wordpieces.strings == expected.wordpieces.strings
    assert found.wordpieces.input_ids.tolist() == [[7, 8, 9]]
    assert found.wordpieces.attention_mask.tolist() == [[1.0, 1.0, 1.0]]
    assert found.wordpieces.lengths == [3]
    assert found.wordpieces.token_type_ids is None
    assert found.align.dataXd.tolist() == [0, 1, 2]
    assert found.align.lengths.tolist() == [1, 2]


def test_what_users_read(data):
    assert data.width == 2
    assert data.model_output.last_hidden_state.shape == (1, 3, 2)
    assert data.model_output["last_hidden_state"] is data.model_output.last_hidden_state
    assert data.model_output[0] is data.model_output.last_hidden_state
    assert "last_hidden_state" in data.model_output
    assert "pooler_output" not in data.model_output
    assert not hasattr(data.model_output, "pooler_output")
    assert len(data.tensors) == 1
    assert data.tensors[-1].tolist() == [VECTORS]
    assert data.align[1].dataXd.ravel().tolist() == [1, 2]
    assert data.tokens["input_texts"] == [["An", "n", "ate"]]
    assert data.tokens["input_ids"].tolist() == [[7, 8, 9]]
    assert data.tokens["attention_mask"].tolist() == [[1.0, 1.0, 1.0]]
    assert len(data.wordpieces) == 1
    assert "token_type_ids" not in data.tokens


def test_token_types_are_kept(classes):
    pieces = classes.WordpieceBatch.zeros([2, 2])
    pieces.token_type_ids = numpy.array([[0, 0], [1, 1]])
    assert pieces[1].token_type_ids.tolist() == [[1, 1]]
    assert pieces[1].to_hf_dict()["token_type_ids"].tolist() == [[1, 1]]


@pytest.mark.parametrize("index", [1, slice(1, 2)])
def test_a_sequence_of_several(classes, index):
    pieces = classes.WordpieceBatch.zeros([2, 2])
    pieces.strings, pieces.input_ids = [["a", "b"], ["c", "d"]], numpy.array([[1, 2], [3, 4]])
    assert pieces[index].strings == [["c", "d"]]
    assert pieces[index].input_ids.tolist() == [[3, 4]]
    assert pieces[index].lengths == [2]


def test_the_last_sequence():
    pieces = own.WordpieceBatch.zeros([1, 3])
    assert pieces[-1].strings == [["", "", ""]]
    assert pieces[-1].lengths == [3]


def test_an_output_can_be_changed():
    output = own.ModelOutput(last_hidden_state=1)
    output.last_hidden_state = 2
    output["pooler_output"] = 3
    assert output.to_tuple() == (2, 3)
    assert output[0:1] == (2,)
    with pytest.raises(AttributeError, match=r"no output 'logits': expected one of \['last_hid"):
        _ = output.logits


def test_zeros(classes):
    data = classes.TransformerData.zeros(2, 3)
    assert data.model_output.last_hidden_state.tolist() == [[[0.0] * 3, [0.0] * 3]]
    assert data.model_output.last_hidden_state.dtype == numpy.float32
    assert data.align.dataXd.tolist() == [0, 1]
    assert data.align.lengths.tolist() == [1, 1]
    assert data.wordpieces.strings == [["", ""]]
    assert data.wordpieces.input_ids.tolist() == [[0, 0]]
    assert data.wordpieces.lengths == [2]


def test_zeros_of_sequences_of_several_lengths():
    pieces = own.WordpieceBatch.zeros([1, 3])
    assert pieces.strings == [[""], ["", "", ""]]
    assert pieces.input_ids.shape == (2, 3)
    assert pieces.attention_mask.tolist() == [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]


def test_empty(classes):
    data = classes.TransformerData.empty()
    assert data.model_output == {}
    assert data.tensors == ()
    assert data.align.lengths.shape == data.align.dataXd.shape == (0,)
    assert len(data.wordpieces) == 0
    assert data.wordpieces.input_ids.shape == (0, 0)
    with pytest.raises(ValueError, match=r"no width|Cannot find last hidden state"):
        _ = data.width


def test_round_trips(classes, data):
    empty = classes.TransformerData.empty
    assert_equal(empty().from_bytes(data.to_bytes()), data)
    assert_equal(empty().from_dict(data.to_dict()), data)
    assert_equal(pickle.loads(pickle.dumps(data)), data)
    assert_equal(copy.deepcopy(data), data)


@needs_stock
def test_each_reads_the_bytes_of_the_other():
    for one, other in ((own_classes(), stock_classes()), (stock_classes(), own_classes())):
        data = make_data(one, VECTORS, [0, 1, 2], [1, 2])
        found = other.TransformerData.empty().from_bytes(data.to_bytes())
        assert found.model_output.last_hidden_state.tolist() == [VECTORS]
        assert found.align.lengths.tolist() == [1, 2]
        assert found.wordpieces.strings == [["", "", ""]]


def test_docs_are_serialized_with_what_they_carry():
    install_extensions()
    nlp = spacy.blank("en")
    doc = nlp.make_doc("Ann ate")
    doc._.trf_data = make_data(stock, VECTORS, [0, 1, 2], [1, 2])
    found = [Doc(nlp.vocab).from_bytes(doc.to_bytes())]
    binary = DocBin(docs=[doc], store_user_data=True).to_bytes()
    found += DocBin().from_bytes(binary).get_docs(nlp.vocab)
    for other in found:
        assert isinstance(other._.trf_data, stock.TransformerData)
        assert other._.trf_data.model_output.last_hidden_state.tolist() == [VECTORS]
        assert other._.trf_data.align.lengths.tolist() == [1, 2]


def test_the_encoder_passes_on_what_is_not_its_own():
    data = own.TransformerData.zeros(1, 2)
    message = own.encode(data)
    assert list(message) == ["__transformerdata__"]
    assert own.decode(message).model_output.last_hidden_state.tolist() == [[[0.0, 0.0]]]
    assert own.encode(1) == own.decode({"a": 1}).get("a") == 1
    assert own.encode(1, str) == "1"
    assert own.decode({"a": 1}, list) == ["a"]
