"""What comes out of each format of inputs, in each format of outputs, to the letter."""

import gzip
import json
import lzma

import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span

from .conftest import read_all, read_jsonl, write_jsonl

TEXTS = ["Ann saw Rome", "", "nothing"]
ENTS = [
    [
        {"start": 0, "end": 3, "label": "PER", "id": "q1"},
        {"start": 8, "end": 12, "label": "LOC"},
    ],
    [],
    [],
]
SPANS = [
    {
        "sc": [
            {"start": 0, "end": 3, "label": "", "kb_id": "", "score": 0.5},
            {"start": 8, "end": 12, "label": "", "kb_id": "", "score": 0.5},
        ]
    },
    {"sc": []},
    {"sc": []},
]


def write_docs(path, *, annotated=False):
    docs = []
    for text in TEXTS:
        doc = spacy.blank("en")(text)
        doc.cats = {"GOOD": 1.0}
        doc.user_data["note"] = "of another program"
        if annotated and len(doc):
            doc.ents = [Span(doc, 0, 1, label="OLD")]
        docs.append(doc)
    # Tokens that the pipeline's tokenizer would not make.
    docs.append(Doc(docs[0].vocab, words=["Rome", "way"], spaces=[False, False]))
    docs[-1].spans["old"] = [docs[-1][0:1]] if annotated else []
    if not annotated:
        del docs[-1].spans["old"]
    DocBin(docs=docs, store_user_data=True).to_disk(path)
    return path


def read_docs(path):
    return list(DocBin().from_disk(path).get_docs(spacy.blank("en").vocab))


def ents(doc):
    return [(e.text, e.label_, e.id_) for e in doc.ents]


def test_json_to_json_keeps_every_other_letter(annotate, tmp_path):
    lines = [
        '{"n": 1.50, "text": "Ann saw Rome", "big": 123456789012345678901234567890 , "a": [1e5]}',
        "",
        '  {"text":"\\u00c4 Rome","x":{"text":null,"half":"\\ud83d"} } ',
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    summary, _ = annotate(tmp_path / "a.jsonl")
    assert (summary.n_records, summary.n_failed, summary.n_shards) == (2, 0, 1)
    rome = '{"start": 2, "end": 6, "label": "LOC"}'
    spans = [
        f'{{"start": {start}, "end": {end}, "label": "", "kb_id": "", "score": 0.5}}'
        for start, end in ((0, 1), (2, 6))
    ]
    assert (tmp_path / "out" / "a.jsonl-000000.jsonl").read_text().splitlines() == [
        f'{lines[0][:-1]}, "ents": {json.dumps(ENTS[0])}, "spans": {json.dumps(SPANS[0])}}}',
        '{"text":"\\u00c4 Rome","x":{"text":null,"half":"\\ud83d"}, '
        f'"ents": [{rome}], "spans": {{"sc": [{", ".join(spans)}]}}}}',
    ]


def test_text_to_json(annotate, tmp_path):
    """A text is a line: the n-th line of the file is the n-th record."""
    (tmp_path / "a.txt").write_text("Ann saw Rome\r\n\nnothing", newline="")
    annotate(tmp_path / "a.txt")
    assert read_jsonl(tmp_path / "out" / "a.txt-000000.jsonl") == [
        {"text": t, "ents": e, "spans": s} for t, e, s in zip(TEXTS, ENTS, SPANS, strict=True)
    ]


def test_names_of_fields(annotate, tmp_path):
    source = write_jsonl(tmp_path / "a.jsonl", [{"body": "Ann saw Rome", "text": 3, "ents": 4}])
    annotate(source, text_field="body", ents_field="found", spans_field="groups")
    assert read_all(tmp_path / "out") == [
        {"body": "Ann saw Rome", "text": 3, "ents": 4, "found": ENTS[0], "groups": SPANS[0]}
    ]


def test_fields_are_replaced_only_if_asked(annotate, tmp_path):
    source = write_jsonl(tmp_path / "a.jsonl", [{"text": "Ann saw Rome", "ents": 4, "x": 5}])
    with pytest.raises(ValueError, match=r"a.jsonl:1 has a field 'ents' already, .* --ents-field"):
        annotate(source)
    annotate(source, replace=True)
    assert read_all(tmp_path / "out") == [
        {"text": "Ann saw Rome", "x": 5, "ents": ENTS[0], "spans": SPANS[0]}
    ]


def test_a_field_that_a_later_record_has_is_not_overwritten(annotate, tmp_path):
    records = [{"text": "Rome"}] * 150 + [{"text": "Rome", "spans": "mine"}]
    summary, _ = annotate(write_jsonl(tmp_path / "a.jsonl", records))
    assert (summary.n_records, summary.n_failed) == (151, 1)
    (failed,) = read_jsonl(tmp_path / "out" / "failed.log")
    assert (failed["file"], failed["line"]) == ("a.jsonl", 151)
    assert "the record has a field 'spans' already" in failed["reason"]
    assert len(read_all(tmp_path / "out")) == 150


@pytest.mark.parametrize("suffix", ["gz", "xz", "zst"])
def test_compressed_lines(annotate, tmp_path, suffix):
    if suffix == "zst":
        pytest.importorskip("zstandard")
    write_jsonl(tmp_path / "a.jsonl", [{"text": text} for text in TEXTS] * 3)
    annotate(tmp_path / "a.jsonl", output=tmp_path / "plain")
    annotate(tmp_path / "a.jsonl", output=tmp_path / "packed", format=f"jsonl.{suffix}")
    packed = tmp_path / "packed" / f"a.jsonl-000000.jsonl.{suffix}"
    annotate(packed, output=tmp_path / "again", replace=True, shard_size=4)
    assert read_all(tmp_path / "again", "*.jsonl") == read_all(tmp_path / "plain")
    if suffix != "zst":
        opened = {"gz": gzip.open, "xz": lzma.open}[suffix](packed)
        assert opened.read() == (tmp_path / "plain" / "a.jsonl-000000.jsonl").read_bytes()


def test_json_to_docs_and_back(annotate, tmp_path):
    records = [{"text": text, "id": i, "x": {"y": [None]}} for i, text in enumerate(TEXTS)]
    annotate(write_jsonl(tmp_path / "a.jsonl", records), format="spacy")
    docs = read_docs(tmp_path / "out" / "a.jsonl-000000.spacy")
    assert [doc.text for doc in docs] == TEXTS
    assert ents(docs[0]) == [("Ann", "PER", "q1"), ("Rome", "LOC", "")]
    assert [span.text for span in docs[0].spans["sc"]] == ["Ann", "Rome"]
    assert docs[0].spans["sc"].attrs["scores"] == [0.5, 0.5]
    assert docs[2].user_data == {"record": '{"id": 2, "x": {"y": [null]}}'}


def test_docs_to_docs_keep_their_tokens(annotate, tmp_path):
    _, said = annotate(write_docs(tmp_path / "a.spacy"), format="spacy")
    assert "User data of 3 Docs is left out" in said
    docs = read_docs(tmp_path / "out" / "a.spacy-000000.spacy")
    assert [[token.text for token in doc] for doc in docs] == [
        ["Ann", "saw", "Rome"], [], ["nothing"], ["Rome", "way"]
    ]  # fmt: skip
    assert [ents(doc) for doc in docs] == [
        [("Ann", "PER", "q1"), ("Rome", "LOC", "")], [], [], [("Rome", "LOC", "")]
    ]  # fmt: skip
    assert [doc.cats for doc in docs] == [{"GOOD": 1.0}] * 3 + [{}]
    assert docs[3].text == "Romeway"
    assert docs[0].user_data == {}


def test_docs_to_json(annotate, tmp_path):
    annotate(write_docs(tmp_path / "a.spacy"))
    records = read_jsonl(tmp_path / "out" / "a.spacy-000000.jsonl")
    assert [record["text"] for record in records] == [*TEXTS, "Romeway"]
    assert [record["ents"] for record in records[:3]] == ENTS
    assert records[0]["cats"] == {"GOOD": 1.0}
    assert records[3]["tokens"] == [
        {"id": 0, "start": 0, "end": 4}, {"id": 1, "start": 4, "end": 7}
    ]  # fmt: skip


def test_annotated_docs_are_replaced_only_if_asked(annotate, tmp_path):
    source = write_docs(tmp_path / "a.spacy", annotated=True)
    with pytest.raises(ValueError, match=r"a.spacy:1: the Doc has entities already: .* --replace"):
        annotate(source)
    annotate(source, replace=True)
    records = read_jsonl(tmp_path / "out" / "a.spacy-000000.jsonl")
    assert [record["ents"] for record in records[:3]] == ENTS
    assert [[*record["spans"]] for record in records] == [["sc"]] * 4


def test_parquet(annotate, tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    days = pa.array([1, 2, None, 4], pa.date32())
    texts = pa.array([*TEXTS, None], pa.large_string())
    table = pa.table({"day": days, "text": texts, "n": pa.array([1, 2, 3, 4], pa.int8())})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=3)
    with pytest.raises(ValueError, match=r"column 'day' is of date32\[day\], which JSON has not"):
        annotate(tmp_path / "a.parquet")
    summary, _ = annotate(tmp_path / "a.parquet", format="parquet", shard_size=2)
    assert (summary.n_records, summary.n_failed, summary.n_shards) == (4, 1, 2)
    first, second = (
        pq.read_table(tmp_path / "out" / f"a.parquet-00000{i}.parquet") for i in range(2)
    )
    assert first.schema == second.schema
    assert first.schema.names == ["day", "text", "n", "ents", "spans"]
    found = pa.concat_tables([first, second])
    assert found.select(["day", "text", "n"]) == table.slice(0, 3)
    without = {"kb_id": None, "id": None, "score": None}
    assert found["ents"].to_pylist() == [[{**without, **e} for e in es] for es in ENTS]
    assert found["spans"].to_pylist()[1] == [("sc", [])]
    spans = [{**without, **span} for span in SPANS[0]["sc"]]
    assert found["spans"].to_pylist()[0] == [("sc", spans)]
    (failed,) = read_jsonl(tmp_path / "out" / "failed.log")
    assert failed == {
        "file": "a.parquet", "line": 4, "reason": "expected a string in 'text', but found null"
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"parquet has a column 'ents' already"):
        annotate(tmp_path / "out" / "*.parquet", output=tmp_path / "again", format="parquet")


def test_parquet_to_json_and_back(annotate, tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    table = pa.table({"text": TEXTS, "x": [1.5, None, float("nan")], "y": [["a"], [], None]})
    pq.write_table(table, tmp_path / "a.parquet")
    summary, _ = annotate(tmp_path / "a.parquet")
    assert summary.n_failed == 1
    assert "JSON compliant" in read_jsonl(tmp_path / "out" / "failed.log")[0]["reason"]
    assert read_jsonl(tmp_path / "out" / "a.parquet-000000.jsonl") == [
        {"text": t, "x": x, "y": y, "ents": e, "spans": s}
        for t, x, y, e, s in zip(TEXTS[:2], [1.5, None], [["a"], []], ENTS, SPANS, strict=False)
    ]
    source = write_jsonl(tmp_path / "b.jsonl", [{"id": 7, "text": "Rome", "ents": "mine"}])
    annotate(source, output=tmp_path / "back", format="parquet")
    (row,) = pq.read_table(tmp_path / "back" / "b.jsonl-000000.parquet").to_pylist()
    assert (row["text"], json.loads(row["record"])) == ("Rome", {"id": 7, "ents": "mine"})
    assert [(e["start"], e["label"]) for e in row["ents"]] == [(0, "LOC")]


@pytest.mark.parametrize("name", ["text", "n"])
@pytest.mark.parametrize("format_name", ["jsonl", "parquet", "spacy"])
def test_columns_of_one_name_are_refused(annotate, tmp_path, name, format_name):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    columns = [pa.array([value]) for value in ("Rome", "a", "b")]
    table = pa.table(columns, names=["text", "n", name])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=rf"a\.parquet has 2 columns named '{name}'"):
        annotate(tmp_path / "a.parquet", format=format_name)


def test_the_text_column_of_parquet_is_checked_first(annotate, tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"body": ["Rome"], "n": [1]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"no column 'text', but body, n. .* --text-field"):
        annotate(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"expected strings in the column 'n', but it is of int64"):
        annotate(tmp_path / "a.parquet", text_field="n")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(ValueError, match=r"a.parquet: expected Parquet, but"):
        annotate(tmp_path / "a.parquet")


def test_shards_of_parquet_whose_rows_are_all_bad_have_the_columns_of_the_others(
    annotate, tmp_path
):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"text": ["Rome", None], "n": [1, 2]}), tmp_path / "a.parquet")
    annotate(tmp_path / "a.parquet", format="parquet", shard_size=1)
    names = ["a.parquet-000000.parquet", "a.parquet-000001.parquet"]
    first, second = (pq.read_table(tmp_path / "out" / name) for name in names)
    assert (first.schema, len(second)) == (second.schema, 0)


def test_docs_that_are_none(annotate, tmp_path):
    (tmp_path / "a.spacy").write_bytes(b"not packed")
    with pytest.raises(ValueError, match=r"a.spacy' is damaged, or no .spacy file"):
        annotate(tmp_path / "a.spacy")


@pytest.mark.parametrize("format_", ["jsonl", "parquet", "spacy"])
def test_what_other_formats_cannot_hold_is_kept_as_json(annotate, tmp_path, format_):
    record = {"text": "Rome", "ents": [], "n": 2**70, "half": "\ud83d", "list": [1]}
    kept = {"n": 2**70, "half": "\ud83d", "list": [1]}
    source = write_jsonl(tmp_path / "a.jsonl", [record])
    if format_ == "parquet":
        pytest.importorskip("pyarrow")
    annotate(source, format=format_, replace=True)
    file = tmp_path / "out" / f"a.jsonl-000000.{format_}"
    if format_ == "jsonl":
        (found,) = read_jsonl(file)
    elif format_ == "spacy":
        found = json.loads(read_docs(file)[0].user_data["record"])
    else:
        pq = pytest.importorskip("pyarrow.parquet")
        found = json.loads(pq.read_table(file)["record"][0].as_py())
    assert kept.items() <= found.items()


def test_rows_of_parquet_from_any_place(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    from spacy_lgu.annotation.parquet import ParquetReader

    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": list("abcdefgh")}), path, row_group_size=3)
    for row, text in enumerate("abcdefgh"):
        reader = ParquetReader(path, "text")
        assert [(record.line, record.text) for record in reader.read([row], 1)] == [(row + 1, text)]
        reader.close()


def test_parquet_in_several_groups_of_rows(annotate, tmp_path, monkeypatch):
    pq = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("spacy_lgu.annotation.parquet._GROUP", 2)
    write_jsonl(tmp_path / "a.jsonl", [{"text": text} for text in "abcde"])
    annotate(tmp_path / "a.jsonl", format="parquet")
    table = pq.read_table(tmp_path / "out" / "a.jsonl-000000.parquet")
    assert table["text"].to_pylist() == list("abcde")


def test_docs_in_several_shards(annotate, tmp_path):
    annotate(write_docs(tmp_path / "a.spacy"), shard_size=2)
    texts = [record["text"] for record in read_all(tmp_path / "out", "*.jsonl")]
    assert texts == [*TEXTS, "Romeway"]
