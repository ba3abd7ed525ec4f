import pytest
import spacy
from hypothesis import given
from numpy.testing import assert_allclose
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import registry

from spacy_lgu.metrics.scorer import make_strict_iob2_scorer_v1
from spacy_lgu.metrics.strict import find_strict_spans, score_tags

from .test_strict import tagged_pairs

NLP = spacy.blank("en")


def make_doc(words: str, *ents: tuple[int, int, str], key: str | None = None) -> Doc:
    doc = Doc(NLP.vocab, words=words.split())
    spans = [Span(doc, start, end, label=label) for start, end, label in ents]
    if key is None:
        doc.set_ents(spans, default="outside")
    else:
        doc.spans[key] = spans
    return doc


def test_scores_by_hand():
    examples = [
        Example(
            make_doc("Ann Lee met Bo", (0, 1, "PER"), (3, 4, "PER")),
            make_doc("Ann Lee met Bo", (0, 2, "PER"), (3, 4, "PER")),
        ),
        Example(make_doc("In Oslo", (1, 2, "ORG")), make_doc("In Oslo", (1, 2, "LOC"))),
    ]
    scores = make_strict_iob2_scorer_v1()(examples)
    assert_allclose([scores["strict_p"], scores["strict_r"], scores["strict_f"]], 1 / 3)
    assert_allclose(scores["strict_macro_f"], 0.5 / 3)
    assert scores["strict_per_type"] == {
        "LOC": {"p": 0.0, "r": 0.0, "f": 0.0},
        "ORG": {"p": 0.0, "r": 0.0, "f": 0.0},
        "PER": {"p": 0.5, "r": 0.5, "f": 0.5},
    }


@given(tagged_pairs())
def test_docs_score_as_their_tags(pair):
    gold, predicted = pair
    examples = [
        Example(
            make_doc("x " * len(tags), *find_strict_spans(predicted_tags)),
            make_doc("x " * len(tags), *find_strict_spans(tags)),
        )
        for tags, predicted_tags in zip(gold, predicted, strict=True)
        if tags
    ]
    expected = score_tags(gold, predicted)
    scores = make_strict_iob2_scorer_v1()(examples)
    if examples:
        assert scores["strict_f"] == expected.micro.f1
        assert scores["strict_macro_f"] == expected.macro_f1
        assert list(scores["strict_per_type"]) == list(expected.per_label)


def test_span_groups_may_nest():
    gold = make_doc("Ann 's son", (0, 1, "PER"), (0, 3, "PER"), key="sc")
    predicted = make_doc("Ann 's son", (0, 3, "PER"), (0, 2, "PER"), (2, 3, "X"), key="sc")
    scores = make_strict_iob2_scorer_v1("sc")([Example(predicted, gold)])
    assert_allclose([scores["strict_sc_p"], scores["strict_sc_r"]], [1 / 3, 1 / 2])
    nothing = make_doc("Ann 's son", key="other")
    assert make_strict_iob2_scorer_v1("sc")([Example(nothing, gold)])["strict_sc_f"] == 0


def test_borders_are_those_of_the_text():
    # Predicted on other tokens and spaces: "U.S.-" is one token here and two there.
    gold = make_doc("the U.S. -based cook", (1, 2, "GPE"), (3, 4, "JOB"))
    words, spaces = ["the", "U.S.-based", " ", "cook"], [True, True, False, False]
    predicted = Doc(NLP.vocab, words=words, spaces=spaces)
    predicted.ents = [Span(predicted, 1, 2, label="GPE"), Span(predicted, 3, 4, label="JOB")]
    scores = make_strict_iob2_scorer_v1()([Example(predicted, gold)])
    # spaCy's own scorer counts neither as wrong: it leaves the misaligned one out.
    assert scores["strict_per_type"]["JOB"]["f"] == 1
    assert scores["strict_per_type"]["GPE"] == {"p": 0, "r": 0, "f": 0}
    assert scores["strict_p"] == 0.5


def test_what_is_not_annotated_is_not_scored():
    words = "Ann met Bo"
    partly = make_doc(words)
    partly.set_ents([Span(partly, 0, 1, label="PER")], missing=[partly[2:3]], default="outside")
    unknown = Doc(NLP.vocab, words=words.split())
    predicted = make_doc(words, (0, 1, "PER"), (2, 3, "PER"))
    scores = make_strict_iob2_scorer_v1()([Example(predicted, partly), Example(predicted, unknown)])
    assert (scores["strict_p"], scores["strict_r"]) == (1, 1)


@pytest.mark.parametrize(("key", "prefix"), [(None, "strict"), ("sc", "strict_sc")])
def test_no_annotation_at_all(key, prefix):
    doc = Doc(NLP.vocab, words=["a"])
    scores = make_strict_iob2_scorer_v1(key)([Example(doc, doc.copy())])
    names = ("p", "r", "f", "macro_p", "macro_r", "macro_f", "per_type")
    assert scores == {f"{prefix}_{name}": None for name in names}


def test_docs_of_different_texts():
    with pytest.raises(ValueError, match="of the same text, but got 'a b ' and 'a '"):
        make_strict_iob2_scorer_v1()([Example(make_doc("a"), make_doc("a b"))])


def test_works_in_a_config():
    nlp = spacy.blank("en")
    nlp.add_pipe(
        "entity_ruler", config={"scorer": {"@scorers": "spacy-lgu.strict_iob2_scorer.v1"}}
    ).add_patterns([{"label": "PER", "pattern": "Ann"}])
    gold = nlp.make_doc("Ann ran")
    gold.set_ents([Span(gold, 0, 1, label="PER")], default="outside")
    scores = nlp.evaluate([Example(nlp.make_doc("Ann ran"), gold)])
    assert scores["strict_f"] == 1
    assert registry.get("scorers", "spacy-lgu.strict_iob2_scorer.v1") is make_strict_iob2_scorer_v1


def test_predictions_beside_tokens_without_annotation_count():
    partly = make_doc("Ann met Bo")
    partly.set_ents([], missing=[partly[1:2]], default="outside")
    predicted = make_doc("Ann met Bo", (0, 1, "PER"), (2, 3, "PER"))
    scores = make_strict_iob2_scorer_v1()([Example(predicted, partly)])
    assert scores["strict_per_type"] == {"PER": {"p": 0, "r": 0, "f": 0}}
