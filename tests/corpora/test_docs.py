import pytest
import spacy
from spacy.tokens import DocBin

from spacy_lgu.corpora.docs import make_docs
from spacy_lgu.corpora.records import LabeledSpan, TokenizedText

VOCAB = spacy.blank("en").vocab


def text(line: int, words: str, *spans: tuple[int, int, str], document: str = "d", **options):
    labeled = [LabeledSpan(*span) for span in spans]
    return TokenizedText(f"a:{line}", words.split(), labeled, document, **options)


NEWS = [
    text(1, "Ann ran .", (0, 1, "PER")),
    text(2, "Bo slept .", (0, 1, "PER")),
    text(3, "In Oslo .", (1, 2, "LOC")),
    text(4, "Rain .", document="e"),
]


@pytest.mark.parametrize(
    ("size", "texts"),
    [
        (1, ["Ann ran .", "Bo slept .", "In Oslo .", "Rain ."]),
        (2, ["Ann ran . Bo slept .", "In Oslo .", "Rain ."]),
        (9, ["Ann ran . Bo slept . In Oslo .", "Rain ."]),
        (0, ["Ann ran . Bo slept . In Oslo .", "Rain ."]),
    ],
)
def test_sentences_per_doc(size, texts):
    docs = list(make_docs(NEWS, VOCAB, sentences_per_doc=size))
    assert [doc.text for doc in docs] == texts
    assert [sent.text for doc in docs for sent in doc.sents] == [
        "Ann ran .",
        "Bo slept .",
        "In Oslo .",
        "Rain .",
    ]
    assert [(ent.text, ent.label_) for doc in docs for ent in doc.ents] == [
        ("Ann", "PER"),
        ("Bo", "PER"),
        ("Oslo", "LOC"),
    ]


def test_docs_survive_the_disk():
    docs = list(make_docs(NEWS, VOCAB, sentences_per_doc=2))
    restored = list(DocBin().from_bytes(DocBin(docs=docs).to_bytes()).get_docs(VOCAB))
    for before, after in zip(docs, restored, strict=True):
        assert [token.text_with_ws for token in after] == [token.text_with_ws for token in before]
        assert [token.is_sent_start for token in after] == [t.is_sent_start for t in before]
        assert [(e.start, e.end, e.label_) for e in after.ents] == [
            (e.start, e.end, e.label_) for e in before.ents
        ]


def test_a_text_without_entities_is_annotated():
    (doc,) = make_docs([text(1, "It rained .")], VOCAB)
    assert doc.has_annotation("ENT_IOB")
    assert [token.ent_iob_ for token in doc] == ["O", "O", "O"]


def test_spans_may_overlap():
    nested = text(1, "Ann 's son ran", (0, 3, "PER"), (0, 1, "PER"))
    (doc,) = make_docs([nested], VOCAB, spans_key="sc")
    assert [(span.text, span.label_) for span in doc.spans["sc"]] == [
        ("Ann 's son", "PER"),
        ("Ann", "PER"),
    ]
    assert not doc.has_annotation("ENT_IOB")


def test_entities_that_overlap_are_all_listed():
    texts = [
        text(1, "Ann 's son ran", (0, 1, "PER"), (0, 3, "PER"), (2, 4, "X")),
        text(2, "Bo ran", (0, 1, "PER")),
        text(3, "Bo ran", (0, 1, "A"), (0, 1, "B")),
    ]
    with pytest.raises(ValueError, match=r"these 3 do\. Write them to doc.spans") as error:
        list(make_docs(texts, VOCAB))
    assert str(error.value).split("\n")[1:] == [
        "a:1: 'Ann' (PER) and \"Ann 's son\" (PER)",
        "a:1: \"Ann 's son\" (PER) and 'son ran' (X)",
        "a:3: 'Bo' (A) and 'Bo' (B)",
    ]


def test_known_spaces_and_unknown_sentences():
    known = text(1, "It 's", is_sentence=False, spaces=[False, True])
    (doc,) = make_docs([known], VOCAB)
    assert doc.text == "It's "
    assert not doc.has_annotation("SENT_START")


def test_what_stands_between_sentences():
    known = text(1, "It rains", spaces=[True])  # nothing is known of what follows
    closed = text(2, "It snows", spaces=[True, False])
    for has_spaces, expected in ((True, "It rains It snowsa b"), (False, "It rainsIt snowsab")):
        (doc,) = make_docs(
            [known, closed, text(3, "a b")], VOCAB, sentences_per_doc=0, has_spaces=has_spaces
        )
        assert doc.text == expected


def test_sentences_per_doc_are_not_negative():
    with pytest.raises(ValueError, match=r"at least 1 sentence per Doc, or 0 .*got -1"):
        list(make_docs(NEWS, VOCAB, sentences_per_doc=-1))
