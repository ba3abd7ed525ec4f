"""The public corpora, where they lie beside the repository, against their published counts."""

from collections import Counter
from itertools import chain
from pathlib import Path

import pytest
import spacy

from spacy_lgu.corpora.absa import read_e2e_absa, read_semeval_xml
from spacy_lgu.corpora.conll import read_conll
from spacy_lgu.corpora.converting import count_docs
from spacy_lgu.corpora.docs import make_docs
from spacy_lgu.corpora.jsonl import read_char_jsonl, read_token_jsonl
from spacy_lgu.corpora.litbank import read_litbank_entities, read_litbank_events
from spacy_lgu.corpora.tokenizing import tokenize_texts

DATA = Path(__file__).parents[3] / "shared" / "data"
GENIA = {"spans_field": "entity_mentions", "label_field": "entity_type"}
ENTITIES = {"spans_field": "entities"}
EVENTS = {"spans_field": "events", "label": "EVENT"}


def find(name: str) -> Path:
    if not DATA.is_dir():
        pytest.skip(f"there is no {DATA}: licences keep corpora out of the repository")
    return DATA / name


def ignore(note) -> None:
    """Notes have tests of their own."""


def count(texts) -> tuple[int, int, Counter[str]]:
    n_texts, n_tokens = 0, 0
    labels: Counter[str] = Counter()
    for text in texts:
        n_texts += 1
        n_tokens += len(text.words)
        labels.update(span.label for span in text.spans)
    return n_texts, n_tokens, labels


@pytest.mark.parametrize(
    ("name", "iob2", "sentences", "tokens", "labels"),
    [
        ("eng.train", "train", 14041, 203621, (6600, 7140, 6321, 3438)),
        ("eng.testa", "dev", 3250, 51362, (1842, 1837, 1341, 922)),
        ("eng.testb", "test", 3453, 46435, (1617, 1668, 1661, 702)),
    ],
)
def test_conll2003_entities(name, iob2, sentences, tokens, labels):
    original, copy = find(f"conll2003/{name}"), find(f"conll2003/iob2/{iob2}.txt")
    original_texts = list(read_conll(original, report=ignore))
    copied_texts = list(read_conll(copy, report=ignore))
    names = ("PER", "LOC", "ORG", "MISC")
    assert count(original_texts) == (sentences, tokens, dict(zip(names, labels, strict=True)))
    assert [t.spans for t in original_texts] == [t.spans for t in copied_texts]


@pytest.mark.parametrize(
    ("name", "chunks", "nouns"),
    [("eng.train", 99997, 57387), ("eng.testa", 25737, 14644), ("eng.testb", 22020, 12985)],
)
def test_conll2003_chunks(name, chunks, nouns):
    path = find(f"conll2003/{name}")
    _, _, labels = count(read_conll(path, report=ignore, column=-2))
    assert (labels.total(), labels["NP"]) == (chunks, nouns)


@pytest.mark.parametrize(
    ("name", "sentences", "tokens", "chunks", "top"),
    [
        ("train", 8936, 211727, 106978, {"NP": 55081, "VP": 21467, "PP": 21281}),
        ("test", 2012, 47377, 23852, {"NP": 12422, "VP": 4658, "PP": 4811}),
    ],
)
def test_conll2000(name, sentences, tokens, chunks, top):
    found = count(read_conll(find(f"conll2000/{name}.txt"), report=ignore))
    assert found[:2] == (sentences, tokens)
    assert found[2].total() == chunks
    assert {label: found[2][label] for label in top} == top


WNUT = ("person", "location", "group", "corporation", "product", "creative-work")


@pytest.mark.parametrize(
    ("name", "sentences", "tokens", "labels"),
    [
        ("wnut17train.conll", 3394, 62730, (660, 548, 264, 221, 142, 140)),
        ("emerging.dev.conll", 1009, 15733, (470, 74, 39, 34, 114, 105)),
        ("emerging.test.annotated", 1287, 23394, (429, 150, 165, 66, 127, 142)),
    ],
)
def test_wnut17(name, sentences, tokens, labels):
    found = count(read_conll(find(f"wnut17/{name}"), report=ignore))
    assert found == (sentences, tokens, dict(zip(WNUT, labels, strict=True)))


@pytest.mark.parametrize(
    ("name", "sentences", "tokens", "labels"),
    [
        ("train", 4560, 118170, {"Chemical": 5203, "Disease": 4182}),
        ("devel", 4581, 117453, {"Chemical": 5347, "Disease": 4246}),
        ("test", 4797, 124750, {"Chemical": 5385, "Disease": 4424}),
    ],
)
def test_bc5cdr(name, sentences, tokens, labels):
    found = count(read_conll(find(f"bc5cdr/{name}.tsv"), report=ignore))
    assert found == (sentences, tokens, labels)


def test_litbank_entities():
    files = sorted(find("litbank/entities_tsv").glob("*.tsv"))
    texts = chain.from_iterable(read_litbank_entities(file, report=ignore) for file in files)
    counts = count_docs(make_docs(texts, spacy.blank("en").vocab, spans_key="sc"), "sc")
    assert (counts.n_docs, counts.n_sentences, counts.n_tokens) == (8562, 8562, 210532)
    assert (counts.n_spans, counts.n_nested) == (13912, 2143)
    assert counts.labels == {
        "PER": 9383, "FAC": 2154, "LOC": 1170, "GPE": 878, "VEH": 197, "ORG": 130,
    }  # fmt: skip


def test_litbank_events():
    files = sorted(find("litbank/events_tsv").glob("*.tsv"))
    texts = chain.from_iterable(read_litbank_events(file, report=ignore) for file in files)
    assert count(texts) == (8562, 210532, {"EVENT": 7849})


@pytest.mark.parametrize(
    ("name", "sentences", "tokens", "entities", "events"),
    [
        ("train", 6829, 168441, 11155, 6271),
        ("dev", 789, 20310, 1444, 782),
        ("test", 944, 21781, 1313, 796),
    ],
)
def test_litbank_copies(name, sentences, tokens, entities, events):
    path = find(f"litbank/spans_jsonl/{name}.jsonl")
    found = count(read_token_jsonl(path, report=ignore, **ENTITIES))
    assert (*found[:2], found[2].total()) == (sentences, tokens, entities)
    assert count(read_token_jsonl(path, report=ignore, **EVENTS))[2] == {"EVENT": events}


@pytest.mark.parametrize(
    ("name", "sentences", "tokens", "labels", "nested"),
    [
        ("dev", 1765, 45495, (2466, 1161, 576, 372, 139), 444),
        ("test", 1732, 46873, (2900, 1132, 578, 403, 106), 603),
    ],
)
def test_genia(name, sentences, tokens, labels, nested):
    path = find(f"genia_partial/{name}.jsonlines")
    texts = read_token_jsonl(path, report=ignore, **GENIA)
    counts = count_docs(make_docs(texts, spacy.blank("en").vocab, spans_key="sc"), "sc")
    assert (counts.n_sentences, counts.n_tokens, counts.n_nested) == (sentences, tokens, nested)
    names = ("protein", "DNA", "cell_type", "cell_line", "RNA")
    assert counts.labels == dict(zip(names, labels, strict=True))


POLARITIES = ("positive", "negative", "neutral", "conflict")


@pytest.mark.parametrize(
    ("xml", "jsonl", "sentences", "labels", "divided"),
    [
        ("Restaurants_Train_v2", "train_full", 3041, (2164, 805, 633, 91), 9),
        ("Restaurants_Test_Gold", "test", 800, (728, 196, 196, 14), 2),
    ],
)
def test_rest14(xml, jsonl, sentences, labels, divided):
    xml_texts = list(read_semeval_xml(find(f"rest14/semeval_xml/{xml}.xml"), report=ignore))
    jsonl_texts = list(read_char_jsonl(find(f"rest14/charspans/{jsonl}.jsonl"), report=ignore))
    assert [text.text for text in xml_texts] == [text.text for text in jsonl_texts]
    assert [sorted(text.spans) for text in xml_texts] == [text.spans for text in jsonl_texts]
    notes = []
    texts = tokenize_texts(
        xml_texts, spacy.blank("en").make_doc, report=notes.append, misaligned="split"
    )
    n_texts, _, found = count(texts)
    assert (n_texts, found) == (sentences, dict(zip(POLARITIES, labels, strict=True)))
    assert len(notes) == divided


@pytest.mark.parametrize(
    ("name", "sentences", "tokens", "labels"),
    [
        ("train", 2736, 42273, (1959, 737, 576)),
        ("dev", 304, 4461, (214, 64, 53)),
        ("test", 800, 12486, (728, 196, 198)),
    ],
)
def test_e2e_absa(name, sentences, tokens, labels):
    found = count(read_e2e_absa(find(f"rest14/e2e_absa/{name}.txt"), report=ignore))
    assert found == (sentences, tokens, dict(zip(POLARITIES, labels, strict=False)))
