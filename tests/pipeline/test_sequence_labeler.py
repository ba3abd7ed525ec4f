"""The component sequence_labeler: training, spans and probabilities, options, saving."""

import errno
import logging
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest
import spacy
from numpy.testing import assert_allclose
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from spacy.util import registry
from thinc.api import Adam, Model, fix_random_seed

from spacy_lgu.labeling.probabilities import log_softmax
from spacy_lgu.labeling.tags import MISSING
from spacy_lgu.pipeline.gold_tags import gold_tags

from ..conftest import LISTENER, entity_examples, layer_config, train_nlp

CNN = {
    "@architectures": "spacy.HashEmbedCNN.v2",
    "width": 16,
    "depth": 1,
    "embed_size": 100,
    "window_size": 1,
    "maxout_pieces": 2,
    "subword_features": True,
    "pretrained_vectors": None,
}
NUMBERS = {"O": 0, "B-PER": 1, "I-PER": 2, "B-LOC": 3, "I-LOC": 4}


def blank(**options):
    nlp = spacy.blank("en")
    nlp.add_pipe("sequence_labeler", config={"model": {"tok2vec": CNN}, **options})
    return nlp


def initialize(nlp, examples):
    def get_examples():
        return examples

    fix_random_seed(0)
    nlp.initialize(get_examples)
    return nlp.get_pipe("sequence_labeler")


def span_examples(nlp, key="sequence_labeler"):
    """The entity examples, annotated in doc.spans."""
    examples = entity_examples(nlp)
    for example in examples:
        example.reference.spans[key] = list(example.reference.ents)
        example.reference.ents = []
    return examples


def train(nlp, examples, *, steps=60):
    labeler = initialize(nlp, examples)
    optimizer = Adam(0.02, use_averages=False)
    for _ in range(steps):
        nlp.update(examples, sgd=optimizer, drop=0.1)
    return labeler


@pytest.fixture(scope="module")
def nlp():
    """A trained pipeline that knows its four sentences. Not to be changed."""
    nlp = blank()
    train(nlp, entity_examples(nlp))
    return nlp


TEXTS = ["Ann Lee ate naan in New York", "", "Zürich", "It paid Lee in 2021", "  "]


def entities(spans):
    return [(span.text, span.label_) for span in spans]


def answers(docs):
    return [
        (
            entities(d.ents),
            entities(d.spans["sequence_labeler"]),
            d.spans["sequence_labeler"].attrs["scores"],
        )
        for d in docs
    ]


def assert_same_answers(found, expected):
    for (ents, spans, scores), other in zip(answers(found), answers(expected), strict=True):
        assert (ents, spans) == other[:2]
        assert_allclose(scores, other[2], atol=1e-4)


# Predicting.


def test_trained_spans_and_probabilities(nlp):
    docs = list(nlp.pipe(TEXTS))
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
    assert nlp.evaluate(entity_examples(nlp))["ents_f"] == 1.0


def test_the_probability_is_that_among_all_valid_sequences(nlp):
    labeler = nlp.get_pipe("sequence_labeler")
    doc = nlp("Zürich")
    probs = numpy.exp(log_softmax(labeler.model.predict([nlp.make_doc("Zürich")])))[0]
    # One token: O or one of the B.
    expected = probs[1] / (probs[0] + probs[1] + probs[3])
    assert labeler.labels == ("LOC", "PER")
    assert_allclose(doc.spans["sequence_labeler"].attrs["scores"], [expected], rtol=1e-5)


def test_batched_is_one_by_one_in_threads_too(nlp):
    expected = [nlp(text) for text in TEXTS]
    assert_same_answers(nlp.pipe(TEXTS), expected)
    with ThreadPoolExecutor(4) as pool:
        assert_same_answers(pool.map(nlp, TEXTS * 5), expected * 5)


def test_docs_are_written_by_set_annotations_only(nlp):
    doc = nlp.make_doc("Ann Lee ate")
    spans, probabilities = nlp.get_pipe("sequence_labeler").predict([doc])
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


def test_earlier_entities_stay_unless_overwritten(nlp):
    for overwrite, expected in (
        (False, [("Lee ate", "FOOD"), ("New York", "LOC")]),
        (True, [("Ann Lee", "PER"), ("New York", "LOC")]),
    ):
        labeler = nlp.get_pipe("sequence_labeler")
        doc = nlp.make_doc("Ann Lee ate naan in New York")
        doc.ents = [Span(doc, 1, 3, label="FOOD", kb_id="Q1", span_id="food-1")]
        labeler.overwrite = overwrite
        labeler(doc)
        labeler.overwrite = False
        assert entities(doc.ents) == expected
        assert entities(doc.spans["sequence_labeler"]) == [("Ann Lee", "PER"), ("New York", "LOC")]
        assert doc.ents[0].kb_id_ == ("" if overwrite else "Q1")
        assert [token.ent_id_ for token in doc[1:3]] == ([""] * 2 if overwrite else ["food-1"] * 2)
        assert doc.has_annotation("ENT_IOB")


def test_tokens_blocked_for_entities_stay_blocked(nlp):
    doc = nlp.make_doc("Ann Lee ate naan in New York")
    doc.set_ents([], blocked=[doc[0:1]], default="missing")
    nlp.get_pipe("sequence_labeler")(doc)
    assert entities(doc.ents) == [("New York", "LOC")]
    assert (doc[0].ent_iob, doc[0].ent_type, doc[1].ent_iob) == (3, 0, 2)


def test_probabilities_survive_in_a_doc_bin(nlp):
    doc = nlp(TEXTS[0])
    data = DocBin(docs=[doc], store_user_data=True).to_bytes()
    (restored,) = DocBin().from_bytes(data).get_docs(nlp.vocab)
    assert_same_answers([restored], [doc])


# Annotation.


@pytest.mark.parametrize("key", [None, "sequence_labeler"])
def test_tags_of_an_example(key):
    nlp = spacy.blank("en")
    examples = entity_examples(nlp) if key is None else span_examples(nlp)
    empty = Example(nlp.make_doc(""), nlp.make_doc(""))
    tags = gold_tags([examples[0], empty, examples[1]], NUMBERS, key)
    assert tags.tolist() == [1, 2, 0, 0, 0, 3, 4, 3, 0, 0, 0]


def test_missing_annotation_of_entities():
    nlp = spacy.blank("en")
    words = ["Ann", "Lee", "ate", "in", "York"]
    partly = Example.from_dict(
        Doc(nlp.vocab, words=words), {"entities": ["B-PER", "L-PER", "O", "-", "U-LOC"]}
    )
    none = Example(Doc(nlp.vocab, words=words), Doc(nlp.vocab, words=words))
    assert gold_tags([partly, none], NUMBERS, None).tolist() == [1, 2, 0, -1, 3] + [MISSING] * 5


def test_a_doc_without_the_key_is_not_annotated():
    nlp = spacy.blank("en")
    unannotated, without_spans = (
        Example(nlp.make_doc("Ann ate"), nlp.make_doc("Ann ate")) for _ in range(2)
    )
    without_spans.reference.spans["sequence_labeler"] = []
    tags = gold_tags([unannotated, without_spans], NUMBERS, "sequence_labeler")
    assert tags.tolist() == [MISSING, MISSING, 0, 0]


@pytest.mark.parametrize("key", [None, "sequence_labeler"])
def test_spans_on_other_tokens(key):
    """Two tokens in one are one tag; half a token is missing, with spaCy's warning."""
    nlp = spacy.blank("en")
    reference = Doc(
        nlp.vocab, words=["New-", "York", "is", "far", "Ann's"], spaces=[False] + [True] * 4
    )
    spans = [Span(reference, 0, 2, label="LOC"), Span(reference, 3, 4, label="PER")]
    split = Span(reference, 4, 5, label="PER")
    if key is None:
        reference.ents = [*spans, split]
    else:
        reference.spans[key] = [*spans, split]
    predicted = Doc(
        nlp.vocab,
        words=["New-York", "is", "far", "Ann", "'s"],
        spaces=[True, True, True, False, True],
    )
    tags = gold_tags([Example(predicted, reference)], NUMBERS, key)
    assert tags.tolist() == [3, 0, 1, 1, 2]
    predicted = Doc(nlp.vocab, words=["New-York", "is", "far Ann's"])
    with pytest.warns(UserWarning, match=r"\[W030\] Some entities could not be aligned"):
        tags = gold_tags([Example(predicted, reference)], NUMBERS, key)
    assert tags.tolist() == [3, 0, MISSING]


@pytest.mark.parametrize("labels", [None, ["LOC", "PER"]])
def test_spans_that_overlap(labels):
    nlp = blank(annotate_ents=False)
    examples = span_examples(nlp)
    reference = examples[0].reference
    reference.spans["sequence_labeler"] = [
        Span(reference, 1, 3, label="LOC"),
        *reference.spans["sequence_labeler"],
    ]
    message = (
        r"spans 'Ann Lee' \(PER\) and 'Lee ate' \(LOC\) in doc.spans\[.*\] overlap, "
        r"in the text 'Ann Lee ate naan in New York'.*component spancat.*spacy.util.filter_spans"
    )
    if labels is None:
        with pytest.raises(ValueError, match=message):
            initialize(nlp, examples)
        return
    labeler = nlp.get_pipe("sequence_labeler")
    labeler.initialize(lambda: examples, labels=labels)
    with pytest.raises(ValueError, match=message):
        nlp.update(examples)


def test_spans_without_a_label():
    nlp = blank(annotate_ents=False)
    examples = span_examples(nlp)
    reference = examples[1].reference
    reference.spans["sequence_labeler"] = [Span(reference, 0, 1)]
    with pytest.raises(
        ValueError, match=r"span 'Zürich' in doc.spans\['sequence_labeler'\] has no label.*Give"
    ):
        initialize(nlp, examples)


def test_labels_that_are_not_known():
    nlp = blank()
    labeler = nlp.get_pipe("sequence_labeler")
    examples = entity_examples(nlp)
    labeler.initialize(lambda: examples, labels=["LOC"])
    with pytest.raises(
        ValueError, match=r"labels \['PER'\].*it knows: LOC.*To train, add them with add_label"
    ):
        nlp.update(examples)


@pytest.mark.parametrize(
    ("annotate_ents", "message"),
    [
        (
            True,
            r"none of .* in doc.ents.*are in doc.spans \(keys: other\), set annotate_ents = false",
        ),
        (
            False,
            r"none of .* in doc.spans\[.*\].*doc.spans has another key \(found: other\)",
        ),
    ],
)
def test_no_annotated_examples(annotate_ents, message):
    nlp = blank(annotate_ents=annotate_ents)
    examples = span_examples(nlp, "other")
    with pytest.raises(ValueError, match=message):
        initialize(nlp, examples)


def test_no_example_with_a_token():
    nlp = blank()
    labeler = nlp.get_pipe("sequence_labeler")
    empty = [Example(nlp.make_doc(""), nlp.make_doc(""))]
    with pytest.raises(ValueError, match="no proper sample data to initialize"):
        labeler.initialize(lambda: empty, labels=["PER"])


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


def test_a_save_that_fails_leaves_the_earlier_one(nlp, tmp_path, monkeypatch):
    def fill(model, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    labeler, folder = nlp.get_pipe("sequence_labeler"), tmp_path / "x"
    labeler.to_disk(folder)
    earlier = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    monkeypatch.setattr(Model, "to_disk", fill)
    monkeypatch.setitem(labeler.cfg, "temperature", 3.0)
    with pytest.raises(OSError, match="No space left on device"):
        labeler.to_disk(folder)
    assert {f.name: f.read_bytes() for f in folder.iterdir() if f.is_file()} == earlier
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_part_is_written_beside_the_rest(nlp, tmp_path):
    labeler, folder = nlp.get_pipe("sequence_labeler"), tmp_path / "x"
    labeler.to_disk(folder)
    model = (folder / "model").read_bytes()
    labeler.to_disk(folder, exclude=["model"])
    assert (folder / "model").read_bytes() == model
    folder.rename(tmp_path / ".x.previous")  # as a killed save leaves it
    assert labeler.from_disk(folder) is labeler
    labeler.to_disk(folder, exclude=["model"])
    assert not folder.exists()


def test_saved_and_loaded_is_as_before(nlp, tmp_path):
    labeler = nlp.get_pipe("sequence_labeler")
    labeler.cfg["temperature"] = 1.7
    expected = list(nlp.pipe(TEXTS))
    nlp.to_disk(tmp_path)
    restored = spacy.util.load_model_from_config(nlp.config).from_bytes(nlp.to_bytes())
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


def test_sourced_into_another_pipeline(nlp):
    other = spacy.blank("en")
    other.add_pipe("sequence_labeler", source=nlp, name="names")
    assert_same_answers(other.pipe(TEXTS), list(nlp.pipe(TEXTS)))


# Calibration.


def test_calibration_finds_the_temperature_of_sharpened_logits():
    nlp = blank()
    examples = entity_examples(nlp)
    labeler = train(nlp, examples, steps=12)
    wrong = Example.from_dict(nlp.make_doc("Ann Lee ate"), {"entities": [(0, 7, "LOC")]})
    dev = [*examples, wrong]
    expected = [entities(nlp(example.text).ents) for example in dev]
    first = labeler.calibrate(dev)
    assert labeler.temperature == first["temperature"]
    assert first["nll_after"] <= first["nll_before"]
    assert (first["n_tokens"], first["n_spans"]) == (25, 6)
    output = labeler.model.get_ref("output_layer")
    for name in ("W", "b"):
        output.set_param(name, 3 * output.get_param(name))
    second = labeler.calibrate(example for example in dev)
    assert second["temperature"] == pytest.approx(3 * first["temperature"], rel=0.01)
    assert second["nll_after"] == pytest.approx(first["nll_after"], rel=1e-3)
    assert second["ece_after"] == pytest.approx(first["ece_after"], abs=0.01)
    assert [entities(nlp(example.text).ents) for example in dev] == expected
    # Training anew begins without.
    initialize(nlp, examples)
    assert labeler.temperature == 1.0


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


def test_spans_on_missing_annotation_are_not_counted(nlp, caplog):
    restored = spacy.util.load_model_from_config(nlp.config).from_bytes(nlp.to_bytes())
    labeler = restored.get_pipe("sequence_labeler")
    words = TEXTS[0].split()
    tags = ["B-PER", "L-PER", "O", "O", "O", "-", "-"]
    example = Example.from_dict(Doc(restored.vocab, words=words), {"entities": tags})
    with caplog.at_level(logging.WARNING, logger="spacy_lgu"):
        result = labeler.calibrate([example])
    assert (result["n_tokens"], result["n_spans"]) == (5, 1)
    assert "The temperature of 'sequence_labeler'" in caplog.text
    assert "none of the 5 annotated tokens is in doubt. Calibrate on more data" in caplog.text
    outside = Example.from_dict(Doc(restored.vocab, words=["It"]), {"entities": ["O"]})
    assert labeler.calibrate([outside])["ece_after"] is None


def test_calibration_needs_annotation(nlp):
    labeler = nlp.get_pipe("sequence_labeler")
    unannotated = [Example(nlp.make_doc(text), nlp.make_doc(text)) for text in TEXTS]
    for examples in ([], unannotated):
        with pytest.raises(
            ValueError,
            match=rf"no token of the {len(examples)} texts .* in doc.ents. Give annotated",
        ):
            labeler.calibrate(examples)


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
