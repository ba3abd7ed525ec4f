"""No subtoken for two tokens, for any text and any fast tokenizer."""

from collections import Counter
from functools import partial

import numpy
import pytest
import spacy
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from spacy_lgu.layers.alignment import encode_docs
from spacy_lgu.layers.splitting import split_shared
from spacy_lgu.layers.subtokens import encode_texts
from spacy_lgu.listeners.span_getters import strided_spans_v1

from .tokenizer_kinds import (
    JOINED,
    bpe_tokenizer,
    byte_tokenizer,
    character_tokenizer,
    filtering_tokenizer,
    folding_tokenizer,
    joining_tokenizer,
    metaspace_tokenizer,
    prepending_tokenizer,
    swallowing_tokenizer,
    trimming_tokenizer,
    unigram_tokenizer,
    word_tokenizer,
)

ENGLISH, CHINESE = spacy.blank("en"), spacy.blank("zh")

KINDS = {
    "bpe": bpe_tokenizer,
    "bytes, <s> and </s>": partial(byte_tokenizer, eos=True),
    "words": word_tokenizer,
    "metaspace, byte fallback, NFKC, lower case": metaspace_tokenizer,
    "unigram": unigram_tokenizer,
    "swallowing": swallowing_tokenizer,
    "joining": joining_tokenizer,
    "trimming": trimming_tokenizer,
    "prepending": prepending_tokenizer,
    "folding": folding_tokenizer,
    "filtering": filtering_tokenizer,
    "characters": character_tokenizer,
}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
    return KINDS[request.param]()


def encode(docs, tokenizer, *, split=True):
    spans = [[doc[:]] for doc in docs]
    return encode_docs(
        docs, spans, tokenizer, window=100_000, stride=None, causal=False, split=split
    )


def by_token(encoded):
    """The subtokens of each token."""
    return numpy.split(encoded.indices, encoded.token_lengths.cumsum())[:-1]


def strings(doc, tokenizer, *, split=True):
    """The subtokens of each token as strings."""
    encoded = encode([doc], tokenizer, split=split)
    return [[encoded.strings[i] for i in subtokens] for subtokens in by_token(encoded)]


def texts(doc, tokenizer, *, split=True):
    """The text of each token's subtokens, of a byte-level tokenizer."""
    decode = tokenizer.backend_tokenizer.decoder.decode
    return [decode(subtokens) for subtokens in strings(doc, tokenizer, split=split)]


# Literal cases.


def test_punctuation_is_split_at_the_borders_of_tokens():
    doc = ENGLISH('(a "b").')
    assert [token.text for token in doc] == ["(", "a", '"', "b", '"', ")", "."]
    shared = [["("], ["a"], ['"'], ["b"], ['").'], ['").'], ['").']]
    assert strings(doc, joining_tokenizer(), split=False) == shared
    split = [["("], ["a"], ['"'], ["b"], ['"'], [")"], ["."]]
    assert strings(doc, joining_tokenizer()) == split


def test_a_token_that_is_cut_off_is_tokenized_as_a_whole():
    doc = ENGLISH("we don't")
    assert [token.text for token in doc] == ["we", "do", "n't"]
    assert strings(doc, joining_tokenizer(), split=False)[1:] == [["Ġdon"], ["Ġdon", "'", "t"]]
    assert strings(doc, joining_tokenizer())[1:] == [["Ġ", "do"], ["n", "'", "t"]]
    # Alone and in sentencepiece's way, the space stays before the first part.
    assert strings(doc, prepending_tokenizer())[1:] == [["▁", "do"], ["n", "<0x27>", "t"]]


def test_the_space_before_a_text_stays_before_its_first_part():
    doc = ENGLISH("don't")
    assert strings(doc, prepending_tokenizer(), split=False) == [["▁don"], ["▁don", "<0x27>", "t"]]
    assert strings(doc, prepending_tokenizer()) == [["▁", "do"], ["n", "<0x27>", "t"]]


def test_spaces_left_out_of_the_offsets_are_kept():
    encoded = encode([ENGLISH("don't do")], trimming_tokenizer())
    assert encoded.strings == ["Ġ", "d", "o", "n", "'", "t", "Ġ", "d", "o"]
    # As before, but words are not told apart, so that there are spaces at the end of subtokens.
    merges = [(")", "."), (").", "Ġ")]
    vocab = {string: i for i, string in enumerate(["a", "Ġ", ")", ".", ").", ").Ġ"])}
    backend = Tokenizer(models.BPE(vocab, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.post_processor = processors.ByteLevel(trim_offsets=True)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    doc = Doc(ENGLISH.vocab, words=["a", ")", ".", "a"], spaces=[False, False, True, False])
    assert encode([doc], tokenizer, split=False).strings == ["a", ").Ġ", "a"]
    assert encode([doc], tokenizer).strings == ["a", ")", ".", "Ġ", "a"]


def test_chinese_characters():
    doc = CHINESE("你好，东京大学")
    assert [token.text for token in doc] == ["你", "好", "，", "东", "京", "大", "学"]
    tokenizer = joining_tokenizer()
    assert texts(doc, tokenizer, split=False)[:2] == ["你好", "你好"]
    assert texts(doc, tokenizer, split=False)[3:] == ["东京大学"] * 4
    assert texts(doc, tokenizer) == ["你", "好", "，", "东", "京", "大", "学"]


def test_japanese_words():
    doc = Doc(ENGLISH.vocab, words=["東京", "都", "に", "住む"], spaces=[False] * 4)
    tokenizer = joining_tokenizer()
    assert texts(doc, tokenizer, split=False) == ["東京都に住む"] * 4
    assert texts(doc, tokenizer) == ["東京", "都", "に", "住む"]


def test_a_subtoken_of_the_end_of_a_character_and_the_next_one():
    doc = CHINESE("你好")
    tokenizer = byte_tokenizer(merge=("ł", "å"))
    assert strings(doc, tokenizer, split=False) == [["ä", "½", "łå"], ["łå", "¥", "½"]]
    assert strings(doc, tokenizer) == [["ä", "½", "ł"], ["å", "¥", "½"]]


def test_letters_composed_over_a_border():
    doc = Doc(ENGLISH.vocab, words=["a", "e", "\u0301", "b"], spaces=[False] * 4)
    tokenizer = filtering_tokenizer()
    assert strings(doc, tokenizer, split=False) == [["▁", "a"], ["éb"], ["éb"], ["éb"]]
    assert strings(doc, tokenizer) == [["▁", "a"], ["e"], ["\u0301"], ["b"]]


def test_unknown_words():
    doc = Doc(ENGLISH.vocab, words=["w", "12", "w3"], spaces=[False, True, False])
    assert strings(doc, word_tokenizer(), split=False) == [["w12"], ["w12"], ["w3"]]
    assert strings(doc, word_tokenizer()) == [["<unk>"], ["<unk>"], ["w3"]]
    assert len(encode([doc], word_tokenizer()).ids) == 3


def test_white_space_shares_a_subtoken_with_a_token():
    doc = Doc(ENGLISH.vocab, words=["a", "  ", "("], spaces=[False] * 3)
    assert strings(doc, joining_tokenizer()) == [["a"], ["Ġ", "Ġ("], ["Ġ("]]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a", "\x07", "\x08", "b"], ["▁", "a", "<unk>", "<unk>", "b", "</s>"]),
        (["\x07", "b"], ["<unk>", "▁", "b", "</s>"]),
        (["\x07"], ["</s>", "<unk>"]),
    ],
)
def test_a_swallowed_token_gets_a_subtoken(words, expected):
    doc = Doc(ENGLISH.vocab, words=words, spaces=[False] * len(words))
    docs = [ENGLISH("b"), doc, ENGLISH("b")]
    encoded = encode(docs, filtering_tokenizer())
    b = ["▁", "b", "</s>"]
    assert encoded.strings == [*b, *expected, *b]
    assert encoded.doc_lengths.tolist() == [3, len(expected), 3]
    own = [subtokens[-1] for subtokens in by_token(encoded)]
    assert len(set(own)) == len(words) + 2


def test_a_swallowed_token_without_an_unknown_subtoken():
    doc = Doc(ENGLISH.vocab, words=["a", "1", "b", "2"])
    assert strings(doc, swallowing_tokenizer()) == [["a"], ["a"], ["b"], ["a"]]  # id 0
    assert encode([doc], swallowing_tokenizer()).strings == ["a", "a", "b", "a"]
    doc = Doc(ENGLISH.vocab, words=["1", "\n"], spaces=[False] * 2)
    assert encode([doc], swallowing_tokenizer()).strings == ["a"]


def test_unknown_parts_without_an_unknown_subtoken():
    backend = Tokenizer(models.WordLevel({"<s>": 0, "ab": 1, "c": 2}, "<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>")
    doc = Doc(ENGLISH.vocab, words=["c", "a", "b"], spaces=[True, False, False])
    assert strings(doc, tokenizer) == [["c"], ["<s>"], ["<s>"]]


def test_a_normalizer_that_removes_the_guard():
    tokenizer = joining_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("q", "")
    assert strings(ENGLISH('"b").'), tokenizer) == [['"'], ["b"], ['"'], [")"], ["."]]


# Properties.

ODD = st.text(
    st.sampled_from(
        "ab w1eq\u0301'\".,%()\n\t\0\x07😀👩\u200d🦱ﬁ½אبकि東京大学你好\u00a0\u3000İ\ufeff▁Ġ<s>"
    ),
    min_size=1,
    max_size=6,
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
WORDS = st.lists(st.tuples(ODD | TEXT | st.sampled_from(JOINED), st.booleans()), max_size=10)


@st.composite
def a_doc(draw):
    if draw(st.booleans()):
        nlp = draw(st.sampled_from([ENGLISH, CHINESE]))
        return nlp.make_doc("".join(draw(st.lists(ODD | TEXT | st.sampled_from(JOINED)))))
    pairs = draw(WORDS)
    return Doc(ENGLISH.vocab, [word for word, _ in pairs], [space for _, space in pairs])


def own_subtokens(doc, encoding):
    """Whether each token has a subtoken, and none with another token; character by character."""
    shown = [
        set(range(start, end))
        for (start, end), special in zip(
            encoding.offsets, encoding.special_tokens_mask, strict=True
        )
        if not special
    ]
    words = [set(range(t.idx, t.idx + len(t))) for t in doc if not t.is_space]
    return all(any(word & s for s in shown) for word in words) and all(
        sum(bool(word & s) for word in words) < 2 for s in shown
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(docs=st.lists(a_doc(), max_size=4))
@example(docs=[CHINESE("你好\x07东京大学"), ENGLISH(""), ENGLISH(' don\'t ("x").\n')])
def test_every_token_has_subtokens_of_its_own(tokenizer, docs):
    encoded = encode(docs, tokenizer)
    assert len(encoded.ids) == encoded.lengths.sum() == len(encoded.strings)
    owners = Counter()
    tokens = [token for doc in docs for token in doc]
    for token, subtokens in zip(tokens, by_token(encoded), strict=True):
        assert len(subtokens)
        assert (numpy.diff(subtokens) > 0).all()
        owners.update(subtokens.tolist() if not token.is_space else ())
    assert set(owners.values()) <= {1}
    ends = encoded.doc_lengths.cumsum()
    for doc, ids in zip(docs, numpy.split(encoded.ids, ends)[:-1], strict=True):
        encoding = tokenizer.backend_tokenizer.encode(doc[:].text)
        if len(doc) and encoding.ids and own_subtokens(doc, encoding):
            assert ids.tolist() == encoding.ids


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(docs=st.lists(a_doc(), max_size=4), size=st.integers(2, 5), causal=st.booleans())
def test_rows_are_of_one_token_in_overlapping_spans_and_windows(tokenizer, docs, size, causal):
    spans = strided_spans_v1(size, size - 1)(docs)
    encoded = encode_docs(docs, spans, tokenizer, window=6, stride=None, causal=causal)
    rows = numpy.arange(len(encoded.ids)) if encoded.rows is None else encoded.rows
    owners = Counter()
    tokens = [token for doc in docs for token in doc]
    for token, subtokens in zip(tokens, by_token(encoded), strict=True):
        owners.update(rows[subtokens].tolist() if not token.is_space else ())
    assert set(owners.values()) <= {1}
    assert len(encoded.strings) == encoded.doc_lengths.sum()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(docs=st.lists(a_doc(), max_size=4))
def test_all_that_the_tokenizer_shows_is_shown_after_splitting(tokenizer, docs):
    docs = [doc for doc in docs if len(doc)]
    bodies = [doc[:].text for doc in docs]
    starts = numpy.array([len(body) + 1 for body in bodies], dtype="int64")
    starts = starts.cumsum() - starts
    words = [
        (start + token.idx, start + token.idx + len(token))
        for doc, start in zip(docs, starts, strict=True)
        for token in doc
        if not token.is_space
    ]
    word_starts, word_ends = numpy.array(words, dtype="int64").reshape(-1, 2).T
    before = encode_texts(bodies, starts, tokenizer)
    after = split_shared(before, bodies, starts, word_starts, word_ends, tokenizer)
    characters = [
        {c for s, e in zip(x.starts, x.ends, strict=True) for c in range(s, e)}
        for x in (before, after)
    ]
    in_words = {c for start, end in words for c in range(start, end)}
    assert characters[0] <= characters[1] <= characters[0] | in_words
    assert after.special.sum() == before.special.sum()
    # Splitting again changes nothing.
    assert split_shared(after, bodies, starts, word_starts, word_ends, tokenizer) is after


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(doc=a_doc())
@pytest.mark.parametrize("kind", ["bpe", "bytes, <s> and </s>", "joining"])
def test_byte_level_subtokens_spell_the_text(kind, doc):
    tokenizer = KINDS[kind]()
    if "<s>" not in doc.text:  # parsed as the special token, which spells nothing
        spelled = tokenizer.decode(encode([doc], tokenizer).ids, skip_special_tokens=True)
        assert spelled == doc[:].text


def test_context_on_the_right_is_counted_from_the_last_subtoken():
    doc = Doc(spacy.blank("en").vocab, words=["a", "b", "ccc", "d"])
    encoded = encode_docs(
        [doc],
        [[doc[:3], doc[1:]]],
        byte_tokenizer(bos=False),
        window=99,
        stride=None,
        causal=False,
    )
    assert encoded.rows[encoded.indices].tolist() == [0, 2, 9, 10, 11, 13]
