"""The base of transformer components: who listens, what is written, how gradients come back."""

import numpy
import pytest
import spacy
import torch
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Model, Ragged, chain, reduce_mean

from spacy_lgu.listeners.component import Transformer
from spacy_lgu.listeners.stock import (
    ComponentBase,
    ModelOutput,
    PackedTransformerBatch,
    TransformerListener,
    WordpieceBatch,
    trfs2arrays,
)

WIDTH = 2


def orth_layer():
    """Docs -> vectors (length of the token, 1), one subtoken per token; keeps its gradient."""

    def forward(model, docs, is_train):
        rows = [[float(len(token)), 1.0] for doc in docs for token in doc]
        n = numpy.array([len(doc) for doc in docs])
        Y = PackedTransformerBatch(
            spans=[[] for _ in docs],
            wordpieces=WordpieceBatch.zeros([len(rows)]),
            model_output=ModelOutput(last_hidden_state=torch.tensor([rows])),
            align=Ragged(numpy.arange(len(rows), dtype="i"), numpy.ones(len(rows), dtype="i")),
            doc_lengths=n,
            n_tokens=n,
        )

        def backprop(dY):
            model.attrs["gradients"].append(dY.model_output.last_hidden_state.tolist())
            return docs

        return Y, backprop

    return Model("orth", forward, dims={"nO": WIDTH}, attrs={"gradients": []})


class Pipe:
    """What find_listeners looks at."""

    def __init__(self, name, *upstream):
        self.name = name
        layers = [TransformerListener(u) for u in upstream]
        self.model = Model("head", None, layers=layers)


@pytest.fixture
def transformer():
    return Transformer(Vocab(), orth_layer(), name="trf")


@pytest.fixture
def examples():
    nlp = spacy.blank("en")
    docs = [nlp.make_doc(text) for text in ("Ann ate", "", "Bo")]
    return [Example(doc, doc.copy()) for doc in docs]


def test_it_is_one_of_the_components_in_use(transformer):
    assert isinstance(transformer, ComponentBase)
    assert transformer.cfg == {"max_batch_items": 4096}
    assert transformer.is_trainable


def test_a_model_that_is_none():
    with pytest.raises(ValueError, match=r"model of 'trf' is a <class 'str'>: expected a thinc"):
        Transformer(Vocab(), "orth", name="trf")


def test_who_listens(transformer):
    pipe = Pipe("ner", "trf", "*", "other")
    transformer.find_listeners(pipe)
    transformer.find_listeners(pipe)  # each is noted once
    transformer.find_listeners(Pipe("deaf", "other"))
    transformer.find_listeners(object())
    assert transformer.listening_components == ["ner"]
    assert transformer.listeners == pipe.model.layers[:2]
    assert [listener.get_dim("nO") for listener in transformer.listeners] == [2, 2]
    assert transformer.remove_listener(pipe.model.layers[0], "ner")
    assert not transformer.remove_listener(pipe.model.layers[0], "ner")
    assert transformer.listeners == [pipe.model.layers[1]]
    assert transformer.remove_listener(pipe.model.layers[1], "ner")
    assert transformer.listener_map == {}


def test_predicting_writes_what_was_computed(transformer):
    seen = []
    transformer.set_extra_annotations = lambda docs, batch: seen.append((docs, batch))
    nlp = spacy.blank("en")
    doc, empty = nlp.make_doc("Ann is"), nlp.make_doc("")
    assert transformer(doc) is doc
    assert doc._.trf_data.model_output.last_hidden_state.tolist() == [[[3.0, 1.0], [2.0, 1.0]]]
    assert seen[0][0] == [doc]
    assert seen[0][1].doc_data[0] is doc._.trf_data
    assert list(transformer.pipe([empty])) == [empty]
    assert empty._.trf_data.model_output == {}


def test_gradients_of_all_listeners_are_added(transformer, examples):
    heads = [chain(TransformerListener("*"), trfs2arrays(reduce_mean(), f)) for f in (1.0, 10.0)]
    for i, head in enumerate(heads):
        transformer.add_listener(head.layers[0], f"head{i}")
    losses = transformer.update(examples)
    assert losses == {"trf": 0.0}
    docs = [example.predicted for example in examples]
    given = transformer.model.attrs["gradients"]
    for head in heads:
        assert given == []  # not before the last one
        Y, backprop = head.begin_update(docs)
        assert [array.tolist() for array in Y] == [[[3.0, 1.0]] * 2, [], [[2.0, 1.0]]]
        dY = [numpy.ones_like(array) for array in Y]
        backprop(dY)
    assert given == [[[[11.0, 11.0]] * 3]]
    assert losses["trf"] == 6 * 1.0 + 6 * 100.0


def test_docs_without_tokens_are_not_computed(transformer, examples):
    transformer.model._func = None  # it must not be called
    assert transformer.update(examples[1:2]) == {}


def test_it_tells_listeners_after_it_their_width(transformer):
    nlp = spacy.blank("en")
    before, after = Pipe("before", "*"), Pipe("after", "*")
    nlp._components = [("before", before), ("trf", transformer), ("after", after)]
    transformer.initialize(list, nlp=nlp)
    assert transformer.listening_components == ["after"]
    assert after.model.layers[0].get_dim("nO") == 2
    assert transformer.get_loss([], None) is None
