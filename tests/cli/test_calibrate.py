"""A calibrated pipeline is whole, or the earlier one still is."""

import json
import shutil

import numpy
import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from thinc.api import fix_random_seed
from typer.testing import CliRunner

from spacy_lgu.cli import app
from tests.conftest import ENTITY_TEXTS, layer_config, shake_adapter
from tests.killing import kill_everywhere


@pytest.fixture(scope="module")
def place(tmp_path_factory, decoder_folder):
    """A pipeline with a sequence labeler, and dev.spacy. Not to be changed."""
    place = tmp_path_factory.mktemp("calibrate")
    fix_random_seed(0)
    nlp = spacy.blank("en")
    config = {"model": layer_config(decoder_folder), "base_weights": "bundle"}
    nlp.add_pipe("lgu_transformer", name="transformer", config=config)
    nlp.add_pipe("sequence_labeler")
    examples = [Example.from_dict(nlp.make_doc(text), a) for text, a in ENTITY_TEXTS]
    nlp.initialize(lambda: examples)
    shake_adapter(nlp.get_pipe("transformer").model)
    output = nlp.get_pipe("sequence_labeler").model.get_ref("output_layer")
    weights = numpy.random.default_rng(0).normal(scale=0.2, size=output.get_param("W").shape)
    output.set_param("W", weights.astype("float32"))
    nlp.to_disk(place / "pipeline")
    DocBin(docs=[example.reference for example in examples]).to_disk(place / "dev.spacy")
    return place


@pytest.fixture
def pipeline(place, tmp_path):
    """A copy of the pipeline, for changes."""
    shutil.copytree(place / "pipeline", tmp_path / "pipeline")
    return tmp_path / "pipeline"


def calibrate(*args) -> str:
    result = CliRunner().invoke(app, ["calibrate", *map(str, args)])
    if result.exit_code:
        raise ValueError(" ".join(result.output.split())) from result.exception
    return result.output


def temperature(pipeline) -> float:
    return json.loads((pipeline / "sequence_labeler" / "cfg").read_text())["temperature"]


def files(folder):
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())


def test_the_pipeline_itself_can_be_the_output(place, pipeline):
    (pipeline / "README.md").write_text("mine")
    (pipeline / "notes").mkdir()
    (pipeline / "notes" / "a.txt").write_text("mine")
    before = files(pipeline)
    with pytest.raises(ValueError, match=r"exists already. Use --force to replace it"):
        calibrate(pipeline, place / "dev.spacy", pipeline)
    calibrate(pipeline, place / "dev.spacy", pipeline, "--force")
    assert temperature(pipeline) != 1.0
    assert files(pipeline) == before
    assert (pipeline / "README.md").read_text() == "mine"
    spacy.load(pipeline)
    assert [path.name for path in pipeline.parent.iterdir()] == ["pipeline"]


def test_the_tokens_are_those_of_the_file(place, pipeline, tmp_path):
    """spaCy's tokenizer would make three tokens of "Ann don't"."""
    doc = Doc(spacy.blank("en").vocab, words=["Ann", "don't"])
    doc.ents = [Span(doc, 0, 1, label="PER")]
    DocBin(docs=[doc]).to_disk(tmp_path / "two.spacy")
    printed = calibrate(pipeline, tmp_path / "two.spacy", tmp_path / "out")
    assert ", on 2 tokens and " in printed


def test_a_folder_that_is_no_pipeline_is_not_replaced(place, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not a saved pipeline, but holds other files"):
        calibrate(place / "pipeline", place / "dev.spacy", tmp_path / "out", "--force")
    (tmp_path / "out" / "notes.txt").unlink()
    calibrate(place / "pipeline", place / "dev.spacy", tmp_path / "out", "--force")
    assert temperature(tmp_path / "out") != 1.0


def test_a_pipeline_that_was_killed_between_two_renames(place, pipeline, tmp_path):
    (pipeline / "transformer").rename(pipeline / ".transformer.previous")
    pipeline.rename(tmp_path / ".pipeline.previous")
    calibrate(pipeline, place / "dev.spacy", pipeline)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipeline"]
    assert files(pipeline) == files(place / "pipeline")
    spacy.load(pipeline)


def test_calibration_that_is_killed_anywhere(place, tmp_path):
    def prepare():
        shutil.rmtree(tmp_path / "x", ignore_errors=True)
        shutil.copytree(place / "pipeline", tmp_path / "x" / "pipeline")

    def run():
        output = tmp_path / "x" / "pipeline"
        calibrate(output, place / "dev.spacy", output, "--force")

    expected = files(place / "pipeline")
    found = []
    for _ in kill_everywhere(run, below=tmp_path / "x", prepare=prepare, every=12):
        found.append(temperature(tmp_path / "x" / "pipeline") != 1.0)
        assert files(tmp_path / "x" / "pipeline") == expected
    assert found == sorted(found)
    assert set(found) == {False, True}
    run()
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["pipeline"]
