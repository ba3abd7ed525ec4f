"""The base of transformer components: who listens, what is written, how gradients come back."""

import copy
import pickle

import numpy
import pytest
import spacy
import torch
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Adam, Model, Ragged, chain, reduce_mean

from spacy_lgu.listeners.component import Transformer
from spacy_lgu.listeners.stock import (
    USES_STOCK,
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


def listen(transformer, n_heads):
    heads = [
        chain(TransformerListener("*"), trfs2arrays(reduce_mean(), 1.0)) for _ in range(n_heads)
    ]
    for i, head in enumerate(heads):
        transformer.add_listener(head.layers[0], f"head{i}")
    return heads


def learn(head, docs):
    Y, backprop = head.begin_update(docs)
    backprop([numpy.ones_like(array) for array in Y])


def test_a_listener_that_was_skipped_forgets_the_batch(transformer, examples):
    heads = listen(transformer, 2)
    transformer.update(examples)
    learn(heads[0], [example.predicted for example in examples])
    transformer.finish_update(Adam(0.1))
    skipped = heads[1].layers[0]
    assert (skipped._batch_id, skipped._outputs, skipped._backprop) == (None, [], None)


@pytest.mark.skipif(USES_STOCK, reason="a listener of spacy-transformers' own")
def test_docs_that_were_annotated_meanwhile_are_not_those_of_a_batch_that_waits(
    transformer, examples
):
    heads = listen(transformer, 2)
    transformer.update(examples)
    learn(heads[0], [example.predicted for example in examples])
    others = [Doc(Vocab(), words=["four", "words", "are", "here"])]
    with pytest.raises(ValueError, match="Mismatched IDs"):
        heads[1].begin_update(others)
    Y, _ = heads[1].begin_update(list(transformer.pipe(others)))
    assert Y[0].tolist() == [[4.0, 1.0], [5.0, 1.0], [3.0, 1.0], [4.0, 1.0]]


@pytest.mark.skipif(USES_STOCK, reason="a listener of spacy-transformers' own")
def test_copies_have_no_part_in_a_batch_that_waits(transformer, examples):
    (head,) = listen(transformer, 1)
    transformer.update(examples)
    for copied in (copy.deepcopy(head.layers[0]), pickle.loads(pickle.dumps(head.layers[0]))):
        assert (copied._batch_id, copied._outputs, copied._backprop) == (None, [], None)
    assert copy.deepcopy(transformer._batch) is None
    assert pickle.loads(pickle.dumps(transformer._batch)) is None
    assert transformer._batch is not None


@pytest.mark.skipif(USES_STOCK, reason="a listener of spacy-transformers' own")
def test_docs_that_were_retokenized_are_refused(transformer):
    (head,) = listen(transformer, 1)
    (doc,) = transformer.pipe([Doc(Vocab(), words=["New", "York", "is", "big"])])
    assert len(head.predict([doc])[0]) == 4
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[:2])
    message = r"The Doc 'New York is big ' has 3 tokens, but vectors of 4: it was retokenized"
    for call in (head.predict, head.begin_update):
        with pytest.raises(ValueError, match=message):
            call([doc])


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
