"""Both sets of classes: those of this package, and of spacy-transformers where it is in use."""

from types import SimpleNamespace

import numpy
import pytest
import spacy
from thinc.api import Ragged

from spacy_lgu.listeners import batch, data, listener, pooling, span_getters, splitting
from spacy_lgu.listeners.component import install_extensions

from ..conftest import needs_stock


def own_classes() -> SimpleNamespace:
    return SimpleNamespace(
        FullTransformerBatch=batch.FullTransformerBatch,
        ModelOutput=data.ModelOutput,
        PackedTransformerBatch=batch.FullTransformerBatch,
        TransformerData=data.TransformerData,
        TransformerListener=listener.TransformerListener,
        WordpieceBatch=data.WordpieceBatch,
        doc_spans_v1=span_getters.doc_spans_v1,
        sent_spans_v1=span_getters.sent_spans_v1,
        split_trf_batch=splitting.split_trf_batch,
        strided_spans_v1=span_getters.strided_spans_v1,
        trfs2arrays=pooling.trfs2arrays,
    )


def stock_classes() -> SimpleNamespace:
    from spacy_lgu.listeners import names, stock

    found = {**vars(names), **vars(stock)}
    return SimpleNamespace(**{name: found[name] for name in vars(own_classes())})


@pytest.fixture(params=["own", pytest.param("stock", marks=needs_stock)])
def classes(request) -> SimpleNamespace:
    return own_classes() if request.param == "own" else stock_classes()


@pytest.fixture(scope="module")
def docs():
    """Two tokens, none, and three."""
    install_extensions()
    nlp = spacy.blank("en")
    return [nlp.make_doc(text) for text in ("Ann ate", "", "Bo saw Cy")]


def make_data(classes, vectors, indices, lengths):
    """The TransformerData of a Doc from its vectors and alignment."""
    vectors = numpy.array(vectors, dtype="float32")[None]  # (1, subtokens, width)
    return classes.TransformerData(
        wordpieces=classes.WordpieceBatch.zeros([vectors.shape[1]]),
        model_output=classes.ModelOutput(last_hidden_state=vectors),
        align=Ragged(numpy.array(indices, dtype="int32"), numpy.array(lengths, dtype="int32")),
    )
