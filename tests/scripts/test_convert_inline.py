import sys
from pathlib import Path

import pytest
import spacy
from spacy.tokens import DocBin

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import convert_inline  # noqa: E402


def test_annotation_is_taken_out():
    parsed = convert_inline.parse_inline("[Worst [service|NEG] ever|OPINION], and [[it|A]|B].")
    assert parsed.text == "Worst service ever, and it."
    assert parsed.spans == [(6, 13, "NEG"), (0, 18, "OPINION"), (24, 26, "A"), (24, 26, "B")]


@pytest.mark.parametrize("line", ["[open", "[open|A", "a|A] b", "[[a|B]"])
def test_unbalanced_annotation(line):
    with pytest.raises(ValueError, match="Unbalanced annotation"):
        convert_inline.parse_inline(line)


def test_documents_are_divided_by_blank_lines(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("[Ann|P] ate.\nIn [Rome|G].\n\n[Bo|P] slept.\n", encoding="utf8")
    documents = convert_inline.read_documents(path)
    assert [d.text for d in documents] == ["Ann ate. In Rome.", "Bo slept."]
    assert documents[0].spans == [(0, 3, "P"), (12, 16, "G")]


def test_misaligned_spans_are_all_listed():
    documents = [convert_inline.AnnotatedText("Annabel Bobby", [(0, 3, "P"), (8, 10, "P")])]
    with pytest.raises(ValueError, match=r"'Ann' \(P\)(.|\n)*'Bo' \(P\)"):
        convert_inline.make_docs(spacy.blank("en"), documents, None)


@pytest.mark.parametrize(("corpus", "spans_key"), [("ner", None), ("reviews", "sc")])
def test_corpora_convert(tmp_path, corpus, spans_key, capsys):
    convert_inline.main(ROOT / "assets" / "corpus" / corpus, tmp_path, spans_key)
    vocab = spacy.blank("en").vocab
    spans = {}
    for split in ("train", "dev", "test"):
        docs = DocBin().from_disk(tmp_path / f"{split}.spacy").get_docs(vocab)
        spans[split] = [
            s for doc in docs for s in (doc.spans[spans_key] if spans_key else doc.ents)
        ]
    assert min(len(found) for found in spans.values()) > 200
    names = {"PERSON", "ORG", "GPE", "LOC", "FAC", "EVENT", "WORK_OF_ART", "PRODUCT", "ENTITY"}
    seen = {s.text.lower() for split in ("train", "dev") for s in spans[split] if s.label_ in names}
    held_out = {s.text.lower() for s in spans["test"] if s.label_ in names}
    assert not seen & held_out


def test_corpora_are_as_large_as_they_say():
    sentences = {
        corpus: sum(
            bool(line)
            for split in ("train", "dev", "test")
            for line in (ROOT / "assets" / "corpus" / corpus / f"{split}.txt")
            .read_text(encoding="utf8")
            .splitlines()
        )
        for corpus in ("ner", "reviews")
    }
    assert sentences["ner"] >= 600
    assert sentences["reviews"] >= 500
