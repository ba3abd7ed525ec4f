"""Strict scores of a pipeline on the tokens of a file."""

import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span, SpanGroup
from spacy.training import Example

from spacy_lgu.metrics.evaluation import copy_tokens, evaluate, find_threshold, read_gold


def test_texts_without_annotation_are_refused(tmp_path):
    nlp = spacy.blank("en")
    DocBin(docs=[nlp.make_doc("No one looked.")]).to_disk(tmp_path / "test.spacy")
    with pytest.raises(ValueError, match=r"Doc 0 has no annotation in doc.ents: 'No one looked"):
        read_gold(nlp, tmp_path / "test.spacy", 0, None)
    with pytest.raises(ValueError, match=r"Doc 0 has no annotation in doc.spans\['sc'\]"):
        read_gold(nlp, tmp_path / "test.spacy", 0, "sc")
    DocBin(docs=[]).to_disk(tmp_path / "test.spacy")
    with pytest.raises(ValueError, match="there are no Docs in it"):
        read_gold(nlp, tmp_path / "test.spacy", 0, None)
    with pytest.raises(FileNotFoundError, match=r"There is no data at '.*no\.spacy'"):
        read_gold(nlp, tmp_path / "no.spacy", 0, None)


def test_threshold_with_texts_without_candidates():
    nlp = spacy.blank("en")
    suggester = {"@misc": "spacy.ngram_suggester.v1", "sizes": [2]}
    nlp.add_pipe("spancat", config={"suggester": suggester})
    docs = [nlp.make_doc("Ann Lee"), nlp.make_doc("No")]
    docs[0].spans["sc"] = [Span(docs[0], 0, 2, label="P")]
    docs[1].spans["sc"] = []
    nlp.initialize(lambda: [Example(copy_tokens(doc), doc) for doc in docs])
    assert find_threshold(nlp, docs, "sc") == 0.05
    assert nlp.get_pipe("spancat").cfg["threshold"] == 0.05


def test_a_threshold_stays_if_no_other_can_be_found():
    nlp = spacy.blank("en")
    nlp.add_pipe("spancat", config={"threshold": 0.7})
    docs = [nlp.make_doc("Ann Lee")]
    with pytest.raises(KeyError, match="has not been allocated yet"):
        find_threshold(nlp, docs, "sc")
    assert nlp.get_pipe("spancat").cfg["threshold"] == 0.7


@pytest.mark.parametrize("name", ["entity_ruler", "spancat_singlelabel", "span_finder"])
def test_a_threshold_needs_a_span_categorizer_that_has_one(name):
    nlp = spacy.blank("en")
    nlp.add_pipe(name)
    with pytest.raises(ValueError, match=rf"doc.spans\['sc'\].* but there are 0 among {name}"):
        find_threshold(nlp, [], "sc")


def test_predictions_on_tokens_without_annotation_are_left_out():
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "LOC", "pattern": "Rome"}])
    doc = Doc(nlp.vocab, words=["Rome", "Rome"])
    doc.set_ents([Span(doc, 0, 1, label="LOC")], missing=[Span(doc, 1, 2)])
    assert evaluate(nlp, [doc], None)["documents"] == [[1, 1, 1]]


def test_the_threshold_is_the_lowest_of_the_best(monkeypatch):
    nlp = spacy.blank("en")
    pipe = nlp.add_pipe("spancat")
    doc = nlp.make_doc("Ann saw Rome")
    doc.spans["sc"] = [Span(doc, 0, 1, label="P")]
    nlp.initialize(lambda: [Example(copy_tokens(doc), doc)])

    def write(docs, found):
        for one in docs:
            spans = [Span(one, 0, 1, label="P"), Span(one, 2, 3, label="P")]
            one.spans["sc"] = SpanGroup(one, attrs={"scores": [0.7, 0.32]}, spans=spans)

    monkeypatch.setattr(pipe, "set_annotations", write)
    assert find_threshold(nlp, [doc], "sc") == pipe.cfg["threshold"] == 0.35


def test_precision_and_recall():
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "LOC", "pattern": "Rome"}])
    doc = Doc(nlp.vocab, words=["Rome", "Rome"])
    doc.ents = [Span(doc, 0, 1, label="LOC")]
    scores = evaluate(nlp, [doc], None)
    assert (scores["precision"], scores["recall"]) == (50, 100)
