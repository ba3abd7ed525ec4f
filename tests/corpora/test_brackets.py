import pytest

from spacy_lgu.corpora.brackets import parse_brackets


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("* *", []),
        ("(PERSON* *) * (GPE)", [(0, 2, "PERSON"), (3, 4, "GPE")]),
        ("(A*) (V*V) (A1* *A1)", [(0, 1, "A"), (1, 2, "V"), (2, 4, "A1")]),
        ("(S(NP*) (VP* (NP*)))", [(0, 3, "S"), (0, 1, "NP"), (1, 3, "VP"), (2, 3, "NP")]),
        ("(WORK_OF_ART* * *)", [(0, 3, "WORK_OF_ART")]),
    ],
)
def test_spans(tags, spans):
    assert parse_brackets(tags.split()) == (spans, None)


@pytest.mark.parametrize(
    ("tags", "place", "message"),
    [
        ("* O", 1, r"O is not one of *, (LABEL*, *) and (LABEL)"),
        ("(* *)", 0, r"(* is not one of *, (LABEL*, *) and (LABEL)"),
        ("(A* ) *", 1, r") is not one of *, (LABEL*, *) and (LABEL)"),
        ("* *)", 1, "*) closes a span, but none is open"),
        ("(A* *B)", 1, "*B) closes B, but A is open"),
        ("(A* *)x", 1, "*)x does not end with * or )"),
        ("(A* (B*) *", 0, "the span of A that opens here never closes"),
    ],
)
def test_faults(tags, place, message):
    assert parse_brackets(tags.split()) == ([], (place, message))
