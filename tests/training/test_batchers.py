import shutil

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import registry
from tokenizers import Tokenizer

from spacy_lgu.decoder.source import find_source, load_tokenizer
from spacy_lgu.layers.tokenizing import count_subtokens
from spacy_lgu.training.batchers import batch_by_subtokens_v1


def make_examples(texts):
    nlp = spacy.blank("en")
    return [Example(nlp.make_doc(text), nlp.make_doc(text)) for text in texts]


@settings(max_examples=25, deadline=None)
@given(
    texts=st.lists(st.text("abc é\n😀", max_size=30), max_size=30),
    size=st.integers(1, 60),
)
def test_batches_hold_every_example_once_and_are_bounded(decoder_folder, texts, size):
    examples = make_examples(texts)
    batches = list(batch_by_subtokens_v1(size, str(decoder_folder))(examples))
    assert [example for batch in batches for example in batch] == examples
    tokenizer = load_tokenizer(find_source(str(decoder_folder)), {})
    for batch in batches:
        n_subtokens = sum(count_subtokens([x.predicted for x in batch], tokenizer))
        assert n_subtokens <= size or len(batch) == 1


def test_batches_are_full(decoder_folder):
    # "a" is BOS and one more subtoken.
    batches = batch_by_subtokens_v1(5, str(decoder_folder))(make_examples(["a"] * 5))
    assert [len(batch) for batch in batches] == [2, 2, 1]


def test_subtokens_are_counted_as_the_decoder_sees_them(decoder_folder):
    # <s> æĿ ±äº¬, and split: <s> æĿ ± ä º¬.
    vocab = spacy.blank("en").vocab
    doc = Doc(vocab, words=["東", "京"], spaces=[False, False])
    tokenizer = load_tokenizer(find_source(str(decoder_folder)), {})
    assert len(tokenizer("東京")["input_ids"]) == 3
    assert count_subtokens([doc, Doc(vocab)], tokenizer) == [5, 1]
    batches = batch_by_subtokens_v1(9, str(decoder_folder))([Example(doc, doc)] * 3)
    assert [len(batch) for batch in batches] == [1, 1, 1]


def test_truncation_saved_with_a_tokenizer_is_undone(decoder_folder, tmp_path):
    shutil.copytree(decoder_folder, tmp_path / "decoder")
    path = tmp_path / "decoder" / "tokenizer.json"
    saved = Tokenizer.from_file(str(path))
    saved.enable_truncation(2)
    saved.enable_padding(length=5)
    saved.save(str(path))
    tokenizer = load_tokenizer(find_source(str(tmp_path / "decoder")), {})
    # BOS, a, Ġ, b, Ġ, c: not cut to 2; and one of BOS, a is not padded to 5.
    assert len(tokenizer.backend_tokenizer.encode("a b c")) == 6
    assert len(tokenizer.backend_tokenizer.encode("a")) == 2
    batches = batch_by_subtokens_v1(12, str(tmp_path / "decoder"))(make_examples(["a b c"] * 4))
    assert [len(batch) for batch in batches] == [2, 2]


def test_size_may_be_a_schedule(decoder_folder):
    batches = batch_by_subtokens_v1(iter([2, 4, 8]), str(decoder_folder))(make_examples(["a"] * 7))
    assert [len(batch) for batch in batches] == [1, 2, 4]


def test_the_last_size_of_a_schedule_stays(decoder_folder):
    batches = batch_by_subtokens_v1([2, 4], str(decoder_folder))(make_examples(["a"] * 7))
    assert [len(batch) for batch in batches] == [1, 2, 2, 2]
    for sizes in ([], [2, 0]):
        with pytest.raises(ValueError, match="at least 1 subtoken, but size is 0"):
            list(batch_by_subtokens_v1(sizes, str(decoder_folder))(make_examples(["a"] * 7)))


def test_size_must_be_positive():
    with pytest.raises(ValueError, match="at least 1 subtoken, but size is 0"):
        batch_by_subtokens_v1(0, "any")


def test_is_registered():
    assert registry.get("batchers", "spacy-lgu.batch_by_subtokens.v1") is batch_by_subtokens_v1
