"""Which pipes stand in a pipeline, in which order."""

import re

import pytest

from spacy_lgu.configs.planning import plan_pipeline


def test_what_every_pipeline_with_a_listener_has():
    planned = plan_pipeline(["ner"])
    assert planned.names == ("transformer", "ner", "doc_cleaner")
    assert planned.annotating == ()
    assert plan_pipeline(["transformer", "ner", "doc_cleaner"]) == planned


def test_candidates_come_from_a_pipe_that_annotates():
    planned = plan_pipeline(["span_finder", "spancat"])
    assert planned.annotating == ("transformer", "span_finder")


def test_entity_linker_gets_sentences():
    assert plan_pipeline(["entity_linker"]).names == ("sentencizer", "entity_linker")
    planned = plan_pipeline(["parser", "ner", "entity_linker"])
    # Scored on Docs that all pipes are through with: nothing may be cleaned away.
    assert planned.names == ("transformer", "parser", "ner", "entity_linker")
    assert planned.annotating == ("transformer", "parser")


def test_heads_that_write_to_one_place_are_told():
    (remark,) = plan_pipeline(["ner", "spancat", "sequence_labeler"]).remarks
    assert remark.startswith("ner and sequence_labeler write doc.ents")


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ([], "has no head, .* The heads are tagger, morphologizer, "),
        (["transformer"], "has no head"),
        (["nerr"], "no head 'nerr'. Did you mean 'ner'? The heads are tagger, "),
        (["ner", "entity_ruler"], "Pipes that are not trained can be added to the written config"),
        (["ner", "ner"], "'ner' is in the pipeline twice"),
        (["spancat", "span_finder"], "'span_finder' stands after 'spancat', which reads"),
        (["entity_linker", "ner"], "'ner' stands after 'entity_linker'"),
    ],
)
def test_wrong_heads(heads, message):
    with pytest.raises(ValueError, match=re.escape(message).replace(r"\.\*", ".*")):
        plan_pipeline(heads)
