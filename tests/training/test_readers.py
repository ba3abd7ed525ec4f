"""Corpora with gold tokens."""

import zlib

import pytest
import spacy
import srsly
from spacy.tokens import Doc, DocBin, Span
from spacy.util import registry

from spacy_lgu.training.readers import gold_tokens_v1


@pytest.fixture
def path(tmp_path):
    nlp = spacy.blank("en")
    docs = []
    # spaCy's tokenizer would divide "don't"; the first Doc has two sentences.
    for words, starts in ((["I", "don't", ".", "You", "do"], [0, 3]), (["don't"], [0])):
        sent_starts = [i in starts for i in range(len(words))]
        doc = Doc(nlp.vocab, words=words, sent_starts=sent_starts)
        doc.spans["sc"] = [Span(doc, 0, 1, label="A")]
        docs.append(doc)
    DocBin(docs=docs).to_disk(tmp_path / "train.spacy")
    return tmp_path / "train.spacy"


def test_tokens_sentences_and_spans_stay(path):
    first, second = gold_tokens_v1(path)(spacy.blank("en"))
    assert [token.text for token in first.predicted] == ["I", "don't", ".", "You", "do"]
    assert first.predicted.text == first.reference.text
    assert [(s.start, s.end, s.label_) for s in first.reference.spans["sc"]] == [(0, 1, "A")]
    assert not first.predicted.spans
    assert [token.text for token in second.predicted] == ["don't"]


def test_spacys_own_reader_would_lose_them(path):
    read = registry.readers.get("spacy.Corpus.v1")(
        path, gold_preproc=True, max_length=0, limit=0, augmenter=None
    )
    first = next(iter(read(spacy.blank("en"))))
    assert len(first.predicted) == 3
    assert "sc" not in first.reference.spans


def test_texts_without_tokens_are_left_out(path):
    vocab = spacy.blank("en").vocab
    DocBin(docs=[Doc(vocab), *DocBin().from_disk(path).get_docs(vocab)]).to_disk(path)
    for limit, expected in ((0, [5, 1]), (1, [5])):
        examples = gold_tokens_v1(path, limit=limit)(spacy.blank("en"))
        assert [len(example.reference) for example in examples] == expected


def test_limit(path):
    assert len(list(gold_tokens_v1(path, limit=1)(spacy.blank("en")))) == 1


def test_limit_is_of_all_files_of_a_folder(path):
    (path.parent / "more.spacy").write_bytes(path.read_bytes())
    read = gold_tokens_v1(path.parent, limit=3)
    for _ in range(2):
        assert len(list(read(spacy.blank("en")))) == 3


def test_registered():
    assert registry.readers.get("spacy-lgu.gold_tokens.v1") is gold_tokens_v1


def test_path_is_needed():
    with pytest.raises(ValueError, match="E913"):
        gold_tokens_v1(None)


def packed(values) -> bytes:
    """What a .spacy file of these values holds."""
    return zlib.compress(srsly.msgpack_dumps(values))


def without(content: bytes, field: str) -> bytes:
    values = srsly.msgpack_loads(zlib.decompress(content))
    return packed({key: value for key, value in values.items() if key != field})


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: b"Ann B-PER\n", id="text"),
        pytest.param(lambda content: content[:-20], id="cut off"),
        pytest.param(lambda content: packed([1]), id="list"),
        pytest.param(lambda content: zlib.compress(b"\xc1"), id="no msgpack"),
        pytest.param(lambda content: without(content, "tokens"), id="no tokens"),
        pytest.param(lambda content: without(content, "strings"), id="no strings"),
        pytest.param(
            lambda content: packed(
                {**srsly.msgpack_loads(zlib.decompress(content)), "cats": 3, "flags": []}
            ),
            id="other types",
        ),
    ],
)
def test_damaged_file_of_a_folder_is_named(path, damage):
    content = path.read_bytes()
    (path.parent / "whole.spacy").write_bytes(content)
    path.write_bytes(damage(content))
    with pytest.raises(ValueError, match=r"train\.spacy' is damaged, or no \.spacy file"):
        list(gold_tokens_v1(path.parent)(spacy.blank("en")))


def test_limit_below_zero(path):
    with pytest.raises(ValueError, match=r"^Expected a limit of at least 1, or 0 .* but got -1\."):
        gold_tokens_v1(path, -1)
