from spacy_lgu.corpora.quoting import quote_span


def test_a_quoted_span_is_cut():
    assert quote_span("Annabel slept", 0, 3, "P") == "'Ann' (P) in ...'Annabel slept'..."
    assert len(quote_span("a" * 10_000, 5, 9_000, "P" * 10_000)) < 1000
