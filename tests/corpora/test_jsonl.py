from pathlib import Path

import pytest

from spacy_lgu.corpora.jsonl import read_char_jsonl, read_token_jsonl


def read(reader, path: Path, content: str, **options):
    path.write_text(content, encoding="utf8")
    notes = []
    return list(reader(path, report=notes.append, **options)), notes


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "a.jsonl"


def test_tokens(path):
    content = (
        '{"tokens": ["Ann", "ran"], "spans": [{"start": 0, "end": 1, "label": "PER"}], "x": 1}\n'
        "\n"
        '{"tokens": [], "spans": []}\n'
        '{"tokens": ["Oslo"], "spans": []}\n'
    )
    texts, notes = read(read_token_jsonl, path, content)
    assert [(text.where, text.words) for text in texts] == [
        (f"{path}:1", ["Ann", "ran"]),
        (f"{path}:4", ["Oslo"]),
    ]
    assert texts[0].spans == [(0, 1, "PER")]
    assert texts[0].document == texts[1].document
    assert notes == [("record without a token left out", f"{path}:3")]


def test_fields_by_other_names(path):
    content = '{"w": ["Ann"], "m": [{"b": 0, "e": 1, "type": "PER"}], "id": 7}\n'
    names = {"tokens_field": "w", "spans_field": "m", "start_field": "b", "end_field": "e"}
    texts, _ = read(
        read_token_jsonl, path, content, label_field="type", document_field="id", **names
    )
    assert texts[0].spans == [(0, 1, "PER")]
    assert texts[0].document == f"{path}:7"


def test_what_was_not_accepted_in_prodigy_is_left_out(path):
    line = '{"text": "Ann", "spans": [], "answer": "%s"}\n'
    content = line % "accept" + line % "reject" + line % "ignore"
    texts, notes = read(read_char_jsonl, path, content)
    assert [text.where for text in texts] == [f"{path}:1"]
    assert notes == [
        ("record with the answer reject left out", f"{path}:2"),
        ("record with the answer ignore left out", f"{path}:3"),
    ]


def test_spans_may_be_numbers_of_tokens(path):
    content = '{"tokens": ["she", "ran", "off"], "events": [1, {"start": 1, "end": 3}]}\n'
    texts, _ = read(read_token_jsonl, path, content, spans_field="events", label="EVENT")
    assert texts[0].spans == [(1, 2, "EVENT"), (1, 3, "EVENT")]


def test_characters(path):
    content = (
        '{"text": "Ann ran", "spans": [{"start": 0, "end": 3, "label": "PER"}]}\n'
        '{"text": "", "spans": []}\n'
    )
    texts, notes = read(read_char_jsonl, path, content)
    assert [(text.where, text.text, text.spans) for text in texts] == [
        (f"{path}:1", "Ann ran", [(0, 3, "PER")])
    ]
    assert notes == [("record without text left out", f"{path}:2")]


SPAN = '{"tokens": ["a", "b"], "spans": [%s]}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", r"a\.jsonl:1: expected a JSON object, but found \[1\]"),
        ('{"a": 1', r"a\.jsonl:1: expected one JSON object per line, but at column 8"),
        ("{}", r"a\.jsonl:1: there is no field 'tokens' in \[\]\. Name another with --tokens-f"),
        ('{"tokens": "a"}', r"a\.jsonl:1: expected a list of non-empty strings in 'tokens'"),
        ('{"tokens": ["a", ""]}', r"a\.jsonl:1: expected a list of non-empty strings"),
        ('{"tokens": ["\\ud83d"]}', r"a\.jsonl:1: expected Unicode .* '\\ud83d', half of a surr"),
        ('{"tokens": ["a"]}', r"there is no field 'spans' in \['tokens'\]\. .*--spans-field"),
        ('{"tokens": ["a"], "spans": {}}', r"a\.jsonl:1: expected a list in 'spans', but found {}"),
        (SPAN % "1", r"expected an object with \['start', 'end', 'label'\] .*but found 1"),
        (SPAN % '{"end": 1}', r"no field 'start' in \['end'\]\. Name another with --start-field"),
        (SPAN % '{"start": 1}', r"no field 'end' .*--end-field"),
        (SPAN % '{"start": 0, "end": 1}', r"no field 'label' .*--label-field"),
        (
            SPAN % '{"start": 1, "end": 3, "label": "A"}',
            r"a\.jsonl:1: expected 0 <= start < end <= 2 \(in tokens, end exclusive\), but found",
        ),
        (SPAN % '{"start": 1, "end": 1, "label": "A"}', r"expected 0 <= start < end <= 2"),
        (SPAN % '{"start": -1, "end": 1, "label": "A"}', r"expected 0 <= start < end <= 2"),
        (SPAN % '{"start": false, "end": 1, "label": "A"}', r"expected 0 <= start < end <= 2"),
        (SPAN % '{"start": 0.0, "end": 1, "label": "A"}', r"expected 0 <= start < end <= 2"),
        (SPAN % '{"start": 0, "end": 1, "label": ""}', r"expected a non-empty string as label"),
        (SPAN % '{"start": 0, "end": 1, "label": 5}', r"expected a non-empty string as label"),
    ],
)
def test_errors_name_the_line(path, content, message):
    with pytest.raises(ValueError, match=message):
        read(read_token_jsonl, path, content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": ["a"]}', r"a\.jsonl:1: expected a string in 'text', but found \[\"a\"\]"),
        ('{"text": "\\udc00"}', r"a\.jsonl:1: expected Unicode characters"),
        (
            '{"text": "a", "spans": [{"start": 0, "end": 1, "label": "\\ud800"}]}',
            r"a\.jsonl:1: expected Unicode characters",
        ),
        ('{"txt": "a"}', r"no field 'text' in \['txt'\]\. Name another with --text-field"),
        ('{"text": "abc", "spans": [0]}', r"a\.jsonl:1: expected an object with"),
        (
            '{"text": "abc", "spans": [{"start": 1, "end": 4, "label": "%s"}]}' % ("A" * 80),
            r"expected 0 <= start < end <= 3 \(in characters, end exclusive\).*\.\.\.\.",
        ),
    ],
)
def test_errors_in_characters_name_the_line(path, content, message):
    with pytest.raises(ValueError, match=message):
        read(read_char_jsonl, path, content)
