from pathlib import Path

import pytest

from spacy_lgu import inputs
from spacy_lgu.corpora.formats import read_docs
from spacy_lgu.corpora.inline import parse_inline, read_inline

ROOT = Path(__file__).parents[2]


def test_annotation_is_taken_out():
    parsed = parse_inline("[Worst [service|NEG] ever|OPINION], and [[it|A]|B].", "a.txt:1")
    assert parsed.text == "Worst service ever, and it."
    assert parsed.spans == [(6, 13, "NEG"), (0, 18, "OPINION"), (24, 26, "A"), (24, 26, "B")]


@pytest.mark.parametrize(
    "line", ["[open", "[open|A", "a|A] b", "[[a|B]", "[AT|T|ORG]", "[a|PER [b|C]]", "a ] b"]
)
def test_unbalanced_annotation(line):
    with pytest.raises(ValueError, match=r"a\.txt:1: unbalanced annotation in"):
        parse_inline(line, "a.txt:1")


def test_a_long_line_is_not_quoted():
    with pytest.raises(ValueError, match="unbalanced annotation") as error:
        parse_inline("[" * 1_000_000, "a.txt:1")
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("line", ["[|A]", "[a|]"])
def test_empty_annotation(line):
    with pytest.raises(ValueError, match=r"a\.txt:1: expected text and label in"):
        parse_inline(line, "a.txt:1")


def test_documents_are_divided_by_blank_lines(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("[Ann|P] ate.\nIn [Rome|G].\n\n \t\n[Bo|P] slept.\n", encoding="utf8")
    documents = list(read_inline(path, report=print))
    assert [d.text for d in documents] == ["Ann ate. In Rome.", "Bo slept."]
    assert [d.where for d in documents] == [f"{path}:1", f"{path}:5"]
    assert documents[0].spans == [(0, 3, "P"), (12, 16, "G")]


def test_sentences_of_a_language_without_spaces(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("[林小|P]在。\n[上海|G]。\n", encoding="utf8")
    (document,) = read_inline(path, report=print, spaces="none")
    assert (document.text, document.spans) == ("林小在。上海。", [(0, 2, "P"), (4, 6, "G")])
    (doc,) = read_docs([path], "inline", report=print, lang="zh")
    assert doc.text == "林小在。上海。"


def test_a_document_has_bounds(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "MAX_BYTES", 10)
    path = tmp_path / "a.txt"
    path.write_text("abcd\n" * 5)
    with pytest.raises(ValueError, match=r"a\.txt:1: expected a document, .* of at most 10 bytes"):
        list(read_inline(path, report=print))


def test_last_blank_line_is_no_document(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("Ann.\n\n", encoding="utf8")
    assert [d.text for d in read_inline(path, report=print)] == ["Ann."]


@pytest.mark.parametrize("corpus", ["ner", "reviews"])
def test_names_of_the_test_part_are_not_in_the_others(corpus):
    names = {"PERSON", "ORG", "GPE", "LOC", "FAC", "EVENT", "WORK_OF_ART", "PRODUCT", "ENTITY"}
    found: dict[str, set[str]] = {}
    for part in ("train", "dev", "test"):
        texts = list(read_inline(ROOT / "assets" / "corpus" / corpus / f"{part}.txt", report=print))
        assert sum(len(text.spans) for text in texts) > 200
        found[part] = {
            text.text[start:end].lower()
            for text in texts
            for start, end, label in text.spans
            if label in names
        }
    assert not (found["train"] | found["dev"]) & found["test"]


def test_corpora_are_as_large_as_they_say():
    sentences = {
        corpus: sum(
            bool(line)
            for part in ("train", "dev", "test")
            for line in (ROOT / "assets" / "corpus" / corpus / f"{part}.txt")
            .read_text(encoding="utf8")
            .splitlines()
        )
        for corpus in ("ner", "reviews")
    }
    assert sentences["ner"] >= 600
    assert sentences["reviews"] >= 500
