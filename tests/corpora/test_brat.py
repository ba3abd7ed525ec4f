from pathlib import Path

import pytest

from spacy_lgu.corpora.brat import read_brat

from .conftest import read_file

TEXT = "Ann and Bo Lee\nslept in\nOslo."


@pytest.fixture
def path(tmp_path) -> Path:
    (tmp_path / "a.txt").write_bytes(TEXT.encode())
    return tmp_path / "a.ann"


def read(path: Path, content: str, **options):
    return read_file(read_brat, path, content, **options)


def test_nested_spans_and_other_lines(path):
    content = (
        "T1\tGROUP 0 14\tAnn and Bo Lee\n"
        "T2\tPERSON 8 14\tBo Lee\n"
        "R1\tknows Arg1:T1 Arg2:T2\n"
        "A1\tSure T2\nM2\tSure T1\nE1\tSleep:T2\nN1\tReference T2 Wiki:1\t1\n"
        "*\tEquiv T1 T2\n#1\tAnnotatorNotes T1\twhy?\n\n"
    )
    texts, notes = read(path, content)
    assert [(text.where, text.text, text.spans) for text in texts] == [
        (str(path), TEXT, [(0, 14, "GROUP"), (8, 14, "PERSON")])
    ]
    assert [note.kind for note in notes] == [
        "relation left out",
        "attribute left out",
        "attribute left out",
        "event left out",
        "normalization left out",
        "equivalence left out",
        "comment left out",
    ]


def test_the_text_names_the_pair_as_well(path):
    path.write_text("T1\tPERSON 0 3\tAnn\n", encoding="utf8")
    (text,) = read_brat(path.with_suffix(".txt"), report=print)
    assert text.spans == [(0, 3, "PERSON")]


def test_fragments_with_white_space_between_are_one(path):
    texts, notes = read(path, "T1\tX 8 14;15 20\tBo Lee slept\nT2\tX 21 28\tin Oslo\n")
    assert (texts[0].spans, notes) == ([(8, 20, "X"), (21, 28, "X")], [])


@pytest.mark.parametrize("text", ["Bo Lee Ann", "Ann Bo Lee", "Ann  Bo\tLee"])
def test_fragments_and_their_text_may_have_another_order(path, text):
    texts, notes = read(path, f"T1\tns:PERSON 8 14;0 3\t{text}\r\n", discontinuous="cover")
    assert texts[0].spans == [(0, 14, "ns:PERSON")]
    assert notes[0].detail == f"{path}:1: 'Ann Bo Lee' (ns:PERSON) -> 'Ann and Bo Lee'"
    texts, notes = read(path, "T1\tX 15 20;8 14\tslept Bo Lee\n")
    assert (texts[0].spans, notes) == ([(8, 20, "X")], [])


def test_other_units_of_offsets_are_recognized(path):
    path.with_suffix(".txt").write_text("😀 Ann", encoding="utf8")
    with pytest.raises(ValueError, match=r"a\.ann:1: .* if offsets count UTF-16 units: let them"):
        read(path, "T1\tP 3 6\tAnn\n")
    with pytest.raises(ValueError, match=r"a\.ann:1: .* if offsets count bytes of UTF-8: let them"):
        read(path, "T1\tP 5 8\tAnn\n")
    texts, _ = read(path, "T1\tP 2 5\tAnn\n")
    assert texts[0].spans == [(2, 5, "P")]


DISCONTINUOUS = "T1\tPERSON 0 3;11 14\tAnn Lee\nT2\tPERSON 8 14\tBo Lee\nT3\tX 4 7;8 10\tand Bo\n"


def test_discontinuous_spans_are_all_listed(path):
    content = DISCONTINUOUS + "T4\tX 0 3;8 10\tAnn Bo\n"
    message = r"several fragments(.|\n)*a\.ann:1: 'Ann Lee' \(PERSON\)\n.*a\.ann:4: 'Ann Bo' \(X\)$"
    with pytest.raises(ValueError, match=message):
        read(path, content)


@pytest.mark.parametrize(
    ("choice", "spans", "note"),
    [
        (
            "cover",
            [(0, 14, "PERSON"), (8, 14, "PERSON"), (4, 10, "X")],
            ("discontinuous span covered", ":1: 'Ann Lee' (PERSON) -> 'Ann and Bo Lee'"),
        ),
        (
            "drop",
            [(8, 14, "PERSON"), (4, 10, "X")],
            ("discontinuous span dropped", ":1: 'Ann Lee' (PERSON)"),
        ),
    ],
)
def test_discontinuous_spans_are_covered_or_dropped(path, choice, spans, note):
    texts, notes = read(path, DISCONTINUOUS, discontinuous=choice)
    assert texts[0].spans == spans
    assert notes == [(note[0], f"{path}{note[1]}")]


def test_offsets_count_carriage_returns(path):
    path.with_suffix(".txt").write_bytes(b"Ann\r\nOslo")
    texts, _ = read(path, "T1\tGPE 5 9\tOslo\r\n")
    assert (texts[0].text, texts[0].spans) == ("Ann\r\nOslo", [(5, 9, "GPE")])


def test_empty_text(path):
    path.with_suffix(".txt").write_bytes(b"")
    assert read(path, "") == ([], [("empty text left out", str(path.with_suffix(".txt")))])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("T1 PERSON 0 3 Ann", r"a\.ann:1: expected T1<tab>LABEL START END<tab>TEXT .*found 'T1 P"),
        ("\nX1\ta", r"a\.ann:2: expected T1<tab>LABEL"),
        ("T1\tA 3 0\tAnn", r"a\.ann:1: expected fragments that do not overlap.*found '3 0'"),
        ("T1\tA 0 0\t", r"a\.ann:1: expected fragments that do not overlap.*found '0 0'"),
        ("T1\tA 8 14;0 9\tx", r"a\.ann:1: expected fragments that do not overlap"),
        ("T1\tA 8 10;3 4;8 10\tx", r"a\.ann:1: expected fragments that do not overlap"),
        (f"T1\tA 0 {'9' * 5000}\tAnn", r"a\.ann:1: expected 'Ann' at 0 99.*\.\.\., but found"),
        (f"T1\tA {'9' * 5000} 3\tAnn", r"a\.ann:1: expected fragments .*'\.\.\.\.$"),
        ("T1\tA ٠ ٣\tAnn", r"a\.ann:1: expected T1<tab>LABEL"),
        (
            "T1\tA 1 4\tAnn",
            r"a\.ann:1: expected 'Ann' at 1 4, but found 'nn ' \(A\) in .*line ends",
        ),
        ("T1\tA 90 93\tAnn", r"a\.ann:1: expected 'Ann' at 90 93, but found ''"),
        ("T1\tA 24 99\tOslo.", r"a\.ann:1: expected 'Oslo\.' at 24 99, but found 'Oslo\.'"),
    ],
)
def test_errors_name_the_line(path, content, message):
    with pytest.raises(ValueError, match=message):
        read(path, content)


@pytest.mark.parametrize("missing", [".txt", ".ann"])
def test_both_files_are_needed(path, missing):
    path.write_text("")
    path.with_suffix(missing).unlink()
    with pytest.raises(FileNotFoundError, match=rf"a\.txt and a\.ann .*there is no a\{missing}"):
        list(read_brat(path, report=print))


def test_choices_for_discontinuous_spans(path):
    with pytest.raises(ValueError, match=r"one of error, cover, drop .*got 'merge'"):
        read(path, "", discontinuous="merge")
