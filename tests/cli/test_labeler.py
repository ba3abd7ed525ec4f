"""The shipped config of the sequence labeler, and `python -m spacy lgu calibrate`."""

import json
from pathlib import Path

import numpy
import pytest
import spacy
from spacy.training import Corpus
from spacy.util import load_config

from spacy_lgu.pipeline.calibrating import calibrate_pipeline

from .conftest import ROOT, SENTENCES, add_own_component, entities, failure, run

CONFIG = ROOT / "configs" / "lgu_sequence_labeler.cfg"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory, overrides) -> Path:
    """A sequence labeler, trained by the shipped config: NF4 and LoRA."""
    output = tmp_path_factory.mktemp("labeler")
    run("train", CONFIG, "--output", output, *overrides)
    return output / "model-last"


def test_the_shipped_config_is_complete(tmp_path):
    run("init", "fill-config", CONFIG, tmp_path / "filled.cfg")
    assert load_config(CONFIG) == load_config(tmp_path / "filled.cfg")


def test_debug_config_and_data(overrides, tmp_path):
    assert "Config is valid" in run("debug", "config", CONFIG, *overrides)
    for part in ("train", "dev"):
        source = ROOT / "assets" / "corpus" / "ner" / f"{part}.txt"
        run("lgu", "convert", source, tmp_path / f"{part}.spacy", "--format", "inline")
    paths = ["--paths.train", tmp_path / "train.spacy", "--paths.dev", tmp_path / "dev.spacy"]
    printed = run("debug", "data", CONFIG, *overrides, *paths, "--no-format")
    assert "Pipeline can be initialized with data" in printed


def test_labels_saved_and_read(overrides, tmp_path):
    run("init", "labels", CONFIG, tmp_path, *overrides)
    file = tmp_path / "sequence_labeler.json"
    assert json.loads(file.read_text()) == ["GPE", "PERSON"]
    file.write_text(json.dumps(["PERSON", "ORG", "GPE"]))
    config = load_config(CONFIG)
    labels = {"@readers": "spacy.read_labels.v1", "path": str(file), "require": True}
    config["initialize"]["components"] = {"sequence_labeler": {"labels": labels}}
    config.to_disk(tmp_path / "labels.cfg")
    run("train", tmp_path / "labels.cfg", "--output", tmp_path, *overrides)
    nlp = spacy.load(tmp_path / "model-last")
    assert nlp.get_pipe("sequence_labeler").labels == ("PERSON", "ORG", "GPE")


def test_evaluate(pipeline, corpus, tmp_path):
    run("evaluate", pipeline, corpus, "--output", tmp_path / "scores.json")
    nlp = spacy.load(pipeline)
    expected = nlp.evaluate(list(Corpus(corpus)(nlp)))["ents_f"]
    found = json.loads((tmp_path / "scores.json").read_text())["ents_f"]
    assert found == pytest.approx(expected)
    assert found > 0.5


def test_calibrate(pipeline, corpus, tmp_path):
    output = tmp_path / "new" / "calibrated"
    printed = run("lgu", "calibrate", pipeline, corpus, output)
    before, after = spacy.load(pipeline), spacy.load(output)
    temperature = after.get_pipe("sequence_labeler").temperature
    assert before.get_pipe("sequence_labeler").temperature == 1.0
    assert temperature != 1.0
    assert f"sequence_labeler: temperature {temperature:.3f}, on" in " ".join(printed.split())
    assert "Calibration error" in printed
    for text, _ in SENTENCES:
        docs = before(text), after(text)
        assert entities(docs[0]) == entities(docs[1])
        scores = [doc.spans["sequence_labeler"].attrs["scores"] for doc in docs]
        assert not len(scores[0]) or not numpy.allclose(*scores, atol=1e-6)
    message = failure("lgu", "calibrate", pipeline, corpus, output)
    assert "exists already. Use --force to replace it." in message
    run("lgu", "calibrate", pipeline, corpus, output, "--force")


def test_components_before_see_the_docs_first(pipeline, corpus):
    """Function components too, which have no pipe method and may return another Doc."""
    nlp = spacy.load(pipeline)
    expected = calibrate_pipeline(nlp, lambda: Corpus(corpus)(nlp))

    def copy_doc(doc):
        return doc.copy()

    spacy.Language.component("test_copy_doc", func=copy_doc)
    nlp.add_pipe("test_copy_doc", first=True)
    nlp.get_pipe("sequence_labeler").cfg["temperature"] = 1.0
    assert calibrate_pipeline(nlp, lambda: Corpus(corpus)(nlp)) == expected
    assert list(expected) == ["sequence_labeler"]


def test_calibrate_says_what_it_needs(corpus, tmp_path):
    message = failure("lgu", "calibrate", tmp_path, tmp_path / "dev.spacy", tmp_path / "out")
    assert "There is no data at" in message
    assert "Give a .spacy file, or a folder of them." in message
    (tmp_path / "dev.jsonl").touch()
    for other in (tmp_path / "dev.jsonl", tmp_path):
        message = failure("lgu", "calibrate", tmp_path, other, tmp_path / "out")
        assert "There is no data at" in message
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    nlp.to_disk(tmp_path / "other")
    message = failure("lgu", "calibrate", tmp_path / "other", corpus, tmp_path / "out")
    assert "There is no sequence labeler in" in message
    assert "only sentencizer. Train one with the factory" in message
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").touch()
    message = failure("lgu", "calibrate", tmp_path / "other", corpus, tmp_path / "out", "--force")
    assert "is a file. Name a folder for the pipeline." in message


def test_calibrate_a_pipeline_with_components_of_its_own(pipeline, corpus, tmp_path):
    code = add_own_component(pipeline, tmp_path / "nlp", "test_calibrate_code")
    arguments = ["lgu", "calibrate", tmp_path / "nlp", corpus, tmp_path / "out"]
    assert "Can't find factory for 'test_calibrate_code'" in failure(*arguments)
    run(*arguments, "--code", code)
    assert spacy.load(tmp_path / "out").pipe_names[-1] == "own"
