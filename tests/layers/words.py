"""Docs with a subtoken per word, and the sequences they become."""

import numpy
from spacy.tokens import Doc
from spacy.vocab import Vocab

from spacy_lgu.layers.alignment import encode_docs

from .tokenizer_kinds import word_tokenizer

VOCAB = Vocab()
TOKENIZERS = {
    (bos, eos): word_tokenizer(bos=bos, eos=eos) for bos in (False, True) for eos in (False, True)
}


def doc_of(n_words):
    """w0 w1 w2 ...: a subtoken per word."""
    return Doc(VOCAB, words=[f"w{i}" for i in range(n_words)])


def encode(doc, *, window, stride=None, causal=False, bos=False, eos=False, spans=None):
    spans = [doc[:]] if spans is None else spans
    return encode_docs(
        [doc], [spans], TOKENIZERS[bos, eos], window=window, stride=stride, causal=causal
    )


def sequences(encoded, bos=False, eos=False):
    """The sequences as words."""
    strings = TOKENIZERS[bos, eos].convert_ids_to_tokens(encoded.ids.tolist())
    pieces = numpy.split(numpy.arange(len(strings)), encoded.lengths.cumsum()[:-1])
    return [" ".join(strings[i] for i in piece) for piece in pieces]


def read_from(encoded):
    """For each token, the sequence that its first subtoken is read from."""
    firsts = encoded.indices[encoded.token_lengths.cumsum() - encoded.token_lengths]
    rows = firsts if encoded.rows is None else encoded.rows[firsts]
    return numpy.searchsorted(encoded.lengths.cumsum(), rows, side="right").tolist()
