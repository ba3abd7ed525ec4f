"""Which parts of Docs become sequences."""

import pytest
import spacy
from spacy.tokens import Doc

from spacy_lgu.listeners.span_getters import strided_spans_v1

from ..conftest import needs_stock
from .conftest import own_classes, stock_classes

VOCAB = spacy.blank("en").vocab


def make_doc(n_tokens):
    return Doc(VOCAB, words=list("abcdefghijkl"[:n_tokens]))


def places(spans):
    return [[(span.start, span.end) for span in doc_spans] for doc_spans in spans]


def test_docs(classes):
    assert places(classes.doc_spans_v1()([make_doc(3), make_doc(0)])) == [[(0, 3)], [(0, 0)]]


def test_sentences(classes):
    doc = Doc(VOCAB, words=["a", "b", "c"], sent_starts=[True, False, True])
    assert places(classes.sent_spans_v1()([doc])) == [[(0, 2), (2, 3)]]


@pytest.mark.parametrize(
    ("n_tokens", "expected"),
    [
        (0, []),
        (2, [(0, 2)]),
        (4, [(0, 4)]),
        (5, [(0, 4), (3, 5)]),
        (7, [(0, 4), (3, 7)]),
        (8, [(0, 4), (3, 7), (6, 8)]),
    ],
)
def test_windows(classes, n_tokens, expected):
    assert places(classes.strided_spans_v1(window=4, stride=3)([make_doc(n_tokens)])) == [expected]


@pytest.mark.parametrize(("window", "stride"), [(4, 5), (4, 0), (0, 0), (4, -1)])
def test_a_stride_that_cannot_work(window, stride):
    with pytest.raises(ValueError, match=rf"is {stride} and the window {window}: expected a str"):
        strided_spans_v1(window, stride)


@needs_stock
def test_windows_are_those_of_spacy_transformers():
    docs = [make_doc(n) for n in range(13)]
    for window in range(1, 8):
        for stride in range(1, window + 1):
            own, stock = (
                places(classes.strided_spans_v1(window, stride)(docs))
                for classes in (own_classes(), stock_classes())
            )
            assert own == stock
