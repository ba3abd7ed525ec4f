from pathlib import Path

import pytest

from spacy_lgu.corpora.conll import read_conll

from .conftest import read_file

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
    return read_file(read_conll, path, content, **options)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "a.conll"


def test_sentences_documents_and_lines(path):
    texts, notes = read(path, NEWS)
    assert [text.words for text in texts] == [["Ann", "Lee", "met", "Bo"], ["She"], ["Oslo"]]
    assert [text.spans for text in texts] == [[(0, 2, "PER"), (3, 4, "PER")], [], [(0, 1, "LOC")]]
    assert [text.where for text in texts] == [f"{path}:{line}" for line in (3, 8, 12)]
    assert [text.document for text in texts] == [f"{path}:1", f"{path}:1", f"{path}:10"]
    assert notes == [
        ("tag scheme detected: iob1", str(path)),
        ("column of tags not read: 2, counted from 0", str(path)),
    ]


@pytest.mark.parametrize("column", [-2, 2])
def test_another_column_has_another_scheme(path, column):
    texts, notes = read(path, NEWS, column=column)
    assert texts[0].spans == [(0, 2, "NP"), (2, 3, "VP"), (3, 4, "NP")]
    assert notes == [
        ("tag scheme detected: iob2", str(path)),
        ("column of tags not read: 3, counted from 0", str(path)),
    ]


def test_places_in_words_are_not_read_as_text(path):
    content = "\u79d10\tB-PER\n\u62801\tI-PER\nA0\tO\n"
    with pytest.raises(
        ValueError, match=r"a\.conll:1: all tokens .* such as '\u79d10', .* sed -E 's/\^"
    ):
        read(path, content)
    texts, _ = read(path, content, token_column=0)
    assert texts[0].words == ["\u79d10", "\u62801", "A0"]
    with pytest.raises(ValueError, match=r"such as 'en:Ann', .* sed -E 's/\^en://'"):
        read(path, "en:Ann\tB-PER\nen:ran\tO\n")
    texts, _ = read(path, "A1\tB-X\nB2\tI-X\n")
    assert texts[0].words == ["A1", "B2"]


def test_quotation_marks_of_a_spreadsheet_are_told(path):
    texts, notes = read(path, '""""\tO\n"a ""b"""\tO\n"\tO\n""\tO\n"c"\tO\n')
    assert texts[0].words == ['""""', '"a ""b"""', '"', '""', '"c"']
    kind = "token kept with what may be quotation marks of a spreadsheet"
    assert [note for note in notes if note.kind == kind] == [
        (kind, f'{path}:1: \'""""\''),
        (kind, f'{path}:2: \'"a ""b"""\''),
    ]


def test_a_comment_with_a_tab_above_columns_of_spaces(path):
    content = "# id 1\tdomain=en\nann _ _ B-PER\n"
    with pytest.raises(ValueError, match=r"a\.conll:2: .* as in line 1, .* or give --comment"):
        read(path, content)
    texts, _ = read(path, content, comment="# id")
    assert (texts[0].words, texts[0].spans) == (["ann"], [(0, 1, "PER")])


def test_tabs_and_lines_of_tabs_only(path):
    # No-break spaces and hashes belong to tokens; the last line has no end.
    texts, _ = read(path, "#a\tO\r\nNew\u00a0York\tB-loc\r\n\t\r\nb c\tO")
    assert [text.words for text in texts] == [["#a", "New\u00a0York"], ["b c"]]


def test_token_column_and_comments(path):
    content = "# from a newspaper\n1 Ann B-PER\n2 Lee I-PER\n"
    texts, notes = read(path, content, token_column=1, comment="# ")
    assert (texts[0].words, texts[0].spans) == (["Ann", "Lee"], [(0, 2, "PER")])
    assert notes[1:] == [("comment left out", f"{path}:1: '# from a newspaper'")]


def test_given_scheme_is_not_detected(path):
    texts, notes = read(path, "Ann PER\nLee PER\nslept O\n", scheme="bare")
    assert (texts[0].spans, notes) == ([(0, 2, "PER")], [])


def test_needless_begins_are_reported(path):
    texts, notes = read(path, "in O\nAnn B-PER\nLee I-PER\n", scheme="IOB1")
    assert texts[0].spans == [(1, 3, "PER")]
    assert notes == [("needless B- of iob1 read as begin", f"{path}:2")]


def test_several_columns_of_tags(path):
    content = "1 FC B-ORG O\n2 Lund I-ORG b_LOC\n3 # O o\n"
    texts, notes = read(path, content, token_column=1, column=[2, 3])
    assert texts[0].words == ["FC", "Lund", "#"]
    assert texts[0].spans == [(0, 2, "ORG"), (1, 2, "LOC")]
    assert notes == [
        ("tag scheme detected: iob2", str(path)),
        ("tag read as another", f"{path}: 'b_LOC' -> 'B-LOC'"),
        ("tag scheme detected: iob2", str(path)),
    ]


def test_empty_columns_and_tabs_at_the_ends_of_lines(path):
    content = "Ann\t\tB-PER\t\nLee\tX\tI-PER\t\nmet\t\t\t\nBo\tY\tB-PER\n\t\t\nShe\t\t\n"
    texts, _ = read(path, content, outside="")
    assert [text.words for text in texts] == [["Ann", "Lee", "met", "Bo"], ["She"]]
    assert texts[0].spans == [(0, 2, "PER"), (3, 4, "PER")]


def test_white_space_that_divides_no_columns(path):
    texts, _ = read(path, "a\u00a0b O\n\u00a0 O\nc\u2003d\x0c O\n")
    assert texts[0].words == ["a\u00a0b", "\u00a0", "c\u2003d\x0c"]
    texts, _ = read(path, "New York\tB-LOC\n \tO\nis big \tO \n")
    assert texts[0].words == ["New York", " ", "is big "]


@pytest.mark.parametrize("line", ["-DOCSTART- O", "-DOCSTART-\tX\tO", "0\t-DOCSTART-\tO"])
def test_document_starts_have_any_columns(path, line):
    texts, _ = read(path, f"1\tAnn\tB-PER\n{line}\n1\tBo\tB-PER\n", token_column=1)
    assert [(text.words, text.document) for text in texts] == [
        (["Ann"], str(path)),
        (["Bo"], f"{path}:2"),
    ]


ONTONOTES = """#begin document (nw/a); part 000
nw/a 0 0 Mira (PERSON* *
nw/a 0 1 Holt *) (ARG0)

nw/a 0 0 She * (ARG0) *
#end document
#begin document (nw/b); part 000
nw/b 0 0 Lund (GPE) *
"""


def test_brackets_in_sentences_of_different_columns(path):
    options = {"column": 4, "token_column": 3, "comment": "#"}
    texts, notes = read(path, ONTONOTES, scheme="brackets", **options)
    assert [text.words for text in texts] == [["Mira", "Holt"], ["She"], ["Lund"]]
    assert [text.spans for text in texts] == [[(0, 2, "PERSON")], [], [(0, 1, "GPE")]]
    assert [text.document for text in texts] == [f"{path}:1", f"{path}:1", f"{path}:7"]
    assert [note.detail for note in notes] == [f"{path}:6: '#end document'"]
    with pytest.raises(ValueError, match=r"a\.conll:5: expected 6 columns .* --scheme brackets"):
        read(path, ONTONOTES, **options)
    texts, notes = read(path, "a *\nb (X*\nc *)\n")
    assert (texts[0].spans, notes[0].kind) == ([(1, 3, "X")], "tag scheme detected: brackets")


def test_tokens_that_begin_like_comments(path):
    content = "#gold\tB-X\n# a\tb\tc\n#\tO\nof\tO\n"
    with pytest.raises(ValueError, match=r"a\.conll:1: '#gold\\tB-X' begins like a comment, but"):
        read(path, content, comment="#")
    texts, _ = read(path, content, comment="# ")
    assert texts[0].words == ["#gold", "#", "of"]
    texts, _ = read(path, "# vitamin B-12\na x O\n", comment="#")
    assert texts[0].words == ["a"]
    with pytest.raises(ValueError, match=r"a\.conll:2: '# O' begins like a comment"):
        read(path, "a O\n# O\n", comment="#")


NUMBERED = "1 Ann O\n2-3 no O\n2 em O\n3 o O\n3.1 E O\n"


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (NUMBERED, {"token_column": 1}, r"a\.conll:2: expected a token, but 2-3 .*--format conllu"),
        (
            "1 Ann O\n1.1 E O\n",
            {"token_column": 1},
            r"a\.conll:2: expected a token, but 1\.1 .*--format conllu",
        ),
        (NUMBERED, {}, r"a\.conll:1: the first column numbers the tokens .*--token-column 1"),
        ("1 Ann O\n2 Lee O\n", {}, r"a\.conll:1: the first column numbers the tokens"),
    ],
)
def test_numbers_are_no_tokens(path, content, options, message):
    with pytest.raises(ValueError, match=message):
        read(path, content, **options)


def test_tokens_may_look_like_numbers_of_tokens(path):
    texts, _ = read(path, "1 O\n\n2-3 O\n4.1 O\n1 O\n")
    assert texts[1].words == ["2-3", "4.1", "1"]
    texts, _ = read(path, "1 O\n2 O\n", token_column=0)
    assert texts[0].words == ["1", "2"]
    texts, _ = read(path, "1-1 0-3 Ann B-PER\n1-2 4-7 Lee I-PER\n", token_column=2)
    assert texts[0].words == ["Ann", "Lee"]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("a O\n\nb I-A\n", {"scheme": "iob2"}, r"a\.conll:3: not iob2: I-A follows O, but"),
        ("a O\nb I-A\nc B-A\nd O\ne B-A\n", {}, r"a\.conll:2: not iob2.*(.|\n)*conll:5: not iob1"),
        ("a x O\nb O\n", {}, r"a\.conll:2: expected 3 columns as in line 1, but found 2 in 'b O'"),
        (
            "a\tO\nNew York\n",
            {},
            r"a\.conll:2: expected columns separated by tabs, as in line 1, but found columns "
            r"separated by spaces in 'New York'\. Separate",
        ),
        (
            "a O\nb\tO\n",
            {},
            r"a\.conll:2: expected columns separated by spaces, as in line 1, but found columns "
            r"separated by tabs in 'b\\tO'\. Separate",
        ),
        ("a\nb\tO\n", {}, r"a\.conll:2: expected a single column, as in line 1, but found columns"),
        ("a\tx\tO\nb\t\nc\tx\tO", {}, r"a\.conll:2: expected 3 columns .*found 2 in 'b'"),
        ("a x\nb x O\n", {}, r"a\.conll:2: expected 2 columns as in line 1, but found 3"),
        ("a O \nb \n", {}, r"a\.conll:2: expected 2 columns as in line 1, but found 1 in 'b'"),
        (" a O\n", {"column": 2}, r"a\.conll:1: the token is empty"),
        ("a O\n\n\ufeffb O\n", {}, r"a\.conll:3: there is a byte order mark"),
        ("a O\n\x0c\nb O\n", {}, r"a\.conll:2: expected 2 columns as in line 1, but found 1"),
        (f"a {'B-' * 5000}\nb\n", {}, r"found 1 in 'b'"),
        (f"a O\n{'b' * 5000}\n", {}, r"found 1 in 'b{80}'\.\.\.\. Correct"),
        ("a\n", {}, r"a\.conll:1: there is no column -1 besides the token in 'a'\."),
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
