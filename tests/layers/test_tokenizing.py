"""Which subtokens belong to which spaCy token, for any text and any fast tokenizer."""

from functools import partial

import pytest
import spacy
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc

from spacy_lgu.layers.alignment import encode_docs

from .tokenizer_kinds import (
    LLAMA_2,
    bpe_tokenizer,
    byte_tokenizer,
    llama_2_tokenizer,
    metaspace_tokenizer,
    swallowing_tokenizer,
    unigram_tokenizer,
    word_tokenizer,
)

BLANK = spacy.blank("en")
VOCAB = BLANK.vocab

KINDS = {
    "bpe": bpe_tokenizer,
    "bpe, no special tokens": partial(bpe_tokenizer, bos=False),
    "bpe, <s> and </s>": partial(bpe_tokenizer, eos=True),
    "metaspace, byte fallback": metaspace_tokenizer,
    "unigram": unigram_tokenizer,
    "swallowing": swallowing_tokenizer,
    "llama 2": llama_2_tokenizer,
}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
    # Where the folder of models is, a tokenizer that is missing from it fails.
    if request.param == "llama 2" and not LLAMA_2.parent.is_dir():
        pytest.skip(f"there is no {LLAMA_2.parent}: its licence keeps the tokenizer out")
    return KINDS[request.param]()


def encode(docs, tokenizer, *, window=100_000, split=True):
    spans = [[doc[:]] for doc in docs]
    return encode_docs(
        docs, spans, tokenizer, window=window, stride=None, causal=False, split=split
    )


def by_token(encoded):
    """The subtokens of each token."""
    ends = encoded.token_lengths.cumsum().tolist()
    starts = [0, *ends[:-1]]
    return [encoded.indices[s:e].tolist() for s, e in zip(starts, ends, strict=False)]


def alignment(doc, tokenizer, *, split=True):
    """For each token, its text and its subtokens as strings."""
    encoded = encode([doc], tokenizer, split=split)
    return [
        (token.text, [encoded.strings[i] for i in subtokens])
        for token, subtokens in zip(doc, by_token(encoded), strict=True)
    ]


# Literal cases. With the byte tokenizer, each byte is a subtoken and a space is Ġ.


def test_each_token_gets_its_own_subtokens():
    doc = Doc(VOCAB, words=["an", "b"])
    assert alignment(doc, byte_tokenizer()) == [("an", ["a", "n"]), ("b", ["b"])]
    encoded = encode([doc], byte_tokenizer())
    assert encoded.strings == ["<s>", "a", "n", "Ġ", "b"]
    assert encoded.indices.tolist() == [1, 2, 4]
    assert encoded.token_lengths.tolist() == [2, 1]


def test_without_bos_the_first_token_starts_at_zero():
    encoded = encode([Doc(VOCAB, words=["an", "b"])], byte_tokenizer(bos=False))
    assert encoded.strings == ["a", "n", "Ġ", "b"]
    assert encoded.indices.tolist() == [0, 1, 3]


def test_special_subtokens_belong_to_no_token():
    encoded = encode([Doc(VOCAB, words=["an", "b"])], byte_tokenizer(eos=True))
    assert encoded.strings == ["<s>", "a", "n", "Ġ", "b", "</s>"]
    assert encoded.indices.tolist() == [1, 2, 4]


def test_docs_of_a_batch_are_counted_through():
    docs = [Doc(VOCAB, words=["an"]), Doc(VOCAB), Doc(VOCAB, words=["b", "c"])]
    encoded = encode(docs, byte_tokenizer())
    assert encoded.strings == ["<s>", "a", "n", "<s>", "b", "Ġ", "c"]
    assert encoded.doc_lengths.tolist() == [3, 0, 4]
    assert encoded.indices.tolist() == [1, 2, 4, 6]
    assert encoded.token_lengths.tolist() == [2, 1, 1]
    assert encoded.lengths.tolist() == [3, 4]


@pytest.mark.parametrize("docs", [[], [Doc(VOCAB)], [Doc(VOCAB), Doc(VOCAB)]])
def test_without_tokens_there_are_no_subtokens(docs):
    encoded = encode(docs, byte_tokenizer())
    assert encoded.doc_lengths.tolist() == [0] * len(docs)
    for array in (encoded.ids, encoded.lengths, encoded.indices, encoded.token_lengths):
        assert len(array) == 0
    assert encoded.strings == []


def test_an_emoji_takes_all_its_bytes():
    doc = Doc(VOCAB, words=["a", "😀", "b"])
    assert alignment(doc, byte_tokenizer()) == [
        ("a", ["a"]),
        ("😀", ["ð", "Ł", "ĺ", "Ģ"]),
        ("b", ["b"]),
    ]


def test_a_subtoken_over_two_tokens_belongs_to_both_unless_it_is_split():
    doc = Doc(VOCAB, words=["w", "12", "w3"], spaces=[False, True, False])
    shared = [("w", ["w12"]), ("12", ["w12"]), ("w3", ["w3"])]
    assert alignment(doc, word_tokenizer(), split=False) == shared


def test_characters_with_several_subtokens_and_tokens_with_parts_of_a_character():
    # Two tokens share the subtoken "▁the" with the space before them.
    doc = Doc(VOCAB, words=["in", "t", "he"], spaces=[True, False, False])
    assert alignment(doc, metaspace_tokenizer(), split=False) == [
        ("in", ["▁i", "n"]),
        ("t", ["▁the"]),
        ("he", ["▁the"]),
    ]


def test_a_swallowed_token_takes_its_left_neighbour():
    doc = Doc(VOCAB, words=["w1", "\n", "\t", "w2"], spaces=[True, False, False, False])
    assert alignment(doc, word_tokenizer()) == [
        ("w1", ["w1"]),
        ("\n", ["w1"]),
        ("\t", ["w1"]),
        ("w2", ["w2"]),
    ]


@pytest.mark.parametrize(("bos", "strings"), [(True, ["<s>", "w1"]), (False, ["w1"])])
def test_a_swallowed_first_token_takes_the_first_text_subtoken(bos, strings):
    doc = Doc(VOCAB, words=["\n", "w1"], spaces=[False, False])
    assert encode([doc], word_tokenizer(bos=bos)).strings == strings
    assert alignment(doc, word_tokenizer(bos=bos)) == [("\n", ["w1"]), ("w1", ["w1"])]


def test_a_swallowed_token_does_not_look_into_the_doc_before():
    docs = [Doc(VOCAB, words=["w1"]), Doc(VOCAB, words=["\n", "w2"], spaces=[False, False])]
    encoded = encode(docs, word_tokenizer())
    assert encoded.strings == ["w1", "w2"]
    assert encoded.indices.tolist() == [0, 1, 1]


def test_a_wholly_swallowed_doc_has_its_special_subtoken():
    doc = Doc(VOCAB, words=["\n", "\t"], spaces=[False, False])
    assert alignment(doc, word_tokenizer(bos=True)) == [("\n", ["<s>"]), ("\t", ["<s>"])]


def test_a_wholly_swallowed_doc_without_special_subtokens_gets_one():
    docs = [
        Doc(VOCAB, words=["\n"], spaces=[False]),
        Doc(VOCAB, words=["w1"]),
        Doc(VOCAB, words=["\n", "\t"], spaces=[False, False]),
    ]
    encoded = encode(docs, word_tokenizer())
    assert encoded.strings == ["<s>", "w1", "<s>"]
    assert encoded.ids.tolist() == [0, 4, 0]
    assert encoded.indices.tolist() == [0, 1, 2, 2]
    assert encoded.doc_lengths.tolist() == [1, 1, 1]


def test_a_tokenizer_without_any_special_token_fills_with_id_0():
    doc = Doc(VOCAB, words=["\n"], spaces=[False])
    assert encode([doc], swallowing_tokenizer()).strings == ["a"]


def test_whitespace_between_tokens_belongs_to_no_token():
    doc = BLANK.make_doc("a   b")  # "a", "  ", "b"
    assert encode([doc], byte_tokenizer()).strings == ["<s>", "a", "Ġ", "Ġ", "Ġ", "b"]
    assert alignment(doc, byte_tokenizer()) == [("a", ["a"]), ("  ", ["Ġ", "Ġ"]), ("b", ["b"])]


def test_combining_marks_stay_with_their_letter():
    doc = Doc(VOCAB, words=["e\u0301", "x"])
    assert alignment(doc, byte_tokenizer()) == [("e\u0301", ["e", "Ì", "ģ"]), ("x", ["x"])]
    # NFKC composes the two characters to é, which is then two bytes.
    pieces = [("e\u0301", ["▁", "<0xC3>", "<0xA9>"]), ("x", ["<0x78>"])]
    assert alignment(doc, metaspace_tokenizer()) == pieces


def test_right_to_left_text_is_aligned_in_logical_order():
    doc = Doc(VOCAB, words=["שלום", "a"])
    pieces = alignment(doc, bpe_tokenizer())
    assert [text for text, _ in pieces] == ["שלום", "a"]
    assert bpe_tokenizer().convert_tokens_to_string(pieces[0][1]) == "שלום"
    assert bpe_tokenizer().convert_tokens_to_string(pieces[1][1]).strip() == "a"


def test_null_bytes_are_characters():
    doc = Doc(VOCAB, words=["a\0b", "\0"])
    assert alignment(doc, byte_tokenizer()) == [("a\0b", ["a", "Ā", "b"]), ("\0", ["Ā"])]


def test_special_strings_in_the_text_are_text():
    doc = Doc(VOCAB, words=["a", "<s>", "b"], spaces=[False, False, False])
    encoded = encode([doc], byte_tokenizer())
    assert encoded.strings == ["<s>", "a", "<s>", "b"]
    assert encoded.indices.tolist() == [1, 2, 3]


def test_a_token_longer_than_the_window_keeps_all_subtokens():
    doc = Doc(VOCAB, words=["a", "b" * 10_000, "c"])
    encoded = encode([doc], byte_tokenizer(), window=64)
    assert encoded.token_lengths.tolist() == [1, 10_000, 1]
    assert len(encoded.rows) == 1 + 1 + 1 + 10_000 + 1 + 1
    assert encoded.ids[encoded.rows].tolist() == encode([doc], byte_tokenizer()).ids.tolist()
    assert encoded.lengths.max() == 64


def test_getter_with_lists_for_other_docs():
    doc = Doc(VOCAB, words=["a"])
    with pytest.raises(ValueError, match="get_spans returned 1 lists of spans for 2 Docs"):
        encode_docs([doc, doc], [[doc[:]]], byte_tokenizer(), window=64, stride=None, causal=False)


# Properties.

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
ODD = st.text(
    st.sampled_from("ab w1e\u0301\n\t\0😀👩\u200d🦱ﬁ½אبकि東\u00a0\u3000\u2028İ\ufeff<s>"),
    max_size=30,
)
WORDS = st.lists(st.tuples(TEXT.filter(bool) | ODD.filter(bool), st.booleans()), max_size=8)


@st.composite
def a_doc(draw):
    if draw(st.booleans()):
        return BLANK.make_doc(draw(TEXT | ODD))
    pairs = draw(WORDS)
    return Doc(VOCAB, words=[word for word, _ in pairs], spaces=[space for _, space in pairs])


def reference(doc, tokenizer):
    """Character by character: for each token its subtokens, and all subtoken ids."""
    text = doc[:].text  # without white space behind the last token
    encoding = tokenizer.backend_tokenizer.encode(text)
    is_text = [not special for special in encoding.special_tokens_mask]
    owners = [set() for _ in text]  # for each character, the subtokens that show it
    for i, (start, end) in enumerate(encoding.offsets):
        for character in range(start, end):
            if is_text[i]:
                owners[character].add(i)
    aligned = []
    for token in doc:
        found = set().union(*owners[token.idx : token.idx + len(token)])
        if found:
            aligned.append(sorted(found))
        elif token.i > 0 and aligned[-1] is not None:
            aligned.append([aligned[-1][-1]])
        else:
            aligned.append(None)
    first_text = is_text.index(True) if True in is_text else 0
    return [piece or [first_text] for piece in aligned], encoding.ids


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(docs=st.lists(a_doc(), max_size=4))
@example(docs=[BLANK.make_doc("  \n a"), BLANK.make_doc(""), BLANK.make_doc("\u200b")])
def test_any_text_is_aligned_as_character_by_character(tokenizer, docs):
    encoded = encode(docs, tokenizer, split=False)
    assert encoded.rows is None
    n_subtokens = len(encoded.ids)
    assert encoded.lengths.tolist() == [n for n in encoded.doc_lengths.tolist() if n]
    assert encoded.lengths.sum() == n_subtokens
    assert encoded.token_lengths.min(initial=1) >= 1
    unknown = tokenizer.backend_tokenizer.token_to_id("<unk>")
    for string, i in zip(encoded.strings, encoded.ids.tolist(), strict=True):
        # Unigram models give an unknown character as it is.
        assert string == tokenizer.convert_ids_to_tokens([i])[0] or i == unknown
    starts = encoded.doc_lengths.cumsum() - encoded.doc_lengths
    pieces = iter(by_token(encoded))
    for doc, start, length in zip(docs, starts, encoded.doc_lengths, strict=True):
        expected, ids = reference(doc, tokenizer)
        if len(doc):
            assert encoded.ids[start : start + length].tolist() == (ids or [0])
        for token in doc:
            assert [i - start for i in next(pieces)] == expected[token.i]


@settings(max_examples=100, deadline=None)
@given(doc=a_doc())
def test_byte_level_subtokens_spell_their_token(doc):
    tokenizer = byte_tokenizer()
    for text, strings in alignment(doc, tokenizer):
        if "<s>" not in doc.text:  # parsed as the special token, which spells nothing
            assert tokenizer.backend_tokenizer.decoder.decode(strings) == text
