from pathlib import Path

import pytest

from spacy_lgu.corpora.jsonl import read_char_jsonl, read_token_jsonl

from .conftest import read_file as read


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


@pytest.mark.parametrize("field", ["label", "options", "accept"])
def test_records_of_prodigy_that_classify_a_text_are_refused(path, field):
    content = f'{{"text": "Ann ran", "{field}": ["X"], "answer": "accept"}}\n'
    with pytest.raises(ValueError, match=rf"a\.jsonl:1: .* with the field '{field}'\. Export a"):
        read(read_char_jsonl, path, content)


def test_decisions_of_prodigy_on_one_span_are_told(path):
    content = (
        '{"text": "Ann met Bo", "spans": [{"start": 0, "end": 3, "label": "P"}], '
        '"_view_id": "ner", "answer": "accept"}\n'
    )
    texts, notes = read(read_char_jsonl, path, content)
    assert texts[0].spans == [(0, 3, "P")]
    assert notes == [
        ("decision on one span in Prodigy: the text is read as without others", f"{path}:1")
    ]


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
        ('{"a": 1', r"a\.jsonl:1: expected JSON, but at column 8"),
        ("{}", r"a\.jsonl:1: there is no field 'tokens' in \[\]\. Name another with --tokens-f"),
        ('{"tokens": "a"}', r"a\.jsonl:1: expected a list of non-empty strings in 'tokens'"),
        ('{"tokens": ["a", ""]}', r"a\.jsonl:1: expected a list of non-empty strings"),
        ('{"tokens": ["\\ud83d"]}', r"a\.jsonl:1: expected Unicode .* '\\ud83d', half of a surr"),
        (
            '{"tokens": ["a"]}',
            r"there is no field 'spans' in .*tokens.*--spans-field, or of tags with --tags-field",
        ),
        ('{"tokens": ["a"], "spans": {}}', r"a\.jsonl:1: expected a list in 'spans', but found {}"),
        (
            SPAN % "1",
            r"span an object with \['start', 'end', 'label'\] or a list \[start.*but found 1",
        ),
        (SPAN % '{"end": 1}', r"no field 'start' in .*end.*\. Name another with --start-field"),
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
        ('{"txt": "a"}', r"no field 'text' in .*txt.*\. Name another with --text-field"),
        ('{"text": "abc", "spans": [0]}', r"a\.jsonl:1: expected for each span an object with"),
        (
            '{"text": "abc", "spans": [{"start": 1, "end": 4, "label": "%s"}]}' % ("A" * 80),
            r"expected 0 <= start < end <= 3 \(in characters, end exclusive\).*\.\.\.\.",
        ),
    ],
)
def test_errors_in_characters_name_the_line(path, content, message):
    with pytest.raises(ValueError, match=message):
        read(read_char_jsonl, path, content)


def test_spans_as_lists(path):
    content = '{"tokens": ["Mira", "Holt", "ran"], "spans": [[0, 2, "PER"]]}\n'
    texts, _ = read(read_token_jsonl, path, content)
    assert texts[0].spans == [(0, 2, "PER")]
    texts, _ = read(read_token_jsonl, path, content, ends="inclusive")
    assert texts[0].spans == [(0, 3, "PER")]
    content = '[{"text": "Mira ran", "ents": [[0, 4]]}]'
    texts, _ = read(read_char_jsonl, path, content, spans_field="ents", label="PER")
    assert (texts[0].where, texts[0].spans) == (f"{path}:1: record 1", [(0, 4, "PER")])


@pytest.mark.parametrize(
    ("record", "spaces"),
    [
        ('"ws": [true, false, false]', [True, False]),
        ('"space_after": [1, 0, 1]', [True, False]),
        ('"spaces": [" ", "", ""]', [True, False]),
        ('"text": "Mira ran."', [True, False]),
        ('"x": 1', None),
    ],
)
def test_what_follows_a_token(path, record, spaces):
    content = f'{{"tokens": ["Mira", "ran", "."], "spans": [], {record}}}\n'
    texts, notes = read(read_token_jsonl, path, content)
    assert (texts[0].spaces, notes) == (spaces, [])
    texts, _ = read(read_token_jsonl, path, content, spaces="all")
    assert texts[0].spaces is None


PRODIGY = (
    '{"text": "Mira ran.", "_input_hash": 1, "tokens": ['
    '{"text": "Mira", "start": 0, "end": 4, "id": 0, "ws": true}, '
    '{"text": "ran", "start": 5, "end": 8, "id": 1, "ws": false}, '
    '{"text": ".", "start": 8, "end": 9, "id": 2, "ws": false}]%s, "answer": "accept"}\n'
)
PRODIGY_SPAN = (
    ', "spans": [{"start": 0, "end": %d, "token_start": 0, "token_end": %d, "label": "X"}]'
)


@pytest.mark.parametrize("value", ["[1]", '{"a": 1}'])
def test_hashes_that_prodigy_does_not_write(path, value):
    content = PRODIGY.replace('"_input_hash": 1', f'"_input_hash": {value}') % ""
    with pytest.raises(ValueError, match=r":1: _input_hash is .*: expected a number, as Prodigy"):
        read(read_token_jsonl, path, content)


def test_tokens_of_prodigy(path):
    content = PRODIGY % (PRODIGY_SPAN % (8, 1)) + PRODIGY % "" + PRODIGY % ', "spans": null'
    texts, notes = read(read_token_jsonl, path, content)
    assert [text.words for text in texts] == [["Mira", "ran", "."]] * 3
    assert [text.spaces for text in texts] == [[True, False]] * 3
    assert [text.spans for text in texts] == [[(0, 2, "X")], [], []]
    assert notes == [
        ("text that Prodigy has more than once", f"{path}:2"),
        ("record of Prodigy without spans read as having none", f"{path}:2"),
        ("text that Prodigy has more than once", f"{path}:3"),
        ("record with null as 'spans' read as having none", f"{path}:3"),
    ]


def test_spans_in_characters_of_tokens_without_places_are_refused(path):
    content = (
        '{"text": "a b c", "tokens": ["a", "b", "c"], '
        '"spans": [{"start": 2, "end": 3, "token_start": 1, "token_end": 1, "label": "X"}]}\n'
    )
    with pytest.raises(ValueError, match=r"a\.jsonl:1: .* Give --start-field token_start --end-f"):
        read(read_token_jsonl, path, content)
    names = {"start_field": "token_start", "end_field": "token_end", "ends": "inclusive"}
    for other in (content, content.replace('"start": 2, "end": 3', '"start": 1, "end": 2')):
        texts, _ = read(read_token_jsonl, path, other, **(names if other == content else {}))
        assert texts[0].spans == [(1, 2, "X")]


def test_tags_of_an_array_are_told_by_record(tmp_path):
    path = tmp_path / "a.json"
    content = '[{"tokens": ["a"], "t": ["O"]}, {"tokens": ["b", "c"], "t": ["B-X", "I-Y"]}]'
    with pytest.raises(ValueError, match=r"a\.json:1: record 2: not iob2: I-Y follows"):
        read(read_token_jsonl, path, content, tags_field="t")
    with pytest.raises(ValueError, match=r"a\.json:1: record 2: token 1, counted from 0: not iob2"):
        read(read_token_jsonl, path, content, tags_field="t", scheme="iob2")


def test_relations_of_prodigy_are_told(path):
    record = (
        '{"text": "a", "spans": [], "relations": [{"head": 0, "child": 1}], "answer": "accept"}'
    )
    _, notes = read(read_char_jsonl, path, record)
    assert notes == [("relation left out", "")]


@pytest.mark.parametrize(("end", "last"), [(6, 1), (8, 2)])
def test_spans_of_prodigy_that_are_no_tokens(path, end, last):
    with pytest.raises(
        ValueError, match=r"a\.jsonl:1: expected a span that begins and ends with a"
    ):
        read(read_token_jsonl, path, PRODIGY % (PRODIGY_SPAN % (end, last)))


TAGGED = '{"tokens": ["Mira", "Holt", "ran"], "ner_tags": %s}\n'


@pytest.mark.parametrize(
    ("tags", "options", "scheme"),
    [
        ('["B-PER", "I-PER", "O"]', {}, "iob2"),
        ('["I-PER", "I-PER", "O"]', {}, "iob1"),
        ('["B-PER", "L-PER", "O"]', {}, "bilou"),
        ("[1, 2, 0]", {"tag_names": "O, B-PER,I-PER"}, "iob2"),
        ('["PER", "PER", "O"]', {"scheme": "bare"}, None),
        ('["(PER*", "*)", "*"]', {}, "brackets"),
        ('["(PER*", "*)", "*"]', {"scheme": "brackets"}, None),
        ('["PER", "PER", "_"]', {"scheme": "bare", "outside": "_"}, None),
        ('["B-PER", "I-PER", "_"]', {"outside": "_"}, "iob2"),
        ('["B", "I", "O"]', {"scheme": "iob2", "label": "PER"}, None),
    ],
)
def test_one_tag_per_token(path, tags, options, scheme):
    texts, notes = read(read_token_jsonl, path, TAGGED % tags, tags_field="ner_tags", **options)
    assert texts[0].spans == [(0, 2, "PER")]
    kinds = [note.kind for note in notes if note.kind != "tag read as another"]
    assert kinds == ([f"tag scheme detected: {scheme}"] if scheme else [])


@pytest.mark.parametrize(
    ("tags", "options", "message"),
    [
        ("[1, 2, 0]", {}, r"a\.jsonl:1: .*\(for numbers, give --tag-names\), but found 1"),
        ("[1, 3, 0]", {"tag_names": "O,B-X,I-X"}, r"a\.jsonl:1: .* from 0 to 2, .*but found 3"),
        ("[1, -1, 0]", {"tag_names": "O,B-X,I-X"}, r"but found -1"),
        ("[1, true, 0]", {"tag_names": "O,B-X,I-X"}, r"but found true"),
        ('["O", "O", "O"]', {"tag_names": "O,B-X"}, r"from 0 to 1, .*but found 'O'"),
        ('["O", "O"]', {}, r"a\.jsonl:1: expected a tag for each of 3 tokens .* but found 2"),
        ('"O"', {}, r"a\.jsonl:1: expected a list of tags in 'ner_tags', but found 'O'"),
        ('["O", "I-X", "O"]', {"scheme": "iob2"}, r"a\.jsonl:1: token 1, .*: not iob2: I-X fol"),
        ('["O", "X", "O"]', {}, r"a\.jsonl:1: not iob2: X is not O"),
        ('["O", "X", "_"]', {"scheme": "bare"}, r"a\.jsonl:1: the tag '_' looks like a marker"),
        ('["O", "B", "I"]', {}, r"a\.jsonl:1: the tag 'B' has no label\. Give one"),
        ('["O", "B-X", "0"]', {}, r"a\.jsonl:1: the tag '0' is not O\. Give --outside '0'"),
    ],
)
def test_tags_that_are_not_valid(path, tags, options, message):
    with pytest.raises(ValueError, match=message):
        read(read_token_jsonl, path, TAGGED % tags, tags_field="ner_tags", **options)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"tokens": ["a"], "spans": [], "text": "b"}',
            r"a\.jsonl:1: expected the text in 'text' to",
        ),
        (
            '{"tokens": ["a"], "spans": [], "ws": [true, true]}',
            r"a\.jsonl:1: .* each of 1 tokens in",
        ),
        ('{"tokens": ["a"], "spans": [], "ws": [2]}', r"a\.jsonl:1: expected true or false for"),
        ('{"tokens": [{"text": "a"}, "b"], "spans": []}', r"a\.jsonl:1: expected a list of non-em"),
        ('{"tokens": [{"text": ""}], "spans": []}', r"a\.jsonl:1: expected a list of non-empty"),
    ],
)
def test_tokens_that_are_not_valid(path, content, message):
    with pytest.raises(ValueError, match=message):
        read(read_token_jsonl, path, content)


def test_a_document_has_a_name(path):
    content = '{"tokens": ["a"], "spans": [], "doc": [1]}'
    with pytest.raises(ValueError, match=r"a\.jsonl:1: expected a string or a number in 'doc'"):
        read(read_token_jsonl, path, content, document_field="doc")
