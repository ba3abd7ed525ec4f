import json

import pytest

from spacy_lgu.corpora.detection import read_head
from spacy_lgu.corpora.formats import detect_format, read_docs

FILES = {
    "conll": "-DOCSTART- -X- O\n\nAnn NNP B-PER\nran VBD O\n",
    "litbank-events": "Ann\tO\nran\tEVENT\n",
    "token-jsonl": '{"tokens": ["Ann"], "spans": [[0, 1, "P"]]}\n',
    "char-jsonl": '{"text": "Ann", "spans": [{"start": 0, "end": 3}]}\n',
    "doccano": '{"text": "Ann", "label": [[0, 3, "P"]]}\n',
    "label-studio": '[{"data": {"text": "Ann"}, "annotations": []}]',
    "gliner": '[{"tokenized_text": ["Ann"], "ner": [[0, 0, "P"]]}]',
    "spacy-pairs": '[["Ann", {"entities": [[0, 3, "P"]]}]]',
    "semeval-xml": '<?xml version="1.0"?>\n<sentences>\n<sentence id="1">\n<text>a</text>',
    "e2e-absa": "Good tea####Good=O tea=T-POS\n",
    "inline": "[[Ann|PER] 's|X] ran.\n",
}


def detect(tmp_path, files: dict[str, str]):
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf8")
    notes = []
    found = detect_format([tmp_path / name for name in files], report=notes.append)
    assert notes == [(f"format detected: {found}", notes[0].detail)]
    return found


@pytest.mark.parametrize("name", FILES)
def test_files_say_what_they_are(tmp_path, name):
    assert detect(tmp_path, {"a": FILES[name]}) == name


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("doccano", '{"text": "a", "entities": [{"id": 1, "label": "P", "start_offset": 0}]}'),
        ("label-studio", '[{"text": "a", "label": [], "annotator": 1, "annotation_id": 1}]'),
        ("char-jsonl", '{"text": "a", "_input_hash": 1, "answer": "accept"}'),
        ("token-jsonl", '{"tokens": ["a"], "ner_tags": [0]}'),
        ("token-jsonl", '{"text": "a", "tokens": [{"text": "a", "start": 0}], "answer": "accept"}'),
        ("conll", "\u5e0c B-P\n\u671b M-P\n\u5e0c E-P\n\u671b O\n"),
        ("conllu", "# text = Ann ran\n1\tAnn\tB-PER\t-\tbo\n2\tran\tO\t-\tbo\n"),
        ("semeval-xml", "<sentences><sentence><text>a</text></sentence></sentences>"),
        ("conll", "# from a paper\nAnn\tU-PER\r\n\r\nran\tO\r\n"),
    ],
)
def test_variants(tmp_path, name, content):
    assert detect(tmp_path, {"a": content}) == name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Ann\tB-PER\nran\t0\n", r"a:2: the tag '0' is not O\. Give --outside '0'"),
        ("Ann\tB-PER\nran\t_\n", r"a:2: the tag '_' is not O\. Give --outside '_'"),
        ("token\ttag\nAnn\tB-PER\nran\tO\n", r"a:1: not iob2: tag is not O"),
        ("Ann\tperson\nran\tO\n", r"give --scheme, which is bare for labels"),
        ("aspirin\tB\nhelps\tO\n", r"a:1: the tag 'B' has no label\. Give one"),
        ("Ann NNP B-PER\nran O\n", r"a:2: expected 3 columns as in line 1, but found 2"),
        ("Ann B-PER\rran O\r", r"a:1: there is a carriage return inside the line"),
    ],
)
def test_of_columns_with_faults_the_reader_tells_these(tmp_path, content, message):
    assert detect(tmp_path, {"a": content}) == "conll"
    with pytest.raises(ValueError, match=message):
        list(read_docs([tmp_path / "a"], "conll", report=[].append))


def test_other_white_space_divides_no_columns(tmp_path):
    assert detect(tmp_path, {"a": "Ann B-PER\n\u00a0 O\n10\u00a0000 O\n"}) == "conll"


def test_brat_is_a_pair_even_if_the_text_has_brackets(tmp_path):
    pair = {"a.txt": "[Ann|PER] ran", "a.ann": "T1\tPER 1 4\tAnn\n"}
    assert detect(tmp_path, pair) == "brat"
    pair = {"a.txt": "Ann\tB-PER\n", "a.ann": ""}
    assert detect(tmp_path, pair) == "brat"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "Ann\tB-P\tO\n",
            r"a\.x: .* it could be conll or litbank-entities\. Say which, with --form",
        ),
        ("Ann ran.\n", r"a\.x: expected .* formats conll, .*, pubtator, but it begins 'Ann ran\.'"),
        ('{"text": "a", "ents": []}', r'a\.x: .* records have the fields \["ents", "text"\]'),
        ('{"text": "a", "spans": []', r"a\.x: .* and as JSON: .*a\.x:1: expected JSON, but at"),
        ("\n \n", r"There is no text in .*a\.x"),
        ("", r"There is no text in .*a\.x"),
    ],
)
def test_what_cannot_be_told(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        detect(tmp_path, {"a.x": content})


def test_files_of_several_formats(tmp_path):
    files = {"a": FILES["conll"], "b": FILES["inline"]}
    with pytest.raises(ValueError, match=r"one format, but .*a is conll, .*b is inline\. Convert"):
        detect(tmp_path, files)


def test_folders(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.jsonl").write_text(FILES["doccano"])
    (tmp_path / "readme.md").write_text("About these files")
    (tmp_path / ".b.jsonl").write_text("{}")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\xff\xfe")
    assert detect_format([tmp_path], report=print) == "doccano"
    with pytest.raises(ValueError, match=r"picture\.png:1: expected UTF-8"):
        detect_format([tmp_path, tmp_path / "picture.png"], report=print)
    (tmp_path / "b.jsonl").write_text("{}")
    with pytest.raises(ValueError, match=r"b\.jsonl: expected a file of one of the formats"):
        detect_format([tmp_path], report=print)
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        detect_format([tmp_path / "x"], report=print)


def test_no_more_than_the_beginning_is_read(tmp_path):
    path = tmp_path / "a"
    path.write_text((json.dumps({"text": "x" * 1000}) + "\n") * 10_000)
    head = read_head(path)
    assert (len(head.lines), len(head.records)) == (200, 5)
    path.write_text(("x" * 500_000 + "\n") * 10)
    assert len(read_head(path).lines) == 3
