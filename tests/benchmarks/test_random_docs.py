"""Random documents: what is drawn, and what is counted."""

import numpy
import spacy
from spacy.tokens import Doc
from thinc.types import Ragged

from benchmarks import random_docs
from benchmarks.random_docs import Documents, count_without_own


def test_tokens_that_share_a_subtoken():
    nlp = spacy.blank("en")
    doc = Doc(nlp.vocab, ["a", "b", " ", "c", "d"], [False] * 5)
    # a and b share 1, b and white space 2; c and d have 3 and 4 for themselves.
    lengths = numpy.array([1, 2, 1, 1, 1])
    align = Ragged(numpy.array([1, 1, 2, 2, 3, 4])[:, None], lengths)
    assert count_without_own(doc, align) == (4, 2)


def test_the_same_documents_from_the_same_seed():
    nlp = spacy.blank("en")
    first, again, other = (Documents(nlp, seed) for seed in (0, 0, 1))
    texts = [[documents.draw().text for _ in range(20)] for documents in (first, again, other)]
    assert texts[0] == texts[1] != texts[2]
    assert any(c in text for text in texts[0] for c in "\x00\x07")
    assert any("don't" in text for text in texts[0])


def test_documents_run_through_every_decoder(capsys, monkeypatch):
    monkeypatch.setattr(random_docs, "PATTERNS", ("ccbb",))
    random_docs.main(n_docs=24, seed=0, tolerance=1e-4, batch_size=4)
    row = capsys.readouterr().out.splitlines()[-1].split(" | ")
    assert (row[0], row[1], row[3:]) == ("| all", "24", ["0", "0 |"])
