"""Texts without the spaces of corpora, and the tokens in them that share subtokens."""

import spacy
from spacy.tokens import Doc, DocBin, Span

from benchmarks.shared_subtokens import count, find_spaces, join

from ..conftest import make_tokenizer


def text(words):
    words = words.split()
    return Doc(spacy.blank("en").vocab, words, find_spaces(words)).text.strip()


def test_spaces_of_a_text():
    assert text("He ( did n't ) pay $ 5 , 6 % .") == "He (didn't) pay $5, 6%."
    assert text('" No , " said Ann , " it \'s " .') == '"No," said Ann, "it\'s".'
    assert text("the boys ' ball") == "the boys' ball"
    assert text('one " of two') == 'one " of two'
    assert text(") a") == ") a"


def test_join_keeps_annotation_and_count_finds_what_is_shared(tmp_path, capsys):
    doc = Doc(spacy.blank("en").vocab, ["An", "n", "ate", "%"], spaces=[False, True, True, True])
    doc.set_ents([Span(doc, 0, 2, label="PER")])
    doc.spans["sc"] = [Span(doc, 0, 1, label="X"), Span(doc, 0, 2, label="Y")]
    DocBin(docs=[doc]).to_disk(tmp_path / "in.spacy")
    join(tmp_path / "in.spacy", tmp_path / "new" / "out.spacy")
    (joined,) = DocBin().from_disk(tmp_path / "new" / "out.spacy").get_docs(doc.vocab)
    assert joined.text == "An n ate% "
    assert [(e.start, e.end, e.label_) for e in joined.ents] == [(0, 2, "PER")]
    assert [(s.start, s.end, s.label_) for s in joined.spans["sc"]] == [(0, 1, "X"), (0, 2, "Y")]

    make_tokenizer().save_pretrained(tmp_path / "tokenizer")
    count(tmp_path / "in.spacy", [str(tmp_path / "tokenizer")])
    # An and n share Ann; <s> Ann Ġate Ġ % becomes <s> An n Ġate Ġ %.
    row = capsys.readouterr().out.splitlines()[-1].split(" | ")
    assert row[1:] == ["4", "50.00%", "5", "+20.00% |"]
