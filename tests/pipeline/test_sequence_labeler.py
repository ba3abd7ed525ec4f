"""The component sequence_labeler: training, spans and probabilities, options, saving."""

import errno
import logging
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest
import spacy
from numpy.testing import assert_allclose
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy.util import registry
from thinc.api import Adam, Model, fix_random_seed

from spacy_lgu.labeling.probabilities import log_softmax

from ..conftest import CNN, LISTENER, entity_examples, layer_config, train_nlp
from .labelers import (
    TEXTS,
    assert_same_answers,
    blank,
    entities,
    initialize,
    span_examples,
    train,
)

# Predicting.


def test_trained_spans_and_probabilities(trained):
    docs = list(trained.pipe(TEXTS))
    assert [entities(doc.ents) for doc in docs] == [
        [("Ann Lee", "PER"), ("New York", "LOC")],
        [],
        [("Zürich", "LOC")],
        [("Lee", "PER")],
        [],
    ]
    for doc in docs:
        group = doc.spans["sequence_labeler"]
        assert group.name == "sequence_labeler"
        assert entities(group) == entities(doc.ents)
        assert group.attrs["scores"].shape == (len(group),)
        assert ((group.attrs["scores"] > 0.8) & (group.attrs["scores"] <= 1)).all()
    assert trained.evaluate(entity_examples(trained))["ents_f"] == 1.0


def test_the_probability_is_that_among_all_valid_sequences(trained):
    labeler = trained.get_pipe("sequence_labeler")
    doc = trained("Zürich")
    probs = numpy.exp(log_softmax(labeler.model.predict([trained.make_doc("Zürich")])))[0]
    # One token: O or one of the B.
    expected = probs[1] / (probs[0] + probs[1] + probs[3])
    assert labeler.labels == ("LOC", "PER")
    assert_allclose(doc.spans["sequence_labeler"].attrs["scores"], [expected], rtol=1e-5)


def test_batched_is_one_by_one_in_threads_too(trained):
    expected = [trained(text) for text in TEXTS]
    assert_same_answers(trained.pipe(TEXTS), expected)
    with ThreadPoolExecutor(4) as pool:
        assert_same_answers(pool.map(trained, TEXTS * 5), expected * 5)


def test_docs_are_written_by_set_annotations_only(trained):
    doc = trained.make_doc("Ann Lee ate")
    spans, probabilities = trained.get_pipe("sequence_labeler").predict([doc])
    assert "sequence_labeler" not in doc.spans
    assert (spans.starts.tolist(), spans.ends.tolist(), len(probabilities)) == ([0], [2], 1)


def test_invalid_tags_are_decoded_as_chosen():
    found = {}
    for decoding in ("viterbi", "greedy"):
        nlp = blank(decoding=decoding)
        labeler = initialize(nlp, entity_examples(nlp))

        def logits(docs):
            best = [[0, 4, 0, 0, 0], [0, 0, 0, 3, 6]]  # "I-LOC I-PER" if it were allowed
            return numpy.array(best, dtype="float32")[:, [0, 2, 1, 3, 4]]

        labeler._logits = logits
        found[decoding] = entities(nlp("New York").ents)
    assert found == {
        "viterbi": [("New York", "PER")],
        "greedy": [("New", "LOC"), ("York", "PER")],
    }


@pytest.mark.parametrize("decoding", ["viterbi", "greedy"])
def test_no_span_begins_with_white_space(decoding):
    nlp = blank(decoding=decoding)
    labeler = initialize(nlp, entity_examples(nlp))
    for tag, expected in ((1, ["New", "York"]), (2, ["New \n York \n "])):

        def logits(docs, tag=tag):  # every token begins a place, or is inside of one
            return 9 * numpy.eye(5, dtype="float32")[[tag] * sum(map(len, docs))]

        labeler._logits = logits
        doc = nlp("  New \n York \n ")
        assert [token.is_space for token in doc] == [True, False, True, False, True]
        assert [span.text for span in doc.ents] == expected
        scores = doc.spans["sequence_labeler"].attrs["scores"]
        assert (scores > 0.4).all()


def test_probabilities_survive_in_a_doc_bin(trained):
    doc = trained(TEXTS[0])
    data = DocBin(docs=[doc], store_user_data=True).to_bytes()
    (restored,) = DocBin().from_bytes(data).get_docs(trained.vocab)
    assert_same_answers([restored], [doc])


# Training.


def test_loss_and_gradient():
    nlp = blank()
    labeler = nlp.get_pipe("sequence_labeler")
    words = ["Ann", "Lee", "ate"]
    example = Example.from_dict(Doc(nlp.vocab, words=words), {"entities": ["U-PER", "-", "O"]})
    labeler.initialize(lambda: [example], labels=["PER"])
    logits = numpy.log(numpy.array([[0.5, 0.25, 0.25], [1, 1, 1], [0.2, 0.4, 0.4]], dtype="f"))
    before = logits.copy()
    loss, gradient = labeler.get_loss([example], logits)
    assert loss == pytest.approx(-(numpy.log(0.25) + numpy.log(0.2)) / 2)
    assert_allclose(gradient, [[0.25, -0.375, 0.125], [0, 0, 0], [-0.4, 0.2, 0.2]], atol=1e-6)
    assert (logits == before).all()


def test_no_annotation_no_gradient():
    nlp = blank()
    labeler = initialize(nlp, entity_examples(nlp))
    doc = nlp.make_doc("Ann ate")
    example = Example(doc, doc.copy())
    loss, gradient = labeler.get_loss([example], numpy.ones((2, 5), dtype="f"))
    assert loss == 0.0
    assert not gradient.any()
    before = labeler.model.to_bytes()
    losses = nlp.update([example], sgd=Adam(0.1, L2=0))
    assert losses == {"sequence_labeler": 0.0}
    assert labeler.model.to_bytes() == before


def test_logits_that_are_not_numbers():
    nlp = blank()
    labeler = initialize(nlp, entity_examples(nlp))
    logits = numpy.full((7, 5), numpy.nan, dtype="float32")
    with pytest.raises(ValueError, match=r"NaN value when computing loss.*sequence_labeler"):
        labeler.get_loss(entity_examples(nlp)[:1], logits)


def test_predicting_with_weights_that_are_not_numbers():
    nlp = blank()
    labeler = initialize(nlp, entity_examples(nlp))
    labeler.model.get_ref("output_layer").get_param("b")[1] = numpy.nan
    message = r"scores of 2 of 2 tokens are not finite in 'sequence_labeler'.*a lower learning rate"
    with pytest.raises(ValueError, match=message):
        nlp("Ann ate")


def test_learns_from_spans_and_leaves_entities_alone():
    nlp = blank(annotate_ents=False, spans_key="names")
    examples = span_examples(nlp, "names")
    train(nlp, examples)
    doc = nlp("Ann Lee ate naan in New York")
    assert entities(doc.spans["names"]) == [("Ann Lee", "PER"), ("New York", "LOC")]
    assert doc.ents == ()
    assert not doc.has_annotation("ENT_IOB")
    # `spacy evaluate` says which key it means; the component knows better.
    scores = nlp.evaluate(examples, scorer_cfg={"spans_key": "sequence_labeler"})
    assert (scores["spans_names_f"], scores["spans_names_per_type"]["LOC"]["f"]) == (1.0, 1.0)
    assert "ents_f" not in scores


def test_no_scorer():
    nlp = blank(scorer=None)
    labeler = initialize(nlp, entity_examples(nlp))
    assert labeler.score(entity_examples(nlp)) == {}


# Labels.


def test_labels_are_sorted_or_given():
    nlp = blank()
    labeler = initialize(nlp, entity_examples(nlp))
    assert labeler.labels == ("LOC", "PER")
    assert labeler.label_data == ["LOC", "PER"]
    other = blank()
    labels = ["PER", "LOC", "ORG"]
    other.get_pipe("sequence_labeler").initialize(lambda: entity_examples(other), labels=labels)
    assert other.get_pipe("sequence_labeler").labels == ("PER", "LOC", "ORG")


def test_labels_added_before_come_first():
    nlp = blank()
    labeler = nlp.get_pipe("sequence_labeler")
    assert labeler.is_resizable
    assert labeler.add_label("ORG") == 1
    assert labeler.add_label("ORG") == 0
    initialize(nlp, entity_examples(nlp))
    assert labeler.labels == ("ORG", "LOC", "PER")
    assert labeler.model.get_dim("nO") == 7


def test_a_label_added_after_training_changes_nothing_and_is_learned():
    nlp = blank()
    examples = entity_examples(nlp)
    labeler = train(nlp, examples)
    expected = list(nlp.pipe(TEXTS))
    assert labeler.add_label("FOOD") == 1
    assert_same_answers(nlp.pipe(TEXTS), expected)
    new = [
        *entity_examples(nlp),
        Example.from_dict(nlp.make_doc("naan"), {"entities": [(0, 4, "FOOD")]}),
    ]
    optimizer = Adam(0.02, use_averages=False)
    for _ in range(60):
        nlp.update(new, sgd=optimizer)
    assert entities(nlp("naan").ents) == [("naan", "FOOD")]
    assert entities(nlp(TEXTS[0]).ents)[0] == ("Ann Lee", "PER")


@pytest.mark.parametrize(
    ("label", "message"), [(3, "Only unicode strings"), ("", "label is empty: expected a name")]
)
def test_bad_labels(label, message):
    with pytest.raises(ValueError, match=message):
        blank().get_pipe("sequence_labeler").add_label(label)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoding": "crf"}, "decoding is 'crf': expected 'viterbi' or 'greedy'"),
        (
            {"spans_key": ""},
            r"spans_key is empty: expected a key for doc.spans, such as 'sequence_labeler'",
        ),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        blank(**options)


def test_the_scorer_is_registered():
    score = registry.scorers.get("spacy-lgu.sequence_labeler_scorer.v1")()
    assert score([], annotate_ents=True, spans_key="sequence_labeler")["ents_f"] is None
    assert (
        score([], annotate_ents=False, spans_key="sequence_labeler")["spans_sequence_labeler_f"]
        is None
    )


# Saving.


def test_a_save_that_fails_leaves_the_earlier_one(trained, tmp_path, monkeypatch):
    def fill(model, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    labeler, folder = trained.get_pipe("sequence_labeler"), tmp_path / "x"
    labeler.to_disk(folder)
    earlier = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    monkeypatch.setattr(Model, "to_disk", fill)
    monkeypatch.setitem(labeler.cfg, "temperature", 3.0)
    with pytest.raises(OSError, match="No space left on device"):
        labeler.to_disk(folder)
    assert {f.name: f.read_bytes() for f in folder.iterdir() if f.is_file()} == earlier
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_part_is_written_beside_the_rest(trained, tmp_path):
    labeler, folder = trained.get_pipe("sequence_labeler"), tmp_path / "x"
    labeler.to_disk(folder)
    model = (folder / "model").read_bytes()
    labeler.to_disk(folder, exclude=["model"])
    assert (folder / "model").read_bytes() == model
    folder.rename(tmp_path / ".x.previous")  # as a killed save leaves it
    assert labeler.from_disk(folder) is labeler
    labeler.to_disk(folder, exclude=["model"])
    assert not folder.exists()


def test_saved_and_loaded_is_as_before(trained, tmp_path):
    labeler = trained.get_pipe("sequence_labeler")
    labeler.cfg["temperature"] = 1.7
    expected = list(trained.pipe(TEXTS))
    trained.to_disk(tmp_path)
    restored = spacy.util.load_model_from_config(trained.config).from_bytes(trained.to_bytes())
    labeler.cfg["temperature"] = 1.0
    for other in (spacy.load(tmp_path), restored):
        assert_same_answers(other.pipe(TEXTS), expected)
        assert other.get_pipe("sequence_labeler").temperature == pytest.approx(1.7)
        other.get_pipe("sequence_labeler").add_label("FOOD")
        assert_same_answers(other.pipe(TEXTS), expected)
    changed = {"components": {"sequence_labeler": {"decoding": "greedy", "spans_key": "names"}}}
    loaded = spacy.load(tmp_path, config=changed)
    assert loaded.get_pipe("sequence_labeler").decoding == "greedy"
    doc = loaded(TEXTS[0])
    assert entities(doc.spans["names"]) == [("Ann Lee", "PER"), ("New York", "LOC")]


def test_sourced_into_another_pipeline(trained):
    other = spacy.blank("en")
    other.add_pipe("sequence_labeler", source=trained, name="names")
    assert_same_answers(other.pipe(TEXTS), list(trained.pipe(TEXTS)))


# What the config says.


@pytest.mark.parametrize(("weights", "warns"), [({}, True), ({"spans_mine_f": 1.0}, False)])
def test_spans_that_training_does_not_score_are_named(caplog, weights, warns):
    nlp = blank(annotate_ents=False, spans_key="mine")
    nlp.config["training"]["score_weights"] = weights
    with caplog.at_level(logging.WARNING, logger="spacy_lgu"):
        initialize(nlp, span_examples(nlp, "mine"))
    assert ("Add to that section: spans_mine_f = 1.0" in caplog.text) is warns


@pytest.mark.parametrize("scorer", [{"@scorers": "spacy-lgu.strict_iob2_scorer.v1"}, None])
def test_spans_that_another_scorer_scores_are_its_business(caplog, scorer):
    if scorer is not None:
        scorer["spans_key"] = "mine"
    nlp = blank(annotate_ents=False, spans_key="mine", scorer=scorer)
    with caplog.at_level(logging.WARNING, logger="spacy_lgu"):
        initialize(nlp, span_examples(nlp, "mine"))
    assert caplog.text == ""


@pytest.mark.parametrize(("key", "warns"), [("sequence_labeler", True), ("other", False)])
def test_labelers_that_write_the_same_spans_are_named(caplog, key, warns):
    nlp = blank()
    nlp.add_pipe("sequence_labeler", "second", config={"model": {"tok2vec": CNN}, "spans_key": key})
    with caplog.at_level(logging.WARNING, logger="spacy_lgu"):
        initialize(nlp, entity_examples(nlp))
    message = "'second' and 'sequence_labeler' both write doc.spans['sequence_labeler']"
    assert (message in caplog.text) is warns


# On a decoder.


@pytest.mark.parametrize("pooling", ["reduce_first.v1", "reduce_last.v1", "reduce_mean.v1"])
def test_on_a_decoder(decoder_folder, tmp_path, pooling):
    fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe(
        "lgu_transformer", name="transformer", config={"model": layer_config(decoder_folder)}
    )
    listener = {**LISTENER, "pooling": {"@layers": pooling}}
    nlp.add_pipe("sequence_labeler", config={"model": {"tok2vec": listener}})
    initialize(nlp, entity_examples(nlp))
    history = train_nlp(nlp, steps=40, learn_rate=0.02)
    assert history[-1]["sequence_labeler"] < 0.05 * history[0]["sequence_labeler"]
    docs = list(nlp.pipe(TEXTS))
    assert entities(docs[0].ents) == [("Ann Lee", "PER"), ("New York", "LOC")]
    assert_same_answers([nlp(text) for text in TEXTS], docs)
    nlp.to_disk(tmp_path)
    assert_same_answers(spacy.load(tmp_path).pipe(TEXTS), docs)
    nlp.replace_listeners("transformer", "sequence_labeler", ["model.tok2vec"])
    assert_same_answers(nlp.pipe(TEXTS), docs)


def test_the_default_listens_and_pools_the_first_subtoken():
    nlp = spacy.blank("en")
    nlp.add_pipe("sequence_labeler")
    tok2vec = nlp.config["components"]["sequence_labeler"]["model"]["tok2vec"]
    assert tok2vec == {**LISTENER, "pooling": {"@layers": "reduce_first.v1"}}


def test_scores_are_of_its_own_key_whatever_others_ask_for():
    nlp = spacy.blank("en")
    labeler = nlp.add_pipe(
        "sequence_labeler",
        config={"model": {"@architectures": "spacy-lgu.SequenceLabeler.v1", "tok2vec": LISTENER},
                "annotate_ents": False, "spans_key": "mine"},
    )  # fmt: skip
    seen = {}

    def score(examples, **options):
        seen.update(options)
        return {}

    labeler.scorer = score
    labeler.score([], spans_key="sc", annotate_ents=True, further=1)
    assert (seen["spans_key"], seen["annotate_ents"], seen["further"]) == ("mine", False, 1)
