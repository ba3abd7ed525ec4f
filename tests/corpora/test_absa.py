import pytest

from spacy_lgu.corpora.absa import read_e2e_absa, read_semeval_xml
from spacy_lgu.corpora.formats import read_docs

XML = """<?xml version="1.0" encoding="UTF-8"?>
<sentences>
  <sentence id="7">
    <text>Good naan &amp; tea</text>
    <aspectTerms>
      <aspectTerm term="naan" polarity="positive" from="5" to="9"/>
      <aspectTerm term="tea" polarity="conflict" from="12" to="15"/>
    </aspectTerms>
    <aspectCategories><aspectCategory category="food" polarity="positive"/></aspectCategories>
  </sentence>
  <sentence id="8"><text>We ate.</text></sentence>
</sentences>
"""


def ignore(note):
    raise AssertionError(note)


def test_aspect_terms(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text(XML, encoding="utf8")
    texts = list(read_semeval_xml(path, report=ignore))
    assert [(text.where, text.text) for text in texts] == [
        (f"{path}:3: sentence 7", "Good naan & tea"),
        (f"{path}:11: sentence 8", "We ate."),
    ]
    assert [text.spans for text in texts] == [[(5, 9, "positive"), (12, 15, "conflict")], []]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</sentences>", "", r"a\.xml:13: expected XML, but at column 1: no element found\.$"),
        ("<text>We ate.</text>", "", r"a\.xml:11: sentence 8: expected a text element"),
        ('polarity="positive" from', 'polarity="good" from', r'sentence 7: .*found .good. in {"te'),
        ('polarity="positive" from', "from", r"sentence 7: expected one of .*but found '' in"),
        (
            'from="5"',
            'from="4"',
            r"sentence 7: expected the term 'naan' at 4 to 9, but found ' naa",
        ),
        ('from="5"', 'from="9"', r"sentence 7: expected the term 'naan' at 9 to 9"),
        ('to="9"', 'to="x"', r"sentence 7: expected a number of characters in the attribute 'to'"),
        (
            "aspectTerms>",
            "AspectTerms>",
            r"sentence 7: expected aspectTerm elements, spelled like this, inside aspectT",
        ),
        ("<aspectTerm term", "<AspectTerm term", r"but found AspectTerm {\"term\": \"naan"),
        (
            'id="8"><text>We ate.',
            "><text>",
            r"a\.xml:11: sentence number 2: expected a text element",
        ),
        ('to="9"', f'to="{"9" * 5000}"', r"a\.xml:3: .* in the attribute 'to', .*\.\.\.\.$"),
        ("<sentences>", '<!DOCTYPE s [<!ENTITY a "b">]><sentences>', r"a\.xml:2: .*document type"),
        ("<sentences>", "<!DOCTYPE s SYSTEM 'file:///x'><sentences>", r"a\.xml:2: .*document type"),
        ("</sentences>", "<a>" * 400_000, r"a\.xml:12: .* none ends within 1,048,576 bytes"),
        (
            "aspectTerm term",
            "Opinion term",
            r"a\.xml:6: expected the aspectTerm elements .*Opinion",
        ),
        (
            "<sentences>",
            '<Review rid="1"><sentences>',
            r"a\.xml:2: expected the aspectTerm elements .*Review of SemEval-2015",
        ),
    ],
)
def test_errors_name_the_sentence(tmp_path, old, new, message):
    path = tmp_path / "a.xml"
    path.write_text(XML.replace(old, new), encoding="utf8")
    with pytest.raises(ValueError, match=message):
        list(read_semeval_xml(path, report=ignore))


def test_markup_inside_a_text_is_no_end_of_it(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text("<s><sentence><text>Good <b>food</b> and wine</text></sentence></s>")
    (text,) = read_semeval_xml(path, report=ignore)
    assert text.text == "Good food and wine"


def test_gold_tokens(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(
        "In C#####In=O C#=O\n\nGood garlic naan = tea####"
        "Good=O garlic=T-POS naan=T-POS ==T-NEG tea=T-NEU\n",
        encoding="utf8",
    )
    texts = list(read_e2e_absa(path, report=ignore))
    assert texts[0].words == ["In", "C#"]
    assert texts[1].words == ["Good", "garlic", "naan", "=", "tea"]
    assert texts[1].spans == [(1, 3, "positive"), (3, 4, "negative"), (4, 5, "neutral")]
    assert texts[0].document != texts[1].document


def test_the_text_says_where_spaces_are(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("Good tea.####Good=O tea=T-POS .=O\nSo 'so'####So=O ``=O so=O ''=O\n")
    notes = []
    texts = list(read_e2e_absa(path, report=notes.append))
    assert [text.spaces for text in texts] == [[True, False], None]
    assert notes == [("text that does not consist of its tokens left out", f"{path}:2")]


@pytest.mark.parametrize(
    "line", ["a", "a=O", "a####a", "a####a=B-POS", "a####=O", "a####", "a####a####a=O"]
)
def test_other_tags_are_refused(tmp_path, line):
    path = tmp_path / "a.txt"
    path.write_text(f"{line}\n", encoding="utf8")
    with pytest.raises(ValueError, match=r"a\.txt:1: expected TEXT####TOKEN=TAG TOKEN=TAG, with"):
        list(read_e2e_absa(path, report=ignore))


@pytest.mark.parametrize("encoding", ["foo", "gbk"])
def test_encodings_that_cannot_be_parsed(tmp_path, encoding):
    path = tmp_path / "a.xml"
    path.write_text(f'<?xml version="1.0" encoding="{encoding}"?><sentences/>')
    with pytest.raises(ValueError, match=r"a\.xml:1: .* Convert the file to UTF-8\."):
        list(read_semeval_xml(path, report=ignore))


def test_a_file_may_be_longer_than_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("spacy_lgu.corpora.absa._CHUNK", 100)
    monkeypatch.setattr("spacy_lgu.corpora.absa._MOST_BYTES", 300)
    sentence = '<sentence id="1"><text>Good food</text></sentence>\n'
    (tmp_path / "a.xml").write_text(f"<sentences>{sentence * 20}</sentences>")
    docs = list(read_docs([tmp_path / "a.xml"], "semeval-xml", report=lambda note: None))
    assert len(docs) == 20
