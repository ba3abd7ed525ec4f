import json

import pytest

from spacy_lgu.corpora.label_studio import read_label_studio

from .conftest import read_file


def region(start: int, end: int, said: str, *labels: str, **more) -> dict:
    value = {"start": start, "end": end, "text": said, "labels": list(labels)}
    return {"type": "labels", "from_name": "label", "to_name": "text", "value": value} | more


def task(text: str, *results: list, **more) -> dict:
    return {
        "data": {"text": text},
        "annotations": [{"result": result} for result in results],
    } | more


def minimal(text: str, *values: dict, **more) -> dict:
    return {"id": 1, "text": text, "label": list(values), "annotation_id": 5, "annotator": 2} | more


def read(tmp_path, *records: dict, **options):
    return read_file(read_label_studio, tmp_path / "a.json", json.dumps(records), **options)


MIRA = region(0, 4, "Mira", "PER")


def test_tasks_and_regions(tmp_path):
    choices = {"type": "choices", "from_name": "mood", "value": {"choices": ["good"]}}
    relation = {"type": "relation", "from_id": "a", "to_id": "b"}
    texts, notes = read(tmp_path, task("Mira ran.", [MIRA, choices, relation]), task("Rain.", []))
    assert [(text.text, text.spans) for text in texts] == [
        ("Mira ran.", [(0, 4, "PER")]),
        ("Rain.", []),
    ]
    assert texts[0].where == f"{tmp_path / 'a.json'}:1: record 1"
    assert notes == [
        ("region left out: 'choices' of 'mood'", ""),
        ("region left out: 'relation' of null", ""),
    ]


def test_several_labels_of_a_region(tmp_path):
    texts, notes = read(tmp_path, task("Mira", [region(0, 4, "Mira", "PER", "STAR")]))
    assert texts[0].spans == [(0, 4, "PER"), (0, 4, "STAR")]
    assert [note.kind for note in notes] == ["region of several labels read as several spans"]


def test_annotations_that_do_not_count(tmp_path):
    cancelled = task("Mira", [MIRA])
    cancelled["annotations"].insert(0, {"was_cancelled": True, "result": []})
    texts, notes = read(tmp_path, cancelled, {"data": {"text": "Bo"}, "annotations": []})
    assert [text.spans for text in texts] == [[(0, 4, "PER")]]
    assert [note.kind for note in notes] == [
        "cancelled annotation left out",
        "task without annotation left out",
    ]


def test_several_annotations_of_a_task(tmp_path):
    texts, notes = read(tmp_path, task("Mira", [MIRA], [MIRA]))
    assert [text.spans for text in texts] == [[(0, 4, "PER")]]
    assert [note.kind for note in notes] == ["equal annotations of one task read as one"]
    with pytest.raises(
        ValueError, match=r"record 1: expected one annotation .*found 2, and they d"
    ):
        read(tmp_path, task("Mira", [MIRA], []))


@pytest.mark.parametrize("make", [task, minimal])
def test_another_text_of_the_same_id_is_of_another_project(tmp_path, make):
    arguments = ([],) if make is task else ()
    texts, notes = read(
        tmp_path, make("Mira ran.", *arguments, id=1), make("Bob ran.", *arguments, id=1)
    )
    assert [text.text for text in texts] == ["Mira ran.", "Bob ran."]
    assert notes == []


def test_long_ids_are_told_apart(tmp_path):
    ids = [f"https://example.org/{'x' * 100}/{i}" for i in range(2)]
    texts, _ = read(tmp_path, *(task("Mira", [], id=name) for name in ids))
    assert len(texts) == 2


def test_the_version_before_1_0(tmp_path):
    texts, _ = read(tmp_path, {"data": {"t": "Mira"}, "completions": [{"result": [MIRA]}]})
    assert texts[0].spans == [(0, 4, "PER")]


def test_several_sets_of_labels(tmp_path):
    other = region(5, 8, "ran", "V", from_name="pos")
    texts, notes = read(tmp_path, task("Mira ran", [MIRA, other]))
    assert texts[0].spans == [(0, 4, "PER"), (5, 8, "V")]
    assert [note.kind for note in notes] == [
        'labels of several names read together: ["label", "pos"]'
    ]
    texts, notes = read(tmp_path, task("Mira ran", [MIRA, other]), from_name="pos")
    assert texts[0].spans == [(5, 8, "V")]
    assert [note.kind for note in notes] == ["region left out: 'labels' of 'label'"]
    with pytest.raises(
        ValueError, match=r"labels of one text, but found those of \[\"a\", \"text\"\]"
    ):
        read(tmp_path, task("Mira ran", [MIRA, region(5, 8, "ran", "V", to_name="a")]))


def test_offsets_of_older_versions(tmp_path):
    shifted = task("🎉 Mira", [region(3, 7, "Mira", "PER")])
    with pytest.raises(ValueError, match="give --offsets utf16"):
        read(tmp_path, shifted)
    assert read(tmp_path, shifted, offsets="utf16")[0][0].spans == [(2, 6, "PER")]


def test_minimal_export(tmp_path):
    record = minimal("Mira ran", MIRA["value"], mood={"choices": ["good"]}, created_at="2024")
    texts, notes = read(tmp_path, record)
    assert (texts[0].text, texts[0].spans) == ("Mira ran", [(0, 4, "PER")])
    assert notes == [("field left out: 'mood'", "")]
    # One record for each annotation of a task.
    texts, notes = read(tmp_path, record, record)
    assert len(texts) == 1
    with pytest.raises(
        ValueError, match=r"record 2: .* another one of task 1 in .*record 1, and th"
    ):
        read(tmp_path, record, minimal("Mira ran"))
    with pytest.raises(
        ValueError, match=r"labels in one field, .*\[\"label\", \"x\"\]\. Choose with"
    ):
        read(tmp_path, minimal("Mira", MIRA["value"], x=[MIRA["value"]]))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"data": {"text": "a"}}, "record 1: expected Label Studio's export .* no 'annotations'"),
        (task("a", {}), "record 1: expected a list in 'result', but found {}"),
        (task("a", [{"type": "labels"}]), "record 1: expected Label Studio's .* no 'value'"),
        (task("a", [region(0, 2, "a", "X")]), "'a' .X., but at 0 to 2 there is no such place"),
        (task("a", [region(0, 1, "a", 5)]), "record 1: expected a non-empty string as label"),
        (task("a", [{"type": "hypertextlabels"}]), "region of the type 'hypertextlabels'"),
        (task("a", [{"type": "rectanglelabels"}]), "region of the type 'rectanglelabels'"),
        (minimal("a", {"startOffset": 0, "paragraphlabels": ["X"]}), "type 'paragraphlabels'"),
        (minimal("Mira", MIRA["value"], {"start": 0, "end": 1}), "there is no 'labels' in"),
        ({"data": {"a": "x", "b": "y"}, "annotations": []}, "no field 'text' .* --text-field"),
        (
            {"text": "a", "label": []},
            "with data and annotations, or, of JSON_MIN, one of the fields",
        ),
    ],
)
def test_errors_name_the_record(tmp_path, record, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, record)


def test_what_has_nothing_to_read_is_told(tmp_path):
    texts, notes = read(tmp_path, task("", []), task("Mira", [region(0, 4, "Mira")]))
    assert [text.text for text in texts] == ["Mira"]
    assert [note.kind for note in notes] == [
        "task without text left out",
        "region without a label left out",
    ]
    texts, notes = read(tmp_path, minimal("", {"start": 0, "end": 0, "labels": ["PER"]}))
    assert (texts, [note.kind for note in notes]) == ([], ["task without text left out"])


def test_field_of_the_minimal_form_by_name(tmp_path):
    mira = {"start": 0, "end": 4, "text": "Mira", "labels": ["PER"]}
    record = {**minimal("Mira", mira), "other": [{**mira, "labels": ["STAR"]}]}
    texts, _ = read(tmp_path, record, from_name="other")
    assert texts[0].spans == [(0, 4, "STAR")]
