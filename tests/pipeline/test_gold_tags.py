"""What examples say of tags, and what is wrong with them."""

import pytest
import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_lgu.labeling.tags import MISSING
from spacy_lgu.pipeline.gold_tags import gold_tags

from ..conftest import entity_examples
from .labelers import blank, initialize, span_examples

NUMBERS = {"O": 0, "B-PER": 1, "I-PER": 2, "B-LOC": 3, "I-LOC": 4}


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
