import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_lgu import inputs
from spacy_lgu.corpora import json_records
from spacy_lgu.corpora.json_records import read_records


def read(tmp_path, content: str | bytes):
    path = tmp_path / "a.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [
        (where.removeprefix(str(path)), line, value) for where, line, value in read_records(path)
    ]


@pytest.mark.parametrize(
    ("content", "records"),
    [
        ('{"a": 1}\r\n\n{"a": 2}', [(":1", 1, {"a": 1}), (":3", 3, {"a": 2})]),
        ('["x", {"a": 1}]\n["y", {}]\n', [(":1", 1, ["x", {"a": 1}]), (":2", 2, ["y", {}])]),
        ('[{"a": 1}, {"a": 2}]', [(":1: record 1", 1, {"a": 1}), (":1: record 2", 1, {"a": 2})]),
        (
            '\ufeff[\n  {\n    "a": 1\n  },\n  ["x", {}]\n]\n',
            [(":2: record 1", 2, {"a": 1}), (":5: record 2", 5, ["x", {}])],
        ),
        ("[ ]\n", []),
        ("", []),
    ],
)
def test_lines_and_arrays(tmp_path, content, records):
    assert read(tmp_path, content) == records


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '[{"a": 1}\n {"a": 2}]',
            r"a\.json:2: expected ',', but at column 2: found '{\"a\": 2}\]'",
        ),
        ('[{"a": 1},\n]', r"a\.json:2: expected JSON, but at column 1: Expecting value"),
        ('[{"a": 1}', r"a\.json:1: expected ',', but at column 10: the file ends"),
        ('[{"a": 1}]\n[', r"a\.json:2: expected nothing after the array, but at column 1: found"),
        (
            '[{"a": 1},\n{"a": 1, "a": 1}]',
            r"a\.json:2: record 2: expected JSON, but the key 'a' occ",
        ),
        ("[" * 5000, r"a\.json:1: record 1: expected JSON, but it is nested too deeply"),
        ('{"a": 1}\n{"a"\n', r"a\.json:2: expected JSON, but at column 5"),
        (b'[{"a": "x"},\n {"a": "\xfc"}]', r"a\.json:2: expected UTF-8, but found the byte 0xfc"),
        (b'{"a": 1}\n{"\xfc": 1}', r"a\.json:2: expected UTF-8, but found the byte 0xfc"),
        (
            '{"a": 1}'.encode("utf-16-le"),
            r"a\.json:1: expected UTF-8, but the file begins with a NUL",
        ),
        ('[{"a": 1}]'.encode("utf16"), r"a\.json:1: expected UTF-8, but the file is UTF-16"),
    ],
)
def test_errors_name_the_line(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, content)


def test_one_record_of_an_array_is_read_at_a_time(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"a": "x" * 1000}] * 10_000))
    tracemalloc.start()
    assert sum(1 for _ in read_records(path)) == 10_000
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_a_record_has_bounds(tmp_path, monkeypatch):
    for module in (inputs, json_records):
        monkeypatch.setattr(module, "MAX_BYTES", 100_000)
    with pytest.raises(ValueError, match=r"record 2: expected a record of at most 100,000 bytes"):
        read(tmp_path, json.dumps([{"a": 1}, {"a": "x" * 200_000}, {"a": 2}]))
    assert len(read(tmp_path, json.dumps([{"a": "x" * 90_000}] * 3))) == 3


_RECORDS = st.dictionaries(st.text(max_size=3), st.lists(st.integers() | st.text('[]{},"\\ü\n')))


@given(
    st.lists(_RECORDS, max_size=5),
    st.sampled_from([None, 1]),
    st.booleans(),
    st.integers(1, 40),
)
def test_any_window_reads_the_same(tmp_path_factory, records, indent, ensure_ascii, chunk):
    path = tmp_path_factory.getbasetemp() / "a.json"
    content = json.dumps(records, indent=indent, ensure_ascii=ensure_ascii)
    path.write_text(content, encoding="utf8", errors="surrogatepass")
    with pytest.MonkeyPatch.context() as patch, path.open("rb") as stream:
        patch.setattr(json_records, "_CHUNK", chunk)
        values = [value for _, _, value in json_records._Array(stream, path).read()]
    assert values == records
