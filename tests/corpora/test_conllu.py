from pathlib import Path

import pytest

from spacy_lgu.corpora.conllu import read_conllu

from .conftest import read_file

# Columns are divided by spaces here, for the eye.
RANGES = """# newdoc id = a
# sent_id = 1
# text = Vive no Porto.
1 Vive viver VERB _ _ 0 root _ name=O
2-3 no _ _ _ _ _ _ _ _
2 em em ADP _ _ 4 case _ name=O
3 o o DET _ _ 4 det _ name=B-LOC
4 Porto Porto PROPN _ _ 1 obl _ SpaceAfter=No|name=I-LOC
4.1 E ser VERB _ _ _ _ _ _
5 . . PUNCT _ _ 1 punct _ _

# newpar
# text = Não.
1 Não não ADV _ _ 0 root _ SpaceAfter=No
2 . . PUNCT _ _ 1 punct _ name=O

# newdoc id = b
1 Mira Mira PROPN _ _ 0 root _ name=B-PER
"""
WORDS = [["Vive", "em", "o", "Porto", "."], ["Não", "."], ["Mira"]]


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "a.conllu"


def read(path: Path, content: str, **options):
    lines = [x if x.startswith("#") else x.replace(" ", "\t") for x in content.splitlines()]
    return read_file(read_conllu, path, "\n".join(lines), **options)


def test_words_of_the_grammar_with_the_spaces_of_the_text(path):
    texts, notes = read(path, RANGES, subtokens="split")
    assert [text.words for text in texts] == WORDS
    assert [text.spaces for text in texts] == [
        [True, False, True, False],
        [False],
        [],
    ]
    assert [text.spans for text in texts] == [[(2, 4, "LOC")], [], [(0, 1, "PER")]]
    assert [text.where for text in texts] == [f"{path}:{line}" for line in (4, 14, 18)]
    assert [text.document for text in texts] == [f"{path}:1", f"{path}:1", f"{path}:17"]
    assert notes == [
        ("tag scheme detected: iob2", str(path)),
        ("empty node left out", f"{path}:9: 'E'"),
        (
            "word of the text read as words of the grammar",
            f"{path}:5: 'no' -> 'em' 'o'",
        ),
    ]


def test_words_of_the_text(path):
    texts, notes = read(path, RANGES, subtokens="merge")
    assert texts[0].words == ["Vive", "no", "Porto", "."]
    assert texts[0].spaces == [True, True, False]
    assert texts[0].spans == [(1, 3, "LOC")]
    assert notes[-1] == ("span widened to whole words of the text", f"{path}:5: 'no Porto' (LOC)")


def test_span_that_begins_inside_a_word_of_the_text(path):
    message = r"a\.conllu:5: 'no Porto' \(LOC\)"
    with pytest.raises(ValueError, match=rf"Give --subtokens merge .*, or split .*\n.*{message}"):
        read(path, RANGES)
    texts, _ = read(path, RANGES.replace("name=B-LOC", "name=O").replace("I-LOC", "B-LOC"))
    assert (texts[0].words, texts[0].spans) == (["Vive", "no", "Porto", "."], [(2, 3, "LOC")])
    with pytest.raises(ValueError, match="Expected one of merge, split for subtokens, but got 'x"):
        read(path, RANGES, subtokens="x")


def test_paragraphs_are_documents_where_there_are_no_others(path):
    texts, _ = read(path, RANGES.replace("# newdoc", "# other"), subtokens="split")
    assert [text.document for text in texts] == [str(path), f"{path}:12", f"{path}:12"]


def test_space_after_a_range(path):
    content = "1-2 dámelo _ _ _ _ _ _ _ SpaceAfter=No\n1 dá _ _ _ _ _ _ _ NE=O\n"
    content += "2 melo _ _ _ _ _ _ _ NE=O\n3 , _ _ _ _ _ _ _ NE=O\n"
    texts, notes = read(path, content, subtokens="split")
    assert (texts[0].words, texts[0].spaces) == (["dá", "melo", ","], [False, False])
    assert notes == [("tag scheme detected: iob2", str(path))]


# As Universal NER: no MISC, so that the text alone has the spaces.
FEW = "# text = Lund, 50%\n1 Lund B-LOC - ann\n2 , O - -\n3 50 O - -\n4 % O - -\n"


def test_tags_in_a_column(path):
    texts, _ = read(path, FEW, column=2)
    assert texts[0].spans == [(0, 1, "LOC")]
    assert texts[0].spaces == [False, True, False]
    texts, _ = read(path, FEW.removeprefix("# text = Lund, 50%\n"), column=2)
    assert texts[0].spaces is None


def test_columns_may_have_other_names(path):
    content = "# global.columns = ID FORM MISC EXTRA\n1 Lund x=B-LOC|SpaceAfter=No B-X\n"
    content += "2 . x=O|SpaceAfter=No O\n"
    texts, _ = read(path, content, misc_key="x")
    assert (texts[0].spans, texts[0].spaces) == ([(0, 1, "LOC")], [False, False])
    texts, _ = read(path, content, column=-1)
    assert texts[0].spans == [(0, 1, "X")]


def test_tags_alone_in_misc(path):
    texts, _ = read(path, "1 Lund _ _ _ _ _ _ _ SpaceAfter=No|B-LOC\n2 . _ _ _ _ _ _ _ _\n")
    assert texts[0].spans == [(0, 1, "LOC")]


def test_spaces_of_text_and_misc_differ(path):
    content = RANGES.replace("name=B-LOC", "name=O").replace("SpaceAfter=No|name=I-LOC", "_")
    texts, notes = read(path, content)
    assert texts[0].spaces == [True, True, False]
    assert ("spaces as in the text, not as in MISC", f"{path}:3") in notes


def test_other_white_space(path):
    texts, notes = read(path, "# text = a\u00a0\u00a0b\n1 a O\n2 b O\n", column=2)
    assert texts[0].spaces == [True]
    assert ("white space read as one space", f"{path}:1") in notes


def test_no_sentence(path):
    assert read(path, "# newdoc\n\n") == ([], [])


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("1 a O\n3 b O\n", {}, r"a\.conllu:2: expected the number 2, since .* but found 3"),
        ("1 a O\n1 b O\n", {}, r"a\.conllu:2: expected the number 2, .* Is a blank line missing"),
        ("1 a O\n2-2 b O\n", {}, r"a\.conllu:2: expected the number 2, .* but found 2-2"),
        ("1-3 a _\n1 a O\n2-3 b _\n", {}, r"a\.conllu:3: expected the number 2, .* found 2-3"),
        ("1 a O\n2.1 b O\n", {}, r"a\.conllu:2: expected the number 2, .* but found 2\.1"),
        ("1-2 a _\n1 a O\n", {}, r"a\.conllu:1: expected the words 1-2, but .* ends with word 1"),
        ("a b c\n", {}, r"a\.conllu:1: expected the number of a word .*found 'a b c'"),
        (f"{'9' * 5000} b c\n", {}, r"a\.conllu:1: expected the number of a word .*'\.\.\.\.$"),
        ("1 a O\n2 b\n", {}, r"a\.conllu:2: expected 3 columns separated by tabs, as in line 1"),
        ("# text = ab d\n1 a O\n2 c O\n", {}, r"a\.conllu:1: expected the text .*'b d' instead of"),
        (
            "# text = a d\n1 a O\n",
            {},
            r"a\.conllu:1: expected the text .*' d' after the last",
        ),
        ("# global.columns = FORM ID\n", {}, r"a\.conllu:1: expected the columns ID and FORM"),
        ("1 a O\n", {"column": 3}, r"a\.conllu:1: there is no column 3: the last one is 2"),
        ("1 a I-X\n", {"scheme": "iob2"}, r"a\.conllu:1: not iob2: I-X follows O"),
        (
            "1 a _\n",
            {"scheme": "bare"},
            r"a\.conllu:1: the tag '_' looks .*--outside '_'",
        ),
        ("1-2 a B-X\n1 b O\n2 c O\n", {}, r"a\.conllu:1: expected the tags of 1-2 at its words"),
    ],
)
def test_errors_name_the_line(path, content, options, message):
    with pytest.raises(ValueError, match=message):
        read(path, content, **{"column": 2, **options})


@pytest.mark.parametrize(
    ("misc", "options", "message"),
    [
        ("A=1|B=2", {}, r"a\.conllu: expected tags as name= or NE= in MISC, but found 'A, B'"),
        ("_", {}, r"expected tags as name= or NE= in MISC, but found 'nothing'.* --column"),
        ("name=O|NE=O", {}, r"expected tags as name= or NE= in MISC, but found 'NE, name'"),
        ("NE=O", {"misc_key": "x"}, r"expected tags as x= in MISC, but found 'NE'"),
        ("Entity=(e1-person)", {}, r"a\.conllu:1: Entity= holds mentions of coreference"),
        ("Entity=(e1-person)", {"misc_key": "Entity"}, r"a\.conllu:1: Entity= holds mentions"),
        ("NE=O|NE=B-X", {}, r"a\.conllu:1: expected one tag, but found 'O, B-X'"),
        ("NE=O", {"misc_key": "x", "column": 9}, r"Expected --column or --misc-key \(x\), but got"),
    ],
)
def test_tags_must_be_found_in_misc(path, misc, options, message):
    with pytest.raises(ValueError, match=message):
        read(path, f"1 a _ _ _ _ _ _ _ {misc}\n", **options)
