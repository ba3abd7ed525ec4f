"""Tags and sequences written out, and random batches of them."""

from itertools import product

import numpy
from hypothesis import strategies as st

from spacy_lgu.labeling.probabilities import log_softmax

O, B_X, I_X, B_Y, I_Y = range(5)  # noqa: E741


def as_lengths(*lengths):
    return numpy.array(lengths, dtype="int64")


def is_valid(tags):
    return all(
        tag == O or tag % 2 == 1 or (i > 0 and tags[i - 1] in (tag, tag - 1))
        for i, tag in enumerate(tags)
    )


def valid_sequences(n_tokens, n_tags):
    return [tags for tags in product(range(n_tags), repeat=n_tokens) if is_valid(tags)]


def spans_of(tags):
    """Spans of valid tags, token by token: (start, end, label)."""
    found = []
    for i, tag in enumerate(tags):
        if tag % 2 == 1:
            end = i + 1
            while end < len(tags) and tags[end] == tag + 1:
                end += 1
            found.append((i, end, tag // 2))
    return found


def as_tuples(spans):
    return list(
        zip(
            spans.sequences.tolist(),
            spans.starts.tolist(),
            spans.ends.tolist(),
            spans.labels.tolist(),
            strict=True,
        )
    )


@st.composite
def batches(draw):
    """Lengths of up to three sequences, and logits that disagree with IOB2 as often as not."""
    n_labels = draw(st.integers(1, 2))
    lengths = draw(st.lists(st.integers(0, 4), min_size=1, max_size=3))
    rng = numpy.random.default_rng(draw(st.integers(0, 2**32)))
    scale = draw(st.sampled_from([0.5, 3.0, 30.0]))
    logits = rng.normal(scale=scale, size=(sum(lengths), 1 + 2 * n_labels))
    return as_lengths(*lengths), log_softmax(logits)


def split(scores, lengths):
    return numpy.split(scores, lengths.cumsum()[:-1])


def total(scores, tags):
    return sum(scores[i, tag] for i, tag in enumerate(tags))
