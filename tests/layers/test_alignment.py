"""Which spans of a Doc are sequences, and from which one each token is read."""

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc

from spacy_lgu.layers.alignment import encode_docs
from spacy_lgu.listeners.span_getters import get_sent_spans, strided_spans_v1

from .words import TOKENIZERS, VOCAB, doc_of, encode, read_from, sequences


def test_spans_that_tile_the_doc_are_sequences_of_their_own():
    doc = Doc(VOCAB, words=["w0", "w1", "w2"], sent_starts=[True, False, True])
    encoded = encode(doc, window=9, bos=True, spans=get_sent_spans([doc])[0])
    assert sequences(encoded, True) == ["<s> w0 w1", "<s> w2"]
    assert encoded.rows is None
    assert encoded.indices.tolist() == [1, 2, 4]
    assert encoded.doc_lengths.tolist() == [5]


def test_overlapping_spans_are_read_where_they_show_most_context():
    doc = doc_of(7)
    spans = strided_spans_v1(window=4, stride=2)([doc])[0]
    encoded = encode(doc, window=9, spans=spans)
    assert sequences(encoded) == ["w0 w1 w2 w3", "w2 w3 w4 w5", "w4 w5 w6"]
    # w4 and w5 stand first and second of three in the last span, third and last in the middle one
    assert read_from(encoded) == [0, 0, 0, 1, 1, 2, 2]
    assert encoded.strings == ["w0", "w1", "w2", "w3", "w4", "w5", "w6"]


def test_overlapping_spans_under_causal_layers():
    doc = doc_of(7)
    spans = strided_spans_v1(window=4, stride=2)([doc])[0]
    assert read_from(encode(doc, window=9, spans=spans, causal=True)) == [0, 0, 0, 0, 1, 1, 2]


def test_every_span_keeps_its_special_subtokens():
    doc = doc_of(4)
    encoded = encode(doc, window=9, bos=True, eos=True, spans=[doc[:3], doc[1:]])
    assert encoded.strings == ["<s>", "w0", "w1", "</s>", "<s>", "w2", "w3", "</s>"]
    assert encoded.indices.tolist() == [1, 2, 5, 6]
    assert encoded.doc_lengths.tolist() == [8]


def test_nested_spans():
    doc = doc_of(7)
    encoded = encode(doc, window=9, spans=[doc[:], doc[2:5]])
    assert read_from(encoded) == [0, 0, 0, 0, 0, 0, 0]


def test_spans_in_any_order():
    doc = doc_of(4)
    encoded = encode(doc, window=9, spans=[doc[2:], doc[:2]])
    assert sequences(encoded) == ["w2 w3", "w0 w1"]
    assert encoded.strings == ["w2", "w3", "w0", "w1"]
    assert encoded.indices.tolist() == [2, 3, 0, 1]


def test_tokens_in_no_span_take_their_left_neighbour():
    doc = doc_of(6)
    encoded = encode(doc, window=9, spans=[doc[1:2], doc[3:4]])
    assert encoded.strings == ["w1", "w3"]
    assert encoded.indices.tolist() == [0, 0, 0, 1, 1, 1]
    assert encoded.token_lengths.tolist() == [1] * 6


def test_overlapping_spans_longer_than_the_window():
    doc = doc_of(9)
    encoded = encode(doc, window=4, stride=2, spans=[doc[:6], doc[3:]])
    assert sequences(encoded) == ["w0 w1 w2 w3", "w2 w3 w4 w5", "w3 w4 w5 w6", "w5 w6 w7 w8"]
    assert encoded.strings == [f"w{i}" for i in range(9)]
    assert read_from(encoded) == [0, 0, 0, 1, 1, 2, 3, 3, 3]


def test_empty_spans_are_left_out():
    doc = doc_of(2)
    assert sequences(encode(doc, window=9, spans=[doc[0:0], doc[:], doc[2:2]])) == ["w0 w1"]


def test_a_doc_without_spans():
    with pytest.raises(ValueError, match=r"returned no span for a Doc with 2 tokens \('w0 w1 "):
        encode(doc_of(2), window=9, spans=[])


SPANS = st.lists(st.tuples(st.integers(0, 11), st.integers(1, 12)), min_size=1, max_size=5)


@settings(max_examples=300, deadline=None)
@given(bounds=SPANS, causal=st.booleans(), bos=st.booleans(), window=st.sampled_from([4, 50]))
def test_any_spans_read_each_token_from_a_span_with_most_context(bounds, causal, bos, window):
    doc = doc_of(12)
    spans = [doc[start : max(start + 1, end)] for start, end in bounds]
    encoded = encode(doc, window=window, causal=causal, bos=bos, spans=spans)
    assert encoded.token_lengths.tolist() == [1] * 12
    rows = numpy.arange(len(encoded.ids)) if encoded.rows is None else encoded.rows
    assert len(numpy.unique(rows)) == len(rows) == len(encoded.strings)
    assert encoded.strings.count("<s>") == bos * len(spans)
    read, last = [], None
    for token in doc:
        covering = [span for span in spans if span.start <= token.i < span.end]
        if covering:
            last = token.text
        read.append(last)
    first = next(text for text in read if text)
    strings = [encoded.strings[i] for i in encoded.indices]
    assert strings == [text or first for text in read]
    # Each word that is read lies there once.
    words = [string for string in encoded.strings if string != "<s>"]
    assert sorted(words) == sorted({text for text in read if text})
    if window == 50:
        span_of_row = numpy.repeat(numpy.arange(len(spans)), encoded.lengths)
        for token, index in zip(doc, encoded.indices, strict=True):
            span = spans[span_of_row[rows[index]]]
            if span.start <= token.i < span.end:
                contexts = [
                    token.i - s.start if causal else min(token.i - s.start, s.end - 1 - token.i)
                    for s in spans
                    if s.start <= token.i < s.end
                ]
                own = token.i - span.start
                own = own if causal else min(own, span.end - 1 - token.i)
                assert own == max(contexts)


def test_a_first_token_without_subtokens_reads_from_its_own_doc():
    one, two = doc_of(2), doc_of(2)
    encoded = encode_docs(
        [one, two],
        [[one[:]], [two[1:]]],
        TOKENIZERS[False, False],
        window=9,
        stride=None,
        causal=False,
    )
    assert encoded.indices.tolist() == [0, 1, 2, 2]
