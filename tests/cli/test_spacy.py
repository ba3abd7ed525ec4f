"""spaCy's own commands on the project's configs, run in this process with a tiny decoder."""

import json
import re
from pathlib import Path

import pytest
import spacy
import spacy.cli
from spacy.tokens import DocBin
from spacy.training import Corpus
from spacy.util import load_config

from spacy_lgu.unmasking import list_patterns

from .conftest import NER_CONFIG, ROOT, SENTENCES, entities, run

SPANCAT_CONFIG = ROOT / "configs" / "lgu_mistral_spancat.cfg"


@pytest.fixture(scope="module")
def spancat_pipeline(tmp_path_factory, overrides) -> Path:
    """A span categorizer, trained in full."""
    output = tmp_path_factory.mktemp("spancat")
    run(
        "train", SPANCAT_CONFIG, "--output", output, *overrides,
        "--components.transformer.model.quantization", "none",
        "--components.transformer.model.tuning", "full",
    )  # fmt: skip
    return output / "model-last"


def test_train_saves_what_was_configured(ner_pipeline):
    saved = json.loads((ner_pipeline / "transformer" / "lgu.json").read_text())
    assert (saved["unmasking"], saved["quantization"], saved["tuning"]) == ("ccbb", "nf4", "lora")
    assert saved["base_weights"] == "bundle"
    assert spacy.load(ner_pipeline).pipe_names == ["transformer", "ner", "doc_cleaner"]


def test_fill_config(tmp_path):
    partial, filled = tmp_path / "partial.cfg", tmp_path / "filled.cfg"
    partial.write_text(
        '[nlp]\nlang = "en"\npipeline = ["transformer"]\n\n[components]\n\n'
        '[components.transformer]\nfactory = "lgu_transformer"\n\n'
        '[components.transformer.model]\n@architectures = "spacy-lgu.LGUTransformer.v1"\n'
        'unmasking = "cccb"\n'
    )
    run("init", "fill-config", partial, filled)
    component = load_config(filled)["components"]["transformer"]
    assert component["base_weights"] == "auto"
    assert component["max_batch_items"] == "auto"
    assert component["model"] == {
        "@architectures": "spacy-lgu.LGUTransformer.v1",
        "name": "mistralai/Mistral-7B-v0.3",
        "revision": None,
        "unmasking": "cccb",
        "n_layers": None,
        "repeat": 0,
        "read_previous": False,
        "products": "exact",
        "quantization": "nf4",
        "dtype": "auto",
        "tuning": "lora",
        "gradient_checkpointing": False,
        "window": None,
        "stride": None,
        "tokenizer_config": {},
        "optimizer": None,
        "self_test": True,
        "lora": {
            "@misc": "spacy-lgu.lora.v1",
            "variant": "lora",
            "rank": 64,
            "alpha": 16,
            "dropout": 0.1,
            "modules": "attention",
            "parameters": [],
            "path": None,
        },
        "get_spans": {"@span_getters": "spacy-lgu.doc_spans.v1"},
    }


@pytest.mark.parametrize("config", [NER_CONFIG, SPANCAT_CONFIG], ids=["ner", "spancat"])
def test_shipped_configs_are_complete(config, tmp_path):
    run("init", "fill-config", config, tmp_path / "filled.cfg")
    # `debug config` and `debug data` fill in nothing, so nothing may be left to fill in.
    assert load_config(config) == load_config(tmp_path / "filled.cfg")


def test_debug_config(overrides):
    assert "Config is valid" in run("debug", "config", NER_CONFIG, *overrides)


def test_debug_data(overrides, tmp_path):
    paths = []
    for part in ("train", "dev"):
        source = ROOT / "assets" / "corpus" / "ner" / f"{part}.txt"
        run("lgu", "convert", source, tmp_path / f"{part}.spacy", "--format", "inline")
        paths += [f"--paths.{part}", tmp_path / f"{part}.spacy"]
    printed = run("debug", "data", NER_CONFIG, *overrides, *paths, "--no-format")
    assert "16 label(s)" in printed


@pytest.mark.parametrize("name", ["transformer", "ner"])
def test_debug_model(overrides, name):
    printed = run("debug", "model", NER_CONFIG, name, *overrides, "-l", "0", "-P0", "-P3")
    assert re.search("prediction", printed, re.IGNORECASE)


def test_evaluate(ner_pipeline, corpus, tmp_path):
    run("evaluate", ner_pipeline, corpus, "--output", tmp_path / "scores.json")
    scores = json.loads((tmp_path / "scores.json").read_text())
    nlp = spacy.load(ner_pipeline)
    expected = nlp.evaluate(list(Corpus(corpus)(nlp)))["ents_f"]
    assert scores["ents_f"] == pytest.approx(expected)
    assert scores["ents_f"] > 0
    assert scores["speed"] > 0


def test_apply_gives_the_same_as_the_pipeline(ner_pipeline, tmp_path):
    texts = tmp_path / "texts"
    texts.mkdir()
    for i, (text, _) in enumerate(SENTENCES):
        (texts / f"{i}.txt").write_text(text)
    run("apply", ner_pipeline, texts, tmp_path / "out.spacy", "--force")
    nlp = spacy.load(ner_pipeline)
    applied = list(DocBin().from_disk(tmp_path / "out.spacy").get_docs(nlp.vocab))
    assert {doc.text: entities(doc) for doc in applied} == {
        text: entities(nlp(text)) for text, _ in SENTENCES
    }


def test_assemble(ner_pipeline, tmp_path):
    config = load_config(NER_CONFIG)
    config["components"] = {
        name: {"source": str(ner_pipeline)} for name in ("transformer", "ner", "doc_cleaner")
    }
    config.to_disk(tmp_path / "config.cfg")
    run("assemble", tmp_path / "config.cfg", tmp_path / "assembled")
    before, after = spacy.load(ner_pipeline), spacy.load(tmp_path / "assembled")
    for text, _ in SENTENCES:
        assert entities(before(text)) == entities(after(text))


def test_find_threshold(spancat_pipeline, corpus):
    printed = run(
        "find-threshold", spancat_pipeline, corpus, "spancat", "threshold", "spans_sc_f",
        "--n_trials", "3",
    )  # fmt: skip
    assert re.search(r"Best threshold", printed)


def test_benchmark_speed(ner_pipeline, corpus):
    printed = run(
        "benchmark", "speed", ner_pipeline, corpus, "--batches", "30", "--warmup", "1", "-b", "4"
    )
    assert "words/s" in printed.lower()


def test_benchmark_accuracy(ner_pipeline, corpus):
    assert "NER F" in run("benchmark", "accuracy", ner_pipeline, corpus)


@pytest.mark.parametrize("pattern", list_patterns(4))
def test_patterns_arrive_intact_through_overrides(pattern):
    overrides = spacy.cli._util.parse_config_overrides(
        ["--components.transformer.model.unmasking", pattern]
    )
    config = load_config(NER_CONFIG, overrides=overrides)
    assert config["components"]["transformer"]["model"]["unmasking"] == pattern


def test_digits_as_override_get_a_clear_error(tmp_path, overrides):
    with pytest.raises(AssertionError) as error:
        run(
            "train", NER_CONFIG, "--output", tmp_path, *overrides,
            "--components.transformer.model.unmasking", "0011",
        )  # fmt: skip
    assert "arrived as the integer 11" in str(error.value.__cause__)


@pytest.mark.parametrize("pattern", list_patterns(4))
def test_patterns_arrive_intact_through_the_project(pattern, monkeypatch):
    monkeypatch.chdir(ROOT)
    printed = run("project", "run", "train", ".", "--dry", "--force", "--vars.unmasking", pattern)
    assert printed.count(f"--components.transformer.model.unmasking {pattern} ") == 2


def test_project_trains_a_decoder_from_the_hub_by_vars_alone(monkeypatch):
    monkeypatch.chdir(ROOT)
    name, commit = "mistralai/Mistral-7B-v0.3", "caa1feb0e54d415e2df31207e5f4e273e33509b1"
    printed = run(
        "project", "run", "train", ".", "--dry", "--force",
        "--vars.decoder", name, "--vars.revision", commit, "--vars.gpu_id", "0",
    )  # fmt: skip
    assert printed.count(f"--paths.decoder {name} --paths.revision {commit} ") == 2
    assert printed.count("--gpu-id 0 ") == 2


def test_project_passes_the_vars_of_the_benchmark_on(monkeypatch):
    monkeypatch.chdir(ROOT)
    printed = run(
        "project", "run", "benchmark", ".", "--dry", "--force",
        "--vars.task", "own,wnut17", "--vars.data", "my/data", "--vars.systems", "qlora,twin",
        "--vars.decoders", "decoder=org/name,twin=my/twin", "--vars.seeds", "3",
        "--vars.gpu_id", "0",
    )  # fmt: skip
    commands = [" ".join(line.split()) for line in printed.splitlines() if "benchmarks/" in line]
    study, results = "benchmarks/study.yml", "--results metrics/benchmark.jsonl"
    for command, expected in zip(
        commands,
        [
            f"python benchmarks/fetch_corpora.py my/data --study {study} --task own,wnut17",
            f"python -m spacy lgu study convert {study} --task own,wnut17 --data my/data",
            f"python -m spacy lgu study run {study} --task own,wnut17 --system qlora,twin "
            "--pattern all --seeds 3 --limit 0 --decoders=decoder=org/name,twin=my/twin "
            f"{results} --gpu-id 0",
            f"python -m spacy lgu study report {study} --limit 0 {results} "
            "--output docs/results.md",
        ],
        strict=True,
    ):
        assert command.endswith(expected.removeprefix("python "))
