"""A tiny corpus with every annotation that a head learns from."""

from pathlib import Path

import pytest
import spacy
from spacy.kb import InMemoryLookupKB
from spacy.tokens import Doc, DocBin, Span

WORDS = ["Ann", "saw", "Rome", ".", "Bo", "left", "."]


def make_doc(vocab) -> Doc:
    doc = Doc(
        vocab,
        words=WORDS,
        tags=["N", "V", "N", "P", "N", "V", "P"],
        pos=["PROPN", "VERB", "PROPN", "PUNCT", "PROPN", "VERB", "PUNCT"],
        morphs=["Number=Sing", "", "Number=Sing", "", "Number=Sing", "", ""],
        lemmas=["Ann", "see", "Rome", ".", "Bo", "leave", "."],
        heads=[1, 1, 1, 1, 5, 5, 5],
        deps=["nsubj", "ROOT", "obj", "punct", "nsubj", "ROOT", "punct"],
    )
    doc.ents = [Span(doc, 0, 1, "PER", kb_id="Q1"), Span(doc, 2, 3, "LOC", kb_id="Q2")]
    doc.spans["sc"] = [Span(doc, 0, 3, "EVENT"), Span(doc, 0, 1, "PER")]
    doc.cats = {"travel": 1.0, "food": 0.0}
    return doc


@pytest.fixture(scope="session")
def annotated(tmp_path_factory) -> Path:
    """Eight times the same two sentences, .spacy."""
    vocab = spacy.blank("en").vocab
    path = tmp_path_factory.mktemp("annotated") / "train.spacy"
    DocBin(docs=[make_doc(vocab) for _ in range(8)], store_user_data=True).to_disk(path)
    return path


@pytest.fixture(scope="session")
def kb(tmp_path_factory) -> Path:
    """A knowledge base of Ann and Rome."""
    made = InMemoryLookupKB(spacy.blank("en").vocab, entity_vector_length=4)
    for name in ("Q1", "Q2", "Q3"):
        made.add_entity(entity=name, freq=1, entity_vector=[1.0, 0.0, float(name[1:]), 2.0])
    made.add_alias(alias="Ann", entities=["Q1"], probabilities=[1.0])
    made.add_alias(alias="Rome", entities=["Q2", "Q3"], probabilities=[0.5, 0.4])
    path = tmp_path_factory.mktemp("kb") / "kb"
    made.to_disk(path)
    return path
