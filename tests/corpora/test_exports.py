import json

import pytest

from spacy_lgu.corpora.exports import read_doccano, read_gliner, read_spacy_pairs
from spacy_lgu.corpora.formats import read_docs

from .conftest import read_file


def read(reader, tmp_path, content: str, **options):
    return read_file(reader, tmp_path / "a.json", content, **options)


@pytest.mark.parametrize(
    "spans",
    [
        '"label": [[0, 4, "PER"], [9, 12, "PER"]]',
        '"labels": [[0, 4, "PER"], [9, 12, "PER"]]',
        '"entities": [[0, 4, "PER"], [9, 12, "PER"]]',
        '"entities": [{"id": 1, "label": "PER", "start_offset": 0, "end_offset": 4}, '
        '{"id": 2, "label": "PER", "start_offset": 9, "end_offset": 12}], "Comments": []',
    ],
)
def test_doccano(tmp_path, spans):
    line = f'{{"id": 7, "text": "Mira met Jon.", {spans}}}\n'
    texts, notes = read(read_doccano, tmp_path, line)
    assert (texts[0].text, notes) == ("Mira met Jon.", [])
    assert texts[0].spans == [(0, 4, "PER"), (9, 12, "PER")]


def test_relations_are_counted(tmp_path):
    relations = '[{"id": 1, "from_id": 1, "to_id": 2, "type": "met"}, {"id": 2}]'
    line = f'{{"text": "Mira", "entities": [], "relations": {relations}}}'
    texts, notes = read(read_doccano, tmp_path, line)
    assert texts[0].spans == []
    assert notes == [("relation left out", "")] * 2
    line = '{"text": "Mira", "entities": [], "cats": ["a"], "relations": []}'
    assert read(read_doccano, tmp_path, line)[1] == [("category left out", "")]
    line = '{"tokenized_text": ["Mira"], "ner": [], "relations": [[0, 0, "x"]]}'
    assert read(read_gliner, tmp_path, line)[1] == [("relation left out", "")]


def test_offsets_of_doccano(tmp_path):
    line = '{"text": "🎉 Mira", "label": [[3, 7, "PER"]]}'
    assert read(read_doccano, tmp_path, line, offsets="utf16")[0][0].spans == [(2, 6, "PER")]


@pytest.mark.parametrize(
    ("reader", "content", "message"),
    [
        (read_doccano, '{"text": "a"}', r"a\.json:1: expected spans in one of the fields label, "),
        (
            read_doccano,
            '{"text": "a", "label": [], "entities": []}',
            "in one of the fields label, ",
        ),
        (
            read_doccano,
            '{"text": "a", "label": ["A"]}',
            r"a\.json:1: expected for each span an obj",
        ),
        (read_doccano, '{"text": "a", "label": "A"}', r"expected a list in 'label', but found 'A'"),
        (read_doccano, "[1]", r"a\.json:1: expected a JSON object, but found \[1\]"),
        (read_gliner, '[{"tokenized_text": ["a"], "ner": [[0, 1, "A"]]}]', "0 <= start <= end < 1"),
        (
            read_gliner,
            '[{"tokenized_text": "a", "ner": []}]',
            "record 1: expected a list of non-em",
        ),
        (read_gliner, '[{"tokenized_text": ["a"]}]', "record 1: there is no field 'ner'"),
        (read_spacy_pairs, '[["a"]]', r"record 1: expected a pair \[text, .*but found \[\"a\"\]"),
        (read_spacy_pairs, '[["a", []]]', r"record 1: expected a JSON object, but found \[\]"),
        (read_spacy_pairs, '[["a", {}]]', r"record 1: there is no field 'entities'"),
        (read_spacy_pairs, '[["\\ud83d", {"entities": []}]]', "half of a surrogate pair"),
    ],
)
def test_errors_name_the_record(tmp_path, reader, content, message):
    with pytest.raises(ValueError, match=message):
        read(reader, tmp_path, content)


def test_ends_of_gliner_are_inclusive(tmp_path):
    content = (
        '[{"tokenized_text": ["Mira", "Holt", "left"], "ner": [[0, 1, "person"], [2, 2, "act"]]},'
        ' {"tokenized_text": [], "ner": []}]'
    )
    texts, notes = read(read_gliner, tmp_path, content)
    assert texts[0].spans == [(0, 2, "person"), (2, 3, "act")]
    assert not texts[0].is_sentence
    assert [note.kind for note in notes] == ["record without a token left out"]


@pytest.mark.parametrize("form", ["%s\n", "[%s]"])
def test_pairs_of_spacy(tmp_path, form):
    pair = '["Mira left.", {"entities": [[0, 4, "PER"]], "cats": {"A": 1}}]'
    texts, notes = read(read_spacy_pairs, tmp_path, form % pair)
    assert (texts[0].text, texts[0].spans) == ("Mira left.", [(0, 4, "PER")])
    assert [note.kind for note in notes] == ["annotation of the kind 'cats' left out"]


@pytest.mark.parametrize(
    ("reader", "content"),
    [(read_doccano, '{"text": "", "label": []}'), (read_spacy_pairs, '[["", {"entities": []}]]')],
)
def test_records_without_text(tmp_path, reader, content):
    texts, notes = read(reader, tmp_path, content)
    assert (texts, [note.kind for note in notes]) == ([], ["record without text left out"])


def test_texts_of_gliner_are_documents(tmp_path):
    file = tmp_path / "a.json"
    file.write_text('[{"tokenized_text": ["a"], "ner": []}, {"tokenized_text": ["b"], "ner": []}]')
    docs = read_docs([file], "gliner", report=lambda note: None, sentences_per_doc=0)
    assert [doc.text for doc in docs] == ["a", "b"]


def test_spans_of_doccano_that_hold_another_text_are_errors(tmp_path):
    file = tmp_path / "a.jsonl"
    span = {"start_offset": 0, "end_offset": 3, "label": "X", "text": "Bob"}
    file.write_text(json.dumps({"text": "Ann slept", "entities": [span]}))
    with pytest.raises(ValueError, match="1 spans do not hold the text given for them"):
        list(read_docs([file], "doccano", report=lambda note: None))
