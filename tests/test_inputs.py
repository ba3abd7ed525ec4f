import bz2
import io

import pytest

from spacy_lgu import inputs
from spacy_lgu.inputs import cut, parse_json, read_bytes_of_lines, shorten


def test_long_lines_are_refused_before_they_are_read(monkeypatch):
    monkeypatch.setattr(inputs, "MAX_BYTES", 4)
    stream = io.BytesIO(b"abc\nabcdefgh\n")
    lines = read_bytes_of_lines(stream, "a.txt")
    assert next(lines) == b"abc\n"
    with pytest.raises(ValueError, match=r"a\.txt:2: expected a line of at most 4 bytes"):
        next(lines)
    assert stream.tell() == 9


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("a".encode("utf16"), "UTF-16"),
        ("a".encode("utf32"), "UTF-32"),
        (b"\x1f\x8b\x08", "compressed with gzip"),
        (b"\xfd7zXZ\0", "compressed with xz"),
        (b"PK\x03\x04", "a zip archive, or an Excel .*export it as text"),
        (b"\x28\xb5\x2f\xfd\x04", r"compressed with zstd\. Unpack it first\.$"),
        (bz2.compress(b"Ann"), "compressed with bzip2"),
        (bz2.compress(b"Ann", 1), "compressed with bzip2"),
        (b"PAR1\x15\x04", "Parquet.* as JSON lines"),
        (b"SQLite format 3\0", "a database"),
    ],
)
def test_other_kinds_of_files(content, kind):
    with pytest.raises(ValueError, match=rf"a:1: expected UTF-8, but the file is .*{kind}"):
        list(read_bytes_of_lines(io.BytesIO(content), "a"))


def test_text_that_begins_as_others_do():
    content = b"BZhan B-PER\nPKW O\n"
    assert list(read_bytes_of_lines(io.BytesIO(content), "a")) == content.splitlines(keepends=True)


def test_json():
    assert parse_json(' {"a": [1, 2.5, null, true, "\\u00e4"]}\r\n', "a:1") == {
        "a": [1, 2.5, None, True, "ä"]
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1', "a:1: expected JSON, but at column 8: Expecting ',' delimiter"),
        ('{"a": 1} {', "a:1: expected one JSON value, but after it, at column 9, found '{'"),
        ('[{"a": 1, "b": 2, "a": 1}]', "a:1: .* the key 'a' occurs twice in one object"),
        ("[NaN]", "a:1: expected JSON, but NaN is not a JSON number"),
        ("[-Infinity]", "a:1: expected JSON, but -Infinity is not a JSON number"),
        ("[1e999]", "a:1: expected JSON, but the number '1e999' is too large"),
        ("[%s]" % ("9" * 5000), "a:1: expected JSON, but the number '9+'... is too large"),
        ("[" * 5000, "a:1: expected JSON, but it is nested too deeply to read"),
        ('["\0"]', "a:1: expected JSON, but at column 3: Invalid control character"),
    ],
)
def test_what_is_no_json(text, message):
    with pytest.raises(ValueError, match=message) as error:
        parse_json(text, "a:1")
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a\x1b", r"'a\x1b'"),
        ("a" * 80, f"'{'a' * 80}'"),
        ("a" * 1_000_000, f"'{'a' * 80}'..."),
        ([1, "ä", None], '[1, "ä", null]'),
        (["a" * 1_000_000], f'["{"a" * 78}...'),
        ([[]] * 1_000_000, f"{('[' + '[], ' * 20)[:80]}..."),
        (["\ud83d"], r'["\ud83d"]'),
    ],
)  # fmt: skip
def test_quotes_are_short(value, shown):
    assert shorten(value) == shown


def test_a_deep_value_is_quoted():
    value: list = []
    for _ in range(900):
        value = [value]
    assert shorten(value) == "[" * 80 + "..."


def test_cut():
    assert cut("PER") == "PER"
    assert cut("P" * 1000) == "P" * 200 + "..."
