"""From logits to spans with probabilities."""

import numpy

from .decoding import decode_greedy, decode_viterbi
from .probabilities import log_softmax, span_probabilities
from .tags import TokenSpans, find_spans

DECODINGS = {"viterbi": decode_viterbi, "greedy": decode_greedy}

PredictedT = tuple[TokenSpans, numpy.ndarray]


def predict_spans(
    logits: numpy.ndarray,
    lengths: numpy.ndarray,
    is_space: numpy.ndarray,
    *,
    temperature: float,
    decoding: str,
) -> PredictedT:
    """The spans of a batch and their probabilities.

    logits (ndarray): Shape: (tokens, tags).
    lengths (ndarray): Tokens of each sequence. Shape: (sequences,).
    is_space (ndarray): Which tokens are white space: no span begins with one, as in spaCy's `ner`.
        Shape: (tokens,).
    temperature (float): The logits are divided by it.
    decoding (str): A key of DECODINGS.
    RETURNS (tuple[TokenSpans, ndarray]): The spans, and a probability for each.
    """
    log_probs = log_softmax(logits / temperature)
    log_probs[is_space, 1::2] = -numpy.inf
    spans = find_spans(DECODINGS[decoding](log_probs, lengths), lengths)
    return spans, span_probabilities(log_probs, lengths, spans)
