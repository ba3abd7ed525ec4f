from pathlib import Path

import pytest

from spacy_lgu.corpora.conll import read_conll

NEWS = """-DOCSTART- -X- O O

Ann NNP B-NP I-PER
Lee NNP I-NP I-PER
met VBD B-VP O
Bo NNP B-NP I-PER

She PRP B-NP O

-DOCSTART- -X- O O

Oslo NNP B-NP I-LOC
"""


def read(path: Path, content: str, **options):
    path.write_text(content, encoding="utf8")
    notes = []
    return list(read_conll(path, report=notes.append, **options)), notes


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "a.conll"


def test_sentences_documents_and_lines(path):
    texts, notes = read(path, NEWS)
    assert [text.words for text in texts] == [["Ann", "Lee", "met", "Bo"], ["She"], ["Oslo"]]
    assert [text.spans for text in texts] == [[(0, 2, "PER"), (3, 4, "PER")], [], [(0, 1, "LOC")]]
    assert [text.where for text in texts] == [f"{path}:{line}" for line in (3, 8, 12)]
    assert [text.document for text in texts] == [f"{path}:1", f"{path}:1", f"{path}:10"]
    assert notes == [("tag scheme detected: iob1", str(path))]


@pytest.mark.parametrize("column", [-2, 2])
def test_another_column_has_another_scheme(path, column):
    texts, notes = read(path, NEWS, column=column)
    assert texts[0].spans == [(0, 2, "NP"), (2, 3, "VP"), (3, 4, "NP")]
    assert notes == [("tag scheme detected: iob2", str(path))]


def test_tabs_and_lines_of_tabs_only(path):
    # No-break spaces and hashes belong to tokens; the last line has no end.
    texts, _ = read(path, "#a\tO\r\nNew\u00a0York\tB-loc\r\n\t\r\nb c\tO")
    assert [text.words for text in texts] == [["#a", "New\u00a0York"], ["b c"]]


def test_token_column_and_comments(path):
    content = "# from a newspaper\n1 Ann B-PER\n2 Lee I-PER\n"
    texts, notes = read(path, content, token_column=1, comment="# ")
    assert (texts[0].words, texts[0].spans) == (["Ann", "Lee"], [(0, 2, "PER")])
    assert notes[1:] == [("comment left out", f"{path}:1: # from a newspaper")]


def test_given_scheme_is_not_detected(path):
    texts, notes = read(path, "Ann PER\nLee PER\n", scheme="bare")
    assert (texts[0].spans, notes) == ([(0, 2, "PER")], [])


def test_needless_begins_are_reported(path):
    texts, notes = read(path, "in O\nAnn B-PER\nLee I-PER\n", scheme="IOB1")
    assert texts[0].spans == [(1, 3, "PER")]
    assert notes == [("needless B- of iob1 read as begin", f"{path}:2")]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("a O\n\nb I-A\n", {"scheme": "iob2"}, r"a\.conll:3: not iob2: I-A follows O, but"),
        ("a O\nb I-A\nc B-A\nd O\ne B-A\n", {}, r"a\.conll:2: not iob2.*(.|\n)*conll:5: not iob1"),
        ("a x O\nb O\n", {}, r"a\.conll:2: expected 3 columns as in line 1, but found 2 in 'b O'"),
        ("a\n", {}, r"a\.conll:1: there is no column -1 beside the token in \['a'\]"),
        ("a O\n", {"column": 2}, r"a\.conll:1: there is no column 2"),
        ("a O\n", {"column": -3}, r"a\.conll:1: there is no column -3"),
        ("a\tO\n\tO\n", {}, r"a\.conll:2: the token is empty\. Expected it in column 0"),
        ("a O\n", {"scheme": "x"}, r"Expected one of the tag schemes"),
        ("a O\rb O\r", {}, r"a\.conll:1: there is a carriage return inside the line"),
    ],
)
def test_errors_name_the_line(path, content, options, message):
    with pytest.raises(ValueError, match=message):
        read(path, content, **options)
