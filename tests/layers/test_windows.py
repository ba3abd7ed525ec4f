"""Which sequences a span is cut into, and from which one each subtoken is read."""

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc

from spacy_lgu.layers.alignment import encode_docs
from spacy_lgu.layers.windows import Windows, cut_windows, window_capacity

from .words import TOKENIZERS, VOCAB, doc_of, encode, read_from, sequences

# Literal cases.


@pytest.mark.parametrize(
    ("causal", "expected"),
    [(False, [0, 0, 0, 0, 1, 1, 2, 2]), (True, [0, 0, 0, 0, 0, 1, 1, 2])],
)
def test_the_drawing(causal, expected):
    """The span, its windows and what is read from each, as drawn in windows.py."""
    ids = numpy.array([9, 0, 1, 2, 3, 4, 5, 6])  # <s> w0 w1 w2 w3 w4 w5 w6
    cut = cut_windows(
        ids, numpy.array([8]), numpy.array([1]), numpy.array([0]),
        window=5, stride=None, causal=causal,
    )  # fmt: skip
    assert cut.lengths.tolist() == [5, 5, 5]
    assert cut.ids.reshape(3, 5).tolist() == [
        [9, 0, 1, 2, 3],
        [9, 2, 3, 4, 5],
        [9, 3, 4, 5, 6],
    ]
    assert (cut.rows // 5).tolist() == expected
    assert cut.ids[cut.rows].tolist() == ids.tolist()


def test_the_limit_is_the_context_or_what_fits_into_one_pass():
    assert Windows().find_limit(context=64, max_batch_items=4096) == 64
    assert Windows().find_limit(context=64, max_batch_items=20) == 20
    assert Windows(window=16).find_limit(context=64, max_batch_items=20) == 16


def test_the_limit_leaves_room_for_all_copies():
    assert Windows().find_limit(context=64, max_batch_items=4096, repeat=1) == 32
    assert Windows().find_limit(context=64, max_batch_items=4096, repeat=8) == 7
    assert Windows().find_limit(context=64, max_batch_items=20, repeat=2) == 6
    assert Windows(window=21).find_limit(context=64, max_batch_items=63, repeat=2) == 21


@pytest.mark.parametrize(
    ("window", "repeat", "message"),
    [
        (
            33,
            1,
            "is 33 subtokens, and 2 times as many with repeat = 1, but the decoder was made",
        ),
        (21, 2, "is 21 subtokens, and 3 times as many with repeat = 2, but max_batch_items allow"),
        (
            None,
            31,
            "repeat = 31 runs each sequence 32 times, .* at most 64 subtokens, .* allows",
        ),
    ],
)
def test_copies_without_room(window, repeat, message):
    with pytest.raises(ValueError, match=message):
        Windows(window).find_limit(context=64, max_batch_items=60, repeat=repeat)


@pytest.mark.parametrize(
    ("window", "message"),
    [(65, "is 65 subtokens, but the decoder was made for at most 64"), (21, "allows 20 per forw")],
)
def test_a_window_beyond_the_limit(window, message):
    with pytest.raises(ValueError, match=message):
        Windows(window).find_limit(context=64, max_batch_items=20)


@pytest.mark.parametrize(
    ("window", "stride", "message"),
    [
        (1, None, r"window is 1 subtokens: expected at least 2, or null"),
        (8, 9, r"stride is 9 subtokens: expected at least 1 and at most 8, the window, or null"),
        (None, 0, r"stride is 0 subtokens: expected at least 1, or null"),
    ],
)
def test_what_can_work_with_no_decoder(window, stride, message):
    with pytest.raises(ValueError, match=message):
        Windows(window, stride)


def test_a_span_that_fits_is_one_sequence():
    encoded = encode(doc_of(4), window=4)
    assert sequences(encoded) == ["w0 w1 w2 w3"]
    assert encoded.rows is None


def test_windows_overlap_by_half_and_the_last_one_is_full():
    encoded = encode(doc_of(7), window=4)
    assert sequences(encoded) == ["w0 w1 w2 w3", "w2 w3 w4 w5", "w3 w4 w5 w6"]


def test_bidirectional_layers_read_where_the_smaller_context_is_larger():
    # w2: 1 word to the right in the first window, none to the left in the second. w3: 0 and 1;
    # w4 has 1 on its smaller side in both later windows: the left one on a tie.
    assert read_from(encode(doc_of(7), window=4)) == [0, 0, 0, 1, 1, 2, 2]


def test_causal_layers_read_where_the_left_context_is_larger():
    assert read_from(encode(doc_of(7), window=4, causal=True)) == [0, 0, 0, 0, 1, 1, 2]


def test_each_window_has_the_special_subtokens():
    encoded = encode(doc_of(5), window=5, bos=True, eos=True)
    assert sequences(encoded, True, True) == [
        "<s> w0 w1 w2 </s>",
        "<s> w1 w2 w3 </s>",
        "<s> w2 w3 w4 </s>",
    ]
    # <s> of the first window, </s> of the last one, and each word from one.
    assert encoded.rows.tolist() == [0, 1, 2, 7, 12, 13, 14]
    assert encoded.strings == ["<s>", "w0", "w1", "w2", "w3", "w4", "</s>"]


def test_a_stride_of_one_window_reads_the_windows_as_they_are():
    encoded = encode(doc_of(6), window=3, stride=3)
    assert sequences(encoded) == ["w0 w1 w2", "w3 w4 w5"]
    assert encoded.rows.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_window_of_one_subtoken():
    encoded = encode(doc_of(3), window=1)
    assert sequences(encoded) == ["w0", "w1", "w2"]
    assert encoded.rows.tolist() == [0, 1, 2]


def test_short_and_long_docs_in_one_batch():
    docs = [doc_of(2), doc_of(5), Doc(VOCAB), doc_of(1)]
    encoded = encode_docs(
        docs,
        [[doc[:]] for doc in docs],
        TOKENIZERS[False, False],
        window=3,
        stride=2,
        causal=False,
    )
    assert sequences(encoded) == ["w0 w1", "w0 w1 w2", "w2 w3 w4", "w0"]
    assert encoded.rows.tolist() == [0, 1, 2, 3, 4, 6, 7, 8]
    assert encoded.doc_lengths.tolist() == [2, 5, 0, 1]


def test_a_window_without_room_for_text():
    with pytest.raises(ValueError, match="window of 2 subtokens leaves no room for text besides"):
        encode(doc_of(5), window=2, bos=True, eos=True)


def test_a_stride_that_would_skip_text():
    with pytest.raises(ValueError, match=r"stride is 5, but a window of 6 .* holds 4 .* of 1 to 4"):
        encode(doc_of(20), window=6, stride=5, bos=True, eos=True)


def test_the_default_stride_is_half_of_what_a_window_holds():
    assert window_capacity(10, None, n_special=2) == (8, 4)
    assert window_capacity(2, None, n_special=1) == (1, 1)
    assert window_capacity(10, 3, n_special=1) == (9, 3)


# Against a slow reference.


def reference_rows(n_text, window, stride, n_prefix, n_suffix, causal):
    """Subtoken by subtoken: the row of the window that shows it most context."""
    capacity = window - n_prefix - n_suffix
    if n_prefix + n_text + n_suffix <= window:
        return list(range(n_prefix + n_text + n_suffix)), 1
    starts = [0]
    while starts[-1] + capacity < n_text:
        starts.append(min(starts[-1] + stride, n_text - capacity))
    rows = list(range(n_prefix))
    for i in range(n_text):
        best, best_context = None, -1
        for number, start in enumerate(starts):
            left, right = i - start, start + capacity - 1 - i
            context = left if causal else min(left, right)
            if left >= 0 and right >= 0 and context > best_context:
                best, best_context = number, context
        rows.append(best * window + n_prefix + i - starts[best])
    rows += [(len(starts) - 1) * window + n_prefix + capacity + i for i in range(n_suffix)]
    return rows, len(starts)


@settings(max_examples=400, deadline=None)
@given(
    n_text=st.integers(1, 60),
    capacity=st.integers(1, 20),
    stride=st.integers(1, 20),
    bos=st.booleans(),
    eos=st.booleans(),
    causal=st.booleans(),
)
def test_rows_are_those_of_the_reference(n_text, capacity, stride, bos, eos, causal):
    stride = min(stride, capacity)
    window = capacity + bos + eos
    doc = doc_of(n_text)
    encoded = encode(doc, window=window, stride=stride, causal=causal, bos=bos, eos=eos)
    rows, n_windows = reference_rows(n_text, window, stride, int(bos), int(eos), causal)
    assert len(encoded.lengths) == n_windows
    assert encoded.lengths.max() <= window
    found = numpy.arange(len(encoded.ids)) if encoded.rows is None else encoded.rows
    assert found.tolist() == rows
    words = ["<s>"] * bos + [token.text for token in doc] + ["</s>"] * eos
    assert encoded.strings == words
    assert TOKENIZERS[bos, eos].convert_ids_to_tokens(encoded.ids[found].tolist()) == words
    for sequence in sequences(encoded, bos, eos):
        assert sequence.startswith("<s>") == bos
        assert sequence.endswith("</s>") == eos
