import pytest

from spacy_lgu import inputs
from spacy_lgu.corpora import records
from spacy_lgu.corpora.records import Faults, Note, Notes, read_lines, read_text


def test_only_line_feeds_end_a_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("a\u2028b\x85c\rd\r\n\ne".encode())
    assert list(read_lines(path)) == [(1, "a\u2028b\x85c\rd"), (2, ""), (3, "e")]


def test_byte_order_mark_is_no_token(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfAnn O\n")
    assert list(read_lines(path)) == [(1, "Ann O")]


@pytest.mark.parametrize("read", [list, read_text], ids=["lines", "text"])
def test_other_encodings_are_refused_with_their_line(tmp_path, read):
    path = tmp_path / "a.txt"
    path.write_bytes("Ann O\nZürich O\n".encode("latin1"))
    argument = read_lines(path) if read is list else path
    with pytest.raises(
        ValueError, match=r"a\.txt:2: expected UTF-8, but found the byte 0xfc\. Con"
    ):
        read(argument)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\nb".encode("utf16"), r"a\.txt:1: expected UTF-8, but the file is UTF-16"),
        ("a\nb".encode("utf-16-le"), r"a\.txt:1: expected UTF-8, .* a NUL, .*iconv -f UTF-16LE"),
        (b"a\nb\0", r"a\.txt:2: expected text, but found a NUL"),
        (b"\x1f\x8b\x08", r"a\.txt:1: expected UTF-8, but the file is compressed with gzip"),
    ],
)
@pytest.mark.parametrize("read", [list, read_text], ids=["lines", "text"])
def test_what_is_no_text(tmp_path, read, content, message):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read(read_lines(path) if read is list else path)


def test_long_texts_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "MAX_BYTES", 3)
    monkeypatch.setattr(records, "MAX_BYTES", 3)
    path = tmp_path / "a.txt"
    path.write_text("abcd")
    with pytest.raises(ValueError, match=r"a\.txt: expected a text of at most 3 bytes"):
        read_text(path)


def test_a_list_of_faults_is_cut():
    faults = Faults()
    faults.add("a:1")
    assert str(faults) == "a:1"
    for _ in range(1001):
        faults.add("a:2")
    assert str(faults).split("\n")[999:] == ["a:2", "... and 2 more"]


def test_the_wrong_byte_is_named_after_a_byte_order_mark(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfJos\xe9 O\n")
    with pytest.raises(ValueError, match=r"a\.txt:1: expected UTF-8, but found the byte 0xe9"):
        list(read_lines(path))


def test_notes_are_told_by_kind():
    notes = Notes()
    for note in (
        Note("left out", "a:1"),
        Note("counted"),
        Note("left out", "a:3"),
        Note("counted"),
    ):
        notes.add(note)
    for i in range(1002):
        notes.add(Note("many", f"b:{i}"))
    few, counted, many = notes.by_kind()
    assert few == ("left out", 2, ["a:1", "a:3"])
    assert counted == ("counted", 2, [])
    assert (many[:2], many[2][-2:]) == (("many", 1002), ["b:999", "... and 2 more"])
