import pytest

from spacy_lgu.corpora.records import read_lines, read_text


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


def test_the_wrong_byte_is_named_after_a_byte_order_mark(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfJos\xe9 O\n")
    with pytest.raises(ValueError, match=r"a\.txt:1: expected UTF-8, but found the byte 0xe9"):
        list(read_lines(path))
