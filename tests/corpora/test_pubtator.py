from pathlib import Path

import pytest

from spacy_lgu.corpora.pubtator import read_pubtator

from .conftest import read_file

ARTICLES = """11|t|Effects of examplin
11|a|Examplin helps | with headache and neck pain.
11\t11\t19\texamplin\tChemical\tX01
11\t20\t28\tExamplin\tChemical\tX01
11\t42\t64\theadache and neck pain\tDisease\tY02|Y03\theadache|neck pain
11\tCID\tX01\tY02
11\tAssociation\tX01\tY02\tNovel

A-12|t|No abstract
A-12|a|

13|t|Only a title
13\t0\t4\tOnly\tX"""


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "a.txt"


def read(path: Path, content: str):
    return read_file(read_pubtator, path, content)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_articles(path, end):
    texts, notes = read(path, ARTICLES.replace("\n", end))
    assert [(text.where, text.text, text.spans) for text in texts] == [
        (
            f"{path}:1",
            "Effects of examplin Examplin helps | with headache and neck pain.",
            [(11, 19, "Chemical"), (20, 28, "Chemical"), (42, 64, "Disease")],
        ),
        (f"{path}:9", "No abstract", []),
        (f"{path}:12", "Only a title", [(0, 4, "X")]),
    ]
    assert notes == [("relation left out", ""), ("relation left out", "")]


def test_a_title_begins_an_article_without_a_blank_line_too(path):
    texts, notes = read(path, "1|t|a\n2|t|b\n3|t|\n3|a|\n")
    assert [text.text for text in texts] == ["a", "b"]
    assert notes == [("empty text left out", f"{path}:3")]


ONE = "1|t|a 😀 b\n1|a|c\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1|a|x\n", r"a\.txt:1: expected ID\|t\|TITLE, .* found '1\|a\|x'"),
        ("1|t|x\n2|a|x\n", r"a\.txt:2: expected ID\|t\|TITLE"),
        (f"{ONE}2\t0\t1\ta\tX\n", r"a\.txt:3: expected ID\|t\|TITLE"),
        (f"{ONE}1|a|d\n", r"a\.txt:3: expected one abstract, after the title"),
        ("1|t|a\n1\t0\t1\ta\tX\n1|a|b\n", r"a\.txt:3: expected one abstract.* before the mentions"),
        (f"{ONE}1\t0\t1\ta\n", r"a\.txt:3: expected ID<tab>START<tab>END<tab>MENTION<tab>TYPE"),
        (f"{ONE}1\t0\tx\ta\tX\n", r"a\.txt:3: expected ID<tab>START"),
        (f"{ONE}1\t0\t{'9' * 5000}\ta\tX\n", r"a\.txt:3: expected ID<tab>START"),
        (f"{ONE}1\t0\t1\tb\tX\n", r"a\.txt:3: expected 'b' at 0 1 .* but found 'a' \(X\) in"),
        (f"{ONE}1\t1\t1\t\tX\n", r"a\.txt:3: expected '' at 1 1"),
        (f"{ONE}1\t5\t6\tb\tX\n", r"a\.txt:3: expected 'b' .* if offsets count UTF-16 units"),
        (f"{ONE}1\t7\t8\tb\tX\n", r"a\.txt:3: expected 'b' .* if offsets count bytes of UTF-8"),
    ],
)
def test_errors_name_the_line(path, content, message):
    with pytest.raises(ValueError, match=message):
        read(path, content)
