"""`python -m spacy lgu annotate`."""

import json

import pytest
import spacy
import spacy.cli
from typer.testing import CliRunner

from spacy_lgu.annotation import running

from .conftest import add_own_component, failure, run


@pytest.fixture
def pipeline(tmp_path):
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "LOC", "pattern": "Rome"}])
    nlp.to_disk(tmp_path / "nlp")
    return tmp_path / "nlp"


@pytest.fixture
def corpus(tmp_path):
    lines = ['{"body": "I saw Rome"}', "not json", '{"body": "nothing"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf8")
    return tmp_path / "a.jsonl"


def annotate(*arguments):
    return run("lgu", "annotate", *arguments)


def test_a_file(pipeline, corpus, tmp_path):
    out = tmp_path / "out"
    printed = annotate(
        pipeline, corpus, out, "--text-field", "body", "--ents-field", "found",
        "--shard-size", 2, "--format", "jsonl",
    )  # fmt: skip
    assert f"3 records in 2 files below {out}: 3 now, in" in printed
    assert f"1 records failed, see {out / 'failed.log'}" in " ".join(printed.split())
    first = json.loads((out / "a.jsonl-000000.jsonl").read_text())
    entity = {"start": 6, "end": 10, "label": "LOC"}
    assert first == {"body": "I saw Rome", "found": [entity], "spans": {}}
    assert "0 now" in annotate(
        pipeline, corpus, out, "--text-field", "body", "--ents-field", "found", "--shard-size", 2
    )


def test_fail_on_error(pipeline, corpus, tmp_path):
    arguments = ["lgu", "annotate", pipeline, corpus, tmp_path / "out", "--text-field", "body"]
    run(*arguments)
    result = CliRunner().invoke(spacy.cli.app, [*map(str, arguments), "--fail-on-error"])
    assert result.exit_code == 1
    assert "1 records failed" in result.output


def test_errors_are_told(pipeline, corpus, tmp_path):
    out = tmp_path / "out"
    assert "✘ There is no pipeline 'none'" in failure("lgu", "annotate", "none", corpus, out)
    told = failure("lgu", "annotate", pipeline, corpus, out)
    assert "✘ " in told
    assert "Name the field of the texts with --text-field." in told
    told = failure("lgu", "annotate", pipeline, corpus, out, "--ray", "auto", "--gpu-id", 0)
    assert "With --ray, give --gpus-per-worker 1." in told


def test_a_pipeline_with_components_of_its_own(pipeline, corpus, tmp_path):
    code = add_own_component(pipeline, tmp_path / "own", "test_annotate_code")
    arguments = [tmp_path / "own", corpus, tmp_path / "out", "--text-field", "body"]
    assert "Can't find factory for 'test_annotate_code'" in failure("lgu", "annotate", *arguments)
    annotate(*arguments, "--code", code)
    assert (tmp_path / "out" / "a.jsonl-000000.jsonl").exists()


def test_ctrl_c(pipeline, corpus, tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "annotate_corpus", interrupt)
    arguments = ["lgu", "annotate", pipeline, corpus, tmp_path / "out"]
    result = CliRunner().invoke(spacy.cli.app, [str(a) for a in arguments])
    assert result.exit_code == 130
    assert "The same command goes on" in result.output


def test_further_pipelines(pipeline, corpus, tmp_path):
    out = tmp_path / "out"
    annotate(pipeline, corpus, out, "--text-field", "body", "--also", f"twin={pipeline}")
    record = json.loads((out / "a.jsonl-000000.jsonl").read_text().splitlines()[0])
    assert record["twin"] == {"ents": record["ents"], "spans": {}}
    assert len(record["ents"]) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["twin"], "Expected --also NAME=PIPELINE, but got 'twin'."),
        (["=x"], "Expected --also NAME=PIPELINE, but got '=x'."),
        (["a=x", "a=y"], "--also names 'a' twice: expected a name for each pipeline."),
        (["a=nowhere"], "There is no pipeline 'nowhere'"),
    ],
)
def test_what_also_does_not_take(pipeline, corpus, tmp_path, values, message):
    options = [part for value in values for part in ("--also", value)]
    told = failure("lgu", "annotate", pipeline, corpus, tmp_path / "out", *options)
    assert message in told


def test_a_full_disk(pipeline, corpus, tmp_path, monkeypatch):
    def fail(self, *args):
        raise OSError(28, "No space left on device")

    out = tmp_path / "out"
    monkeypatch.setattr("spacy_lgu.annotation.writers.JsonlWriter.write", fail)
    told = failure("lgu", "annotate", pipeline, corpus, out, "--text-field", "body")
    assert f"There is no space left for {str(out)!r}. Free some, and give the same command" in told
    monkeypatch.undo()
    assert "3 records" in annotate(pipeline, corpus, out, "--text-field", "body")
