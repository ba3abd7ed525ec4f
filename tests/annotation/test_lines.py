"""Lines of files, from any shard on."""

import gzip
import hashlib

import pytest

from spacy_lgu.annotation import lines
from spacy_lgu.annotation.lines import LineReader, scan_lines
from spacy_lgu.annotation.records import BadRecord


def read_all(path, kind="jsonl", shard_size=2):
    n_records, starts, _ = scan_lines(path, kind, shard_size)
    reader = LineReader(path, kind, "text")
    found = []
    for number, start in enumerate(starts):
        n = min(shard_size, n_records - number * shard_size)
        found.append([getattr(r, "text", None) or r.reason for r in reader.read(start, n)])
    reader.close()
    return found


def test_a_shard_knows_its_byte_and_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "a"}\n\n{"text": "b"}\n \n{"text": "c"}')
    n_records, starts, sha256 = scan_lines(path, "jsonl", 2)
    assert (n_records, starts) == (3, [[0, 0], [34, 4]])
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    reader = LineReader(path, "jsonl", "text")
    (last,) = reader.read([34, 4], 1)
    assert (last.line, last.text) == (5, "c")
    assert [(r.line, r.text) for r in reader.read([0, 0], 2)] == [(1, "a"), (3, "b")]
    reader.close()


def test_what_is_no_record(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b'not json\n[1]\n{"body": "a"}\n{"text": 3}\n{"text": "\\ud83d"}\n{"text": "\xff"}\n'
        b'{"text": "a", "text": "b"}\n{"text": "fine"}\n'
    )
    (found,) = read_all(path, shard_size=10)
    for reason, words in zip(
        found,
        [
            "line 1: expected JSON, but at column 1",
            "expected a JSON object, but found [1]",
            "there is no field 'text' among [\"body\"]",
            "expected a string in 'text', but found 3",
            "expected text without lone surrogates in 'text', but character 0",
            "expected UTF-8, but byte 10 is not",
            "the key 'text' occurs twice",
            "fine",
        ],
        strict=True,
    ):
        assert words in reason


def test_a_line_that_is_too_long_is_not_read_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "MAX_BYTES", 20)
    monkeypatch.setattr(lines, "_CHUNK", 4)
    path = tmp_path / "a.txt"
    path.write_bytes(b"short\n" + b"x" * 99 + b"\nexactly twenty chars\n" + b"y" * 19 + b"\nend")
    found = read_all(path, "text", 1)
    too_long = "expected a line of at most 20 bytes, but it has"
    assert found == [
        ["short"], [f"{too_long} 100"], [f"{too_long} 21"], ["y" * 19], ["end"]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}".encode("utf-16"), "expected UTF-8, but the file is UTF-16"),
        (b"\x1f\x8b\x08", "expected UTF-8, but the file is compressed with gzip"),
    ],
)
def test_files_of_another_kind(tmp_path, content, message):
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        scan_lines(tmp_path / "a.jsonl", "jsonl", 2)


def test_a_damaged_file_is_named_before_anything_is_annotated(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(b"\x1f\x8b\x08 no")
    with pytest.raises(ValueError, match=r"a.jsonl.gz:1: damaged or cut off here"):
        scan_lines(tmp_path / "a.jsonl.gz", "jsonl", 2)


def test_a_file_that_became_shorter(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a\nb\nc\n")
    reader = LineReader(path, "text", "text")
    with pytest.raises(ValueError, match="has changed: 5 records were expected here"):
        list(reader.read([0, 0], 5))
    reader.close()


def test_bad_records_are_told_from_records(tmp_path):
    (tmp_path / "a.jsonl").write_text("no\n")
    reader = LineReader(tmp_path / "a.jsonl", "jsonl", "text")
    (found,) = reader.read([0, 0], 1)
    assert isinstance(found, BadRecord)
    assert (found.line, found.is_clash) == (1, False)
    reader.close()


def test_a_later_shard_of_a_compressed_file(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"a\nb\nc\nd\n"))
    _, starts, _ = scan_lines(path, "text", 2)
    reader = LineReader(path, "text", "text")
    assert [(record.line, record.text) for record in reader.read(starts[1], 2)] == [
        (3, "c"),
        (4, "d"),
    ]
    reader.close()
