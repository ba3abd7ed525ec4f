"""Several pipelines over one input: what each finds, under its name."""

import json

import pytest
import spacy
from spacy.language import Language

from spacy_lgu.annotation.running import Workers
from spacy_lgu.decoder.fleet import FleetDecoder

from ..conftest import TEXTS, make_decoder, make_nlp
from .conftest import contents, make_rules, read_all, write_jsonl

RECORDS = [{"id": i, "text": f"{text} {i}"} for i, text in enumerate([*TEXTS, "", "Rome"] * 2)]
# Their pipelines give the same words for the same text: random heads find something anywhere.
REFERENCE = {"component": {"base_weights": "reference"}}


@pytest.fixture(scope="module")
def pipelines(decoder_folder, tmp_path_factory):
    """Two on one base, one on another, and one without a decoder. Not to be changed."""
    root = tmp_path_factory.mktemp("together")
    other = make_decoder(root / "decoder", seed=3)
    make_nlp(decoder_folder, **REFERENCE).to_disk(root / "people")
    make_nlp(decoder_folder, unmasking="bbbb", n_layers=4, **REFERENCE).to_disk(root / "open")
    make_nlp(other, **REFERENCE).to_disk(root / "other")
    make_rules().to_disk(root / "rules")
    return {name: root / name for name in ("people", "open", "other", "rules")}


@pytest.fixture(scope="module")
def expected(pipelines):
    """The records by each pipeline alone."""
    found = {}
    for name, path in pipelines.items():
        docs = map(spacy.load(path), (record["text"] for record in RECORDS))
        found[name] = [
            [(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents] for doc in docs
        ]
    return found


@pytest.fixture
def corpus(tmp_path):
    return write_jsonl(tmp_path / "a.jsonl", RECORDS)


def spans(entries):
    return [(entry["start"], entry["end"], entry["label"]) for entry in entries]


@pytest.mark.parametrize("batch_tokens", [1, 40, 8192])
def test_each_record_has_what_each_pipeline_finds(
    annotate, corpus, pipelines, expected, tmp_path, batch_tokens
):
    also = {name: pipelines[name] for name in ("open", "other", "rules")}
    annotate(corpus, nlp=pipelines["people"], also=also, batch_tokens=batch_tokens, shard_size=4)
    found = read_all(tmp_path / "out")
    assert [record["id"] for record in found] == [record["id"] for record in RECORDS]
    assert [spans(record["ents"]) for record in found] == expected["people"]
    for name in also:
        assert [spans(record[name]["ents"]) for record in found] == expected[name]
    assert found[-1]["rules"]["spans"]["sc"][0]["score"] == 0.5
    assert list(found[0]) == ["id", "text", "ents", "spans", "open", "other", "rules"]


def test_those_on_one_base_run_in_one_pass(annotate, corpus, pipelines, monkeypatch):
    calls = []
    predict = FleetDecoder.predict

    def count(self, ids, lengths, members, max_items):
        calls.append(len(set(members)))
        return predict(self, ids, lengths, members, max_items)

    monkeypatch.setattr(FleetDecoder, "predict", count)
    annotate(corpus, nlp=pipelines["people"], also={"open": pipelines["open"]})
    assert calls == [2]


def test_one_pipeline_writes_what_it_did(annotate, corpus, pipelines, tmp_path):
    annotate(corpus, nlp=pipelines["rules"], output=tmp_path / "alone")
    annotate(
        corpus, nlp=pipelines["rules"], also={"x": pipelines["rules"]}, output=tmp_path / "both"
    )
    alone, both = (read_all(tmp_path / name) for name in ("alone", "both"))
    assert [{k: v for k, v in record.items() if k != "x"} for record in both] == alone
    assert [record["x"]["ents"] for record in both] == [record["ents"] for record in alone]
    manifest = json.loads((tmp_path / "alone" / "manifest.json").read_text())
    assert [*manifest] == ["version", "pipeline", "options", "inputs"]
    assert "also" not in manifest["options"]


@pytest.mark.parametrize("place", ["first", "further"])
def test_a_record_that_one_of_them_fails_on_is_told_with_its_name(
    annotate, pipelines, tmp_path, place
):
    """Equal texts fail each for itself."""
    texts = ["Ann", "poison", "Rome", "poison"]
    source = write_jsonl(tmp_path / "b.jsonl", [{"text": text} for text in texts])
    rules, people = pipelines["rules"], pipelines["people"]
    nlp, also = (rules, people) if place == "first" else (people, rules)
    summary, _ = annotate(source, nlp=nlp, also={"more": also})
    assert [r["text"] for r in read_all(tmp_path / "out")] == ["Ann", "Rome"]
    name = str(rules) if place == "first" else "more"
    failed = (tmp_path / "out" / "failed.log").read_text().splitlines()
    assert [(json.loads(line)["line"], json.loads(line)["reason"]) for line in failed] == [
        (line, f"{name}: RuntimeError: cannot read this") for line in (2, 4)
    ]
    assert summary.n_failed == 2


def test_what_all_records_would_fail_on_is_raised(
    annotate, corpus, pipelines, tmp_path, lost_device
):
    def fail(doc):
        raise RuntimeError("CUDA error: an illegal memory access")

    Language.component("test_together_fatal", func=fail)
    nlp = make_rules()
    nlp.add_pipe("test_together_fatal")
    nlp.to_disk(tmp_path / "fatal")
    with pytest.raises(RuntimeError, match="CUDA error"):
        annotate(corpus, nlp=pipelines["rules"], also={"x": tmp_path / "fatal"})


def test_docs_keep_their_tokens(annotate, pipelines, tmp_path):
    nlp = spacy.blank("en")
    doc = spacy.tokens.Doc(nlp.vocab, words=["Ann", "saw", "Ro", "me"])
    spacy.tokens.DocBin(docs=[doc]).to_disk(tmp_path / "a.spacy")
    annotate(tmp_path / "a.spacy", nlp=pipelines["rules"], also={"x": pipelines["rules"]})
    (record,) = read_all(tmp_path / "out", "*.spacy-*.jsonl")
    assert spans(record["x"]["ents"]) == spans(record["ents"]) == [(0, 3, "PER")]


def test_parquet(annotate, corpus, pipelines, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    annotate(corpus, nlp=pipelines["rules"], also={"x": pipelines["rules"]}, format="parquet")
    (file,) = (tmp_path / "out").glob("*.parquet")
    for row in parquet.read_table(file).to_pylist():
        assert row["x"]["ents"] == row["ents"]
        assert row["x"]["spans"] == row["spans"]


def test_workers_have_all_pipelines(annotate, corpus, pipelines, tmp_path):
    also = {"x": pipelines["rules"]}
    options = {"nlp": pipelines["rules"], "also": also, "shard_size": 4}
    code = tmp_path / "code.py"
    code.write_text("import tests.annotation.conftest")
    annotate(corpus, output=tmp_path / "one", **options)
    annotate(corpus, output=tmp_path / "two", workers=Workers(1), code=code, **options)
    one, two = (contents(tmp_path / name) for name in ("one", "two"))
    del one["manifest.json"], two["manifest.json"]  # the code is another
    assert one == two


def test_a_run_goes_on_with_the_same_pipelines_alone(annotate, corpus, pipelines, tmp_path):
    rules, people = pipelines["rules"], pipelines["people"]
    annotate(corpus, nlp=rules, also={"x": rules})
    annotate(corpus, nlp=rules, also={"x": rules})
    for also, message in [
        ({}, r"begun with something else: --also x is missing\. Go on"),
        ({"y": rules}, r"--also x is missing; --also y is new"),
        ({"x": people}, r"the pipeline of --also x was en pipeline .*, but is en pipeline"),
    ]:
        with pytest.raises(ValueError, match=message):
            annotate(corpus, nlp=rules, also=also)


def test_names_that_clash(annotate, corpus, pipelines, tmp_path):
    rules = pipelines["rules"]
    with pytest.raises(ValueError, match=r"a field 'id' already, .* another name in --also"):
        annotate(corpus, nlp=rules, also={"id": rules})
    annotate(corpus, nlp=rules, also={"id": rules}, replace=True)
    assert "ents" in read_all(tmp_path / "out")[0]["id"]
    with pytest.raises(ValueError, match="and further pipelines, but got text, ents, spans, ents"):
        annotate(corpus, nlp=rules, also={"ents": rules})
    with pytest.raises(ValueError, match="another name than that of the first pipeline"):
        annotate(corpus, nlp=rules, also={str(rules): rules})
    with pytest.raises(ValueError, match=r"A Doc holds the annotations of one pipeline, not .* x"):
        annotate(corpus, nlp=rules, also={"x": rules}, format="spacy")
