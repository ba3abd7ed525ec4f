"""Spans on Docs that have entities already."""

from spacy.tokens import Span

from .labelers import entities


def test_earlier_entities_stay_unless_overwritten(trained):
    for overwrite, expected in (
        (False, [("Lee ate", "FOOD"), ("New York", "LOC")]),
        (True, [("Ann Lee", "PER"), ("New York", "LOC")]),
    ):
        labeler = trained.get_pipe("sequence_labeler")
        doc = trained.make_doc("Ann Lee ate naan in New York")
        doc.ents = [Span(doc, 1, 3, label="FOOD", kb_id="Q1", span_id="food-1")]
        labeler.overwrite = overwrite
        labeler(doc)
        labeler.overwrite = False
        assert entities(doc.ents) == expected
        assert entities(doc.spans["sequence_labeler"]) == [("Ann Lee", "PER"), ("New York", "LOC")]
        assert doc.ents[0].kb_id_ == ("" if overwrite else "Q1")
        assert [token.ent_id_ for token in doc[1:3]] == ([""] * 2 if overwrite else ["food-1"] * 2)
        assert doc.has_annotation("ENT_IOB")


def test_tokens_blocked_for_entities_stay_blocked(trained):
    doc = trained.make_doc("Ann Lee ate naan in New York")
    doc.set_ents([], blocked=[doc[0:1]], default="missing")
    trained.get_pipe("sequence_labeler")(doc)
    assert entities(doc.ents) == [("New York", "LOC")]
    assert (doc[0].ent_iob, doc[0].ent_type, doc[1].ent_iob) == (3, 0, 2)
