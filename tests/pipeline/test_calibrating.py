"""Temperatures of sequence labelers."""

import logging

import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example

from spacy_lgu.pipeline.calibrating import calibrate_labeler

from ..conftest import entity_examples
from .labelers import TEXTS, blank, entities, initialize, train


def test_calibration_finds_the_temperature_of_sharpened_logits():
    nlp = blank()
    examples = entity_examples(nlp)
    labeler = train(nlp, examples, steps=12)
    wrong = Example.from_dict(nlp.make_doc("Ann Lee ate"), {"entities": [(0, 7, "LOC")]})
    dev = [*examples, wrong]
    expected = [entities(nlp(example.text).ents) for example in dev]
    first = calibrate_labeler(labeler, dev)
    assert labeler.temperature == first.temperature
    assert first.after.nll <= first.before.nll
    assert (first.n_tokens, first.after.n_spans) == (25, 6)
    output = labeler.model.get_ref("output_layer")
    for name in ("W", "b"):
        output.set_param(name, 3 * output.get_param(name))
    second = calibrate_labeler(labeler, (example for example in dev))
    assert second.temperature == pytest.approx(3 * first.temperature, rel=0.01)
    assert second.after.nll == pytest.approx(first.after.nll, rel=1e-3)
    assert second.after.ece == pytest.approx(first.after.ece, abs=0.01)
    assert [entities(nlp(example.text).ents) for example in dev] == expected
    # Training anew begins without.
    initialize(nlp, examples)
    assert labeler.temperature == 1.0


def test_spans_on_missing_annotation_are_not_counted(trained, caplog):
    restored = spacy.util.load_model_from_config(trained.config).from_bytes(trained.to_bytes())
    labeler = restored.get_pipe("sequence_labeler")
    words = TEXTS[0].split()
    tags = ["B-PER", "L-PER", "O", "O", "O", "-", "-"]
    example = Example.from_dict(Doc(restored.vocab, words=words), {"entities": tags})
    with caplog.at_level(logging.WARNING, logger="spacy_lgu"):
        result = calibrate_labeler(labeler, [example])
    assert (result.n_tokens, result.after.n_spans) == (5, 1)
    assert "The temperature of 'sequence_labeler'" in caplog.text
    assert "none of the 5 annotated tokens is in doubt. Calibrate on more data" in caplog.text
    outside = Example.from_dict(Doc(restored.vocab, words=["It"]), {"entities": ["O"]})
    assert calibrate_labeler(labeler, [outside]).after.ece is None


def test_calibration_needs_annotation(trained):
    labeler = trained.get_pipe("sequence_labeler")
    unannotated = [Example(trained.make_doc(text), trained.make_doc(text)) for text in TEXTS]
    for examples in ([], unannotated):
        with pytest.raises(
            ValueError,
            match=rf"no token of the {len(examples)} texts .* in doc.ents. Give annotated",
        ):
            calibrate_labeler(labeler, examples)
