import re
from pathlib import Path

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_lgu.corpora.docs import make_docs
from spacy_lgu.corpora.webanno import read_webanno

from .conftest import read_file

ENTITIES = """#FORMAT=WebAnno TSV 3.3
#T_SP=de.tudarmstadt.ukp.dkpro.core.api.ner.type.NamedEntity|identifier|value


#Sentence.id=s1
#Text=Mira Holt left Lund.
1-1 0-4 Mira *[1] PER[1]
1-2 5-9 Holt *[1] PER[1]
1-3 10-14 left _ _
1-4 15-19 Lund * LOC
1-5 19-20 . _ _

#Text=She\\tslept.
2-1 21-24 She _ _
2-2 25-30 slept _ _
2-3 30-31 . _ _
"""


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "a.tsv"


def read(path: Path, content: str, **options):
    """Columns are divided by spaces here, for the eye; rows end in a tab as those of INCEpTION."""
    rows = [x if x[:1] in ("#", "") else x.replace(" ", "\t") + "\t" for x in content.split("\n")]
    return read_file(read_webanno, path, "\n".join(rows), **options)


def small(*rows: str, text: str = "ab cd", layers: str = "#T_SP=x.Span|value") -> str:
    return "\n".join(("#FORMAT=WebAnno TSV 3.3", layers, "", "", f"#Text={text}", *rows))


def test_a_document_without_text(path):
    assert read(path, small().removesuffix("#Text=ab cd")) == ([], [])


def test_a_layer_below_rows(path):
    with pytest.raises(ValueError, match=r"a\.tsv:7: expected all layers above .* divide it\."):
        read(path, small("1-1 0-2 ab X", "#T_SP=x.Other|value"))


def test_sentences_tokens_and_white_space(path):
    texts, notes = read(path, ENTITIES)
    assert [text.words for text in texts] == [
        ["Mira", "Holt", "left", "Lund", "."],
        ["She", "\t", "slept", "."],
    ]
    assert texts[0].spaces == [True, True, True, False]
    assert texts[0].spans == [(0, 2, "PER"), (3, 4, "LOC")]
    assert [text.where for text in texts] == [f"{path}:7", f"{path}:14"]
    assert [(text.document, text.is_sentence) for text in texts] == [(str(path), True)] * 2
    layer = "de.tudarmstadt.ukp.dkpro.core.api.ner.type.NamedEntity"
    assert notes == [
        (f"span layer left out: {layer}|identifier", str(path)),
        (f"span layer read: {layer}|value", str(path)),
    ]
    docs = make_docs(texts, spacy.blank("en").vocab)
    assert [doc.text for doc in docs] == ["Mira Holt left Lund.", "She\tslept."]


def test_offsets_count_two_units_beyond_the_basic_plane(path):
    rows = ("1-1 7-9 😀 _", "1-2 10-12 é𝔸 X[1]", "1-3 13-14 b X[1]")
    with pytest.raises(ValueError, match=r"a\.tsv:7: expected 'é𝔸' at 10-12 .* in UTF-16 units"):
        read(path, small(*rows, text="😀 é𝔸 b"))
    rows = ("1-1 7-9 😀 _", "1-2 10-13 é𝔸 X[1]", "1-3 14-15 b X[1]")
    texts, _ = read(path, small(*rows, text="😀 é𝔸 b"))
    assert (texts[0].words, texts[0].spans) == (["😀", "é𝔸", "b"], [(1, 3, "X")])


def test_sentences_with_nothing_in_between(path):
    rows = ("1-1 0-2 早上 _", "", "#Text=好", "2-1 2-3 好 _", "", "#Text=吗", "3-1 4-5 吗 _")
    texts, _ = read(path, small(*rows, text="早上"))
    assert [text.spaces for text in texts] == [[False], [], []]
    (doc,) = make_docs(texts, spacy.blank("en").vocab, sentences_per_doc=0)
    assert doc.text == "早上好 吗"


WORDS = st.text("a\\[]|_*;\u00e4\u00a0\U0001f600#->", min_size=1).filter(str.strip)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["", " ", "  ", "\t"]), WORDS, WORDS), min_size=1))
def test_any_text_and_label_survive(tmp_path_factory, words):
    words = [(gap if i else "", word.strip(), label) for i, (gap, word, label) in enumerate(words)]
    text, rows, spans, at = "", [], [], 7
    for i, (gap, word, label) in enumerate(words, 1):
        at += len(gap)
        end = at + len(word.encode("utf-16-le")) // 2
        value = re.sub(r"->|[\\\[\]|_;*]", r"\\\g<0>", label)
        rows.append(f"1-{i}\t{at}-{end}\t{word}\t{value}[{i}]\t")
        text, at = text + gap + word, end
        spans.append((word, label))
    escaped = text.replace("\\", "\\\\").replace("\t", "\\t")
    path = tmp_path_factory.mktemp("any") / "a.tsv"
    path.write_text(small(*rows, text=escaped), encoding="utf8", newline="")
    texts = read_webanno(path, report=[].append, misaligned="split")
    (doc,) = make_docs(texts, spacy.blank("en").vocab)
    assert doc.text == text
    assert [(span.text, span.label_) for span in doc.ents] == spans


def test_stacked_annotations(path):
    texts, _ = read(path, small("1-1 0-2 ab X[1]|Y[2]|X[3]", "1-2 3-5 cd X[1]|Z"))
    assert texts[0].spans == [(0, 2, "X"), (0, 1, "Y"), (0, 1, "X"), (1, 2, "Z")]


def test_escaped_characters(path):
    texts, _ = read(path, small(r"1-1 0-2 a\ \_\[1\]\|\->\\[4]", r"1-2 3-5 cd _", text=r"a\\ cd"))
    assert (texts[0].words, texts[0].spans) == (["a\\", "cd"], [(0, 1, "_[1]|->\\")])
    # As Java writes them up to version 3.1, and not escaped as by other programs.
    texts, _ = read(path, small("1-1 0-2 😀 X", "1-2 3-5 cd _", text=r"\uD83D\uDE00 cd"))
    assert texts[0].words == ["😀", "cd"]
    texts, _ = read(path, small(r"1-1 0-2 \n X", "1-2 3-5 cd _", text=r"\n cd"))
    assert texts[0].words == ["\\n", "cd"]


def test_a_sentence_of_several_lines(path):
    texts, _ = read(path, small("1-1 4-5 a X[1]", "1-2 7-8 b X[1]", text=" a \n#Text=b "))
    assert texts[0].words == [" ", "a", "\n", "b"]
    assert texts[0].spaces == [False, True, False]
    assert texts[0].spans == [(1, 4, "X")]


PARTS = small("1-1 0-2 ab _", "1-1.1 1-2 b X[1]", "1-2 3-5 cd X[1]")


def test_parts_of_tokens(path):
    with pytest.raises(ValueError, match=r"--misaligned split(.|\n)*a\.tsv:6: 'b cd' \(X\)"):
        read(path, PARTS)
    texts, _ = read(path, PARTS, misaligned="split")
    assert (texts[0].words, texts[0].spaces) == (["a", "b", "cd"], [False, True])
    assert texts[0].spans == [(1, 3, "X")]


LAYERS = """#T_SP=x.POS|PosValue
#T_SP=x.Frame|FE|ROLE_x.Frame:Roles_x.Link|x.Lu
#T_SP=x.Mention|
#T_CH=x.Coref|referenceType|referenceRelation
#T_RL=x.Dep|kind|BT_x.POS"""
MANY = small(
    "1-1 0-2 ab NN F a;b 1-1;1-2 *[1] p[1] *->1-1 SUBJ 1-2",
    "1-2 3-5 cd VB _ _ _ *[1] _ _ _ _",
    layers=LAYERS,
)


def test_features_are_chosen(path):
    with pytest.raises(ValueError, match=r"several features.*: x\.POS\|PosValue, x\.Frame\|FE\.$"):
        read(path, MANY)
    assert read(path, MANY, layer="POS")[0][0].spans == [(0, 1, "NN"), (1, 2, "VB")]
    assert read(path, MANY, layer="x.Frame")[0][0].spans == [(0, 1, "F")]
    texts, notes = read(path, MANY, layer="Mention", label="M")
    assert texts[0].spans == [(0, 2, "M")]
    assert ("chain layer left out: x.Coref|referenceType", str(path)) in notes
    assert ("relation layer left out: x.Dep|kind", str(path)) in notes


def test_a_document_without_annotations_of_the_layer(path):
    texts, notes = read(path, small("1-1 0-2 ab", "1-2 3-5 cd", layers=""), layer="NamedEntity")
    assert (texts[0].words, texts[0].spans) == (["ab", "cd"], [])
    assert notes == [("file without annotations of the layer", str(path))]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (
            MANY,
            {"layer": "Coref"},
            r"a\.tsv: expected a span layer .*x\.Coref\|.*chain",
        ),
        (MANY, {"feature": "x.Lu"}, r"a\.tsv: expected a span layer and no slot of one"),
        (MANY, {"layer": "Mention"}, r"a\.tsv:10: the annotation '\*\[1\]' has no value.*--label"),
        (
            "#id=1\n1-1 a B-X\n",
            {},
            r"a\.tsv:1: expected #FORMAT=WebAnno .*found '#id=1'",
        ),
        ("", {}, r"a\.tsv:1: expected #FORMAT"),
        (ENTITIES.replace("#Text", "#X"), {}, r"a\.tsv:7: expected #Text= before, but found a row"),
        (small("1-1 0-2 ab"), {}, r"a\.tsv:6: expected SENTENCE-TOKEN.* of the 1 features"),
        (small("1-1 0-2 ab X Y"), {}, r"a\.tsv:6: expected SENTENCE-TOKEN"),
        (small("1-1 0-x ab X"), {}, r"a\.tsv:6: expected SENTENCE-TOKEN"),
        (small(f"1-1 0-{'9' * 5000} ab X"), {}, r"a\.tsv:6: expected SENTENCE-TOKEN"),
        (small("1-1 0-2 xy X"), {}, r"a\.tsv:6: expected 'xy' at 0-2 .*line 5 has something else"),
        (
            small("1-1 0-2 ab X"),
            {},
            r"a\.tsv:6: expected the last token .*' cd' follows",
        ),
        (small("1-1 3-5 cd X"), {}, r"a\.tsv:6: expected 'cd' at 3-5"),
        (
            small("1-1 0-2 ab X", "1-2 4-5 d X"),
            {},
            r"a\.tsv:7: expected the token after the one before it.*found ' c'",
        ),
        (
            small("1-1 0-2 ab X[1]", "1-2 3-5 cd Y[1]"),
            {},
            r"a\.tsv:7: expected the annotation \[1\] with one value.*found 'Y\[1\]'",
        ),
        (
            small("1-1 0-1 a X[1]", "1-2 2-3 b _", "1-3 4-5 c X[1]", text="a b c"),
            {},
            r"a\.tsv:8: expected the annotation \[1\] .*in adjacent tokens",
        ),
        (
            small("1-1 0-1 a X[1]", "", "#Text=b", "2-1 2-3 b X[1]", text="a"),
            {},
            r"a\.tsv:9: expected the annotation \[1\] .*of one sentence",
        ),
    ],
)
def test_errors_name_the_line(path, content, options, message):
    with pytest.raises(ValueError, match=message):
        read(path, content, **options)
