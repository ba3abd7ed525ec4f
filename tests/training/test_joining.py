"""Neighbouring texts joined: what is kept, which are joined, how spaCy trains on them."""

import random
from itertools import islice

import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span, Token
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config_from_str, registry

from spacy_lgu.training.joining import group_neighbours, join_docs, join_texts_v1
from spacy_lgu.training.readers import copy_tokens

NLP = spacy.blank("en")


def make_reader(docs):
    def read(nlp):
        return (Example(copy_tokens(doc), doc) for doc in docs)

    return read


def join(docs, max_length=1000, *, level=1.0, seed=0):
    return list(join_texts_v1(make_reader(docs), max_length, level=level, seed=seed)(NLP))


def spans(group):
    return [(span.start, span.end, span.label_, span.id_) for span in group]


@pytest.fixture
def two():
    """Ann saw Rome . / She left Oslo, in part not annotated, with a tree each."""
    first = Doc(
        NLP.vocab,
        words=["Ann", "saw", "Rome", "."],
        spaces=[True, True, False, False],
        tags=["NNP", "VBD", "NNP", "."],
        pos=["PROPN", "VERB", "PROPN", "PUNCT"],
        lemmas=["Ann", "see", "Rome", "."],
        morphs=["Number=Sing", "Tense=Past", "Number=Sing", ""],
        heads=[1, 1, 1, 1],
        deps=["nsubj", "ROOT", "obj", "punct"],
    )
    first.set_ents([Span(first, 0, 1, label="PER", kb_id="Q1")], missing=[Span(first, 1, 2)])
    first.spans["sc"] = [Span(first, 0, 3, label="A", span_id="x"), Span(first, 1, 2, label="B")]
    second = Doc(
        NLP.vocab,
        words=["She", "left", "Oslo"],
        tags=["PRP", "VBD", "NNP"],
        heads=[1, 1, 1],
        deps=["nsubj", "ROOT", "obj"],
    )
    second.ents = [Span(second, 2, 3, label="LOC")]
    second.spans["sc"] = [Span(second, 2, 3, label="A")]
    return first, second


def test_joined_docs_keep_their_annotation(two):
    joined = join_docs(two)
    assert joined.text == "Ann saw Rome. She left Oslo "
    assert [(ent.text, ent.label_, ent.kb_id_) for ent in joined.ents] == [
        ("Ann", "PER", "Q1"),
        ("Oslo", "LOC", ""),
    ]
    assert [token.ent_iob_ for token in joined] == ["B", "", "O", "O", "O", "O", "B"]
    assert spans(joined.spans["sc"]) == [(0, 3, "A", "x"), (1, 2, "B", ""), (6, 7, "A", "")]
    assert [token.tag_ for token in joined] == ["NNP", "VBD", "NNP", ".", "PRP", "VBD", "NNP"]
    assert [token.head.i for token in joined] == [1, 1, 1, 1, 5, 5, 5]
    assert [token.dep_ for token in joined][3:] == ["punct", "nsubj", "ROOT", "obj"]
    assert [token.i for token in joined if token.is_sent_start] == [0, 4]
    assert [token.lemma_ for token in joined][:2] == ["Ann", "see"]
    assert str(joined[1].morph) == "Tense=Past"


def test_entities_that_touch_stay_two():
    docs = [Doc(NLP.vocab, words=["New", "York"], ents=["B-LOC", "I-LOC"]) for _ in range(2)]
    assert [(ent.start, ent.end) for ent in join_docs(docs).ents] == [(0, 2), (2, 4)]


def test_borders_of_texts_are_no_annotation_of_sentences():
    docs = [Doc(NLP.vocab, words=words) for words in (["New", "York"], ["Rome"])]
    assert not join_docs(docs).has_annotation("SENT_START")
    marked = Doc(NLP.vocab, words=["a", "b", "c"], sent_starts=[True, False, True])
    joined = join_docs([marked, docs[0], marked])
    assert [token.i for token in joined if token.is_sent_start] == [0, 2, 3, 5, 7]


def test_white_space_at_the_end_is_space_enough():
    docs = [Doc(NLP.vocab, words=["a", "\n"], spaces=[False, False]), Doc(NLP.vocab, words=["b"])]
    assert join_docs(docs).text == "a\nb "


@pytest.fixture
def attributes():
    Token.set_extension("seen", default=None)
    Span.set_extension("checked", default=False)
    Doc.set_extension("source", default=None)
    yield
    Token.remove_extension("seen")
    Span.remove_extension("checked")
    Doc.remove_extension("source")


@pytest.mark.usefixtures("attributes")
def test_custom_attributes_of_tokens_are_kept_and_those_of_texts_told():
    docs = [Doc(NLP.vocab, words=["a", "bc"], spaces=[True, False]) for _ in range(2)]
    docs[1][1]._.seen = 3
    docs[1][0:2]._.checked = True
    (example,) = join(docs)
    assert [token._.seen for token in example.reference] == [None, None, None, 3]
    assert example.reference[2:4]._.checked
    assert not example.reference[0:2]._.checked
    docs[0]._.source = "file 1"
    docs[1].user_data["id"] = 3
    told = r"as a whole: doc._.source, doc.user_data\['id'\]. Nothing of it reaches the training"
    with pytest.warns(UserWarning, match=told):
        join(docs)


def test_empty_texts_may_stand_between():
    empty = Doc(NLP.vocab)
    examples = join([Doc(NLP.vocab, words=["a"]), empty, Doc(NLP.vocab, words=["b"]), empty])
    assert "".join(example.reference.text for example in examples) == "a b "


def test_neighbours_are_joined_up_to_the_length_drawn():
    lengths = iter([5, 2, 2, 9, 9])
    texts = ["ab", "cde", "f", "ghi", "jk", "lm", "no"]
    groups = group_neighbours(texts, lambda: next(lengths), len, lambda one, other: other != "no")
    # "ghi" is longer than the length drawn for its group; "no" does not fit to the one before it.
    assert list(groups) == [["ab", "cde"], ["f"], ["ghi"], ["jk", "lm"], ["no"]]


@pytest.mark.parametrize(
    "change",
    [
        lambda doc: doc.cats.update(A=1.0),
        lambda doc: doc.spans.update(other=[]),
        lambda doc: [setattr(token, "dep_", "") for token in doc],
    ],
)
def test_texts_that_are_annotated_in_other_ways_stay_apart(two, change):
    assert len(join(two, seed=1)) == 1
    change(two[1])
    assert len(join(two, seed=1)) == 2


def test_categories_that_all_have_are_kept(two):
    for doc in two:
        doc.cats = {"A": 1.0, "B": 0.0}
    (example,) = join(two, seed=1)
    assert example.reference.cats == {"A": 1.0, "B": 0.0}


def test_a_text_that_stays_alone_is_the_same_object(two):
    examples = join(two, level=0.0)
    assert [example.reference for example in examples] == list(two)


def random_docs(seed, n_docs=60):
    draw = random.Random(seed)
    docs = []
    for _ in range(n_docs):
        n_tokens = draw.choice([1, 2, 3, 7, 30])
        words = [draw.choice(["a", "Bo", "é", "don't", ".", "\n"]) for _ in range(n_tokens)]
        iob = [draw.choice(["O", "O", None, "B-X", "B-Y"]) for _ in range(n_tokens)]
        spaces = [draw.random() < 0.7 for _ in range(n_tokens)]
        doc = Doc(NLP.vocab, words=words, spaces=spaces, ents=iob)
        for key in ("sc", "other")[: draw.choice([1, 1, 2])]:
            starts = [draw.randrange(n_tokens) for _ in range(draw.randrange(4))]
            doc.spans[key] = [Span(doc, i, draw.randint(i + 1, n_tokens), "Z") for i in starts]
        docs.append(doc)
    return docs


def list_facts(docs):
    """All that texts hold, wherever their borders are."""
    facts, before = [], 0
    for doc in docs:
        facts += [("token", token.text, token.ent_iob, token.ent_type_) for token in doc]
        facts += [("ent", before + ent.start, before + ent.end, ent.label_) for ent in doc.ents]
        for key, group in doc.spans.items():
            facts += [(key, before + s.start, before + s.end, s.label_) for s in group]
        before += len(doc)
    return sorted(facts, key=str)


@pytest.mark.parametrize("seed", range(8))
def test_nothing_is_lost_cut_or_moved(seed):
    docs = random_docs(seed)
    max_length = random.Random(seed).choice([2, 10, 60, 400])
    examples = join(docs, max_length, level=random.Random(seed).random(), seed=seed)
    assert list_facts(example.reference for example in examples) == list_facts(docs)
    words = [token.text for example in examples for token in example.predicted]
    assert words == [token.text for doc in docs for token in doc]
    longest = max(map(len, docs))
    for example in examples:
        assert len(example.reference) <= max(max_length, longest)
        assert example.predicted.text == example.reference.text
        assert [token.i for token in example.predicted if token.is_sent_start] == [0]
        n_tokens = len(example.reference)
        assert example.alignment.x2y.data.tolist() == list(range(n_tokens))


def test_share_of_the_texts():
    docs = [Doc(NLP.vocab, words=["a"] * 10) for _ in range(4000)]
    examples = join(docs, 100, level=0.3)
    alone = sum(len(example.reference) == 10 for example in examples)
    # One group in ten is of one text, whatever the level.
    assert alone / 4000 == pytest.approx(0.7, abs=0.05)
    assert max(len(example.reference) for example in examples) == 100


def test_every_pass_is_the_same_even_after_one_that_was_broken_off():
    docs = random_docs(0)
    read = join_texts_v1(make_reader(docs), 50, level=0.5, seed=3)
    first = [len(example.reference) for example in read(NLP)]
    list(islice(read(NLP), 3))
    assert [len(example.reference) for example in read(NLP)] == first
    assert [len(example.reference) for example in join(docs, 50, level=0.5, seed=4)] != first


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_length": 1}, "needs at least 2 tokens, but max_length is 1: give the tokens of"),
        ({"max_length": 9, "level": 1.5}, "level is a share of the texts, from 0 to 1, but is 1.5"),
    ],
)
def test_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        join_texts_v1(make_reader([]), **settings)


def test_predicted_tokens_may_be_those_of_the_tokenizer():
    docs = [Doc(NLP.vocab, words=["He", "don't"], spaces=[True, False]) for _ in range(2)]
    for doc in docs:
        doc.ents = [Span(doc, 1, 2, label="X")]
    read = join_texts_v1(
        lambda nlp: (Example(nlp.make_doc(doc.text), doc) for doc in docs), 99, level=1.0
    )
    (example,) = read(NLP)
    assert [token.text for token in example.predicted] == ["He", "do", "n't", "He", "do", "n't"]
    assert example.get_aligned_ner() == ["O", "B-X", "L-X", "O", "B-X", "L-X"]
    assert example.predicted[2].norm_ == "not"  # what the tokenizer says of its tokens stays


CONFIG = """
[paths]
train = null
[nlp]
lang = "en"
pipeline = {pipeline}
[components]
[components.ner]
factory = "ner"
[components.spancat]
factory = "spancat"
[components.sequence_labeler]
factory = "sequence_labeler"
[components.sequence_labeler.model]
@architectures = "spacy-lgu.SequenceLabeler.v1"
[components.sequence_labeler.model.tok2vec]
@architectures = "spacy.HashEmbedCNN.v2"
width = 8
depth = 1
embed_size = 20
window_size = 1
maxout_pieces = 2
subword_features = true
pretrained_vectors = null
[corpora]
[corpora.train]
@readers = "spacy-lgu.join_texts.v1"
max_length = 40
level = 0.5
seed = 1
[corpora.train.corpus]
@readers = "spacy.Corpus.v1"
path = ${{paths.train}}
gold_preproc = false
[corpora.dev]
@readers = "spacy.Corpus.v1"
path = ${{paths.train}}
[training]
seed = 0
gpu_allocator = null
max_steps = 4
eval_frequency = 2
"""


@pytest.mark.parametrize("pipe", ["ner", "spancat", "sequence_labeler"])
def test_spacy_trains_on_joined_texts(tmp_path, pipe):
    docs = []
    for _ in range(12):
        doc = Doc(NLP.vocab, words=["Ann", "saw", "Rome", "."])
        doc.ents = [Span(doc, 0, 1, label="PER"), Span(doc, 2, 3, label="LOC")]
        doc.spans["sc"] = list(doc.ents)
        docs.append(doc)
    DocBin(docs=docs).to_disk(tmp_path / "train.spacy")
    content = CONFIG.format(pipeline=f'["{pipe}"]')
    config = load_config_from_str(content, overrides={"paths.train": str(tmp_path / "train.spacy")})
    unused = {"ner", "spancat", "sequence_labeler"} - {pipe}
    for name in unused:
        config["components"].pop(name)
    trained, _ = train(init_nlp(config))
    assert trained.pipe_names == [pipe]


def test_registered():
    assert registry.readers.get("spacy-lgu.join_texts.v1") is join_texts_v1
