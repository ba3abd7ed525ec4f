"""Sequence labelers on a small CNN, and what they answer."""

import spacy
from numpy.testing import assert_allclose
from thinc.api import Adam, fix_random_seed

from ..conftest import CNN, entity_examples

TEXTS = ["Ann Lee ate naan in New York", "", "Zürich", "It paid Lee in 2021", "  "]


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
