"""What is written, and how many of what; the command itself is in tests/cli/test_convert.py."""

import pytest
import spacy
from spacy.tokens import DocBin

from spacy_lgu.corpora.converting import convert_corpus, count_docs, draw_held_out
from spacy_lgu.corpora.docs import make_docs
from spacy_lgu.corpora.records import LabeledSpan, TokenizedText

VOCAB = spacy.blank("en").vocab


def text(line: int, words: str, *spans: tuple[int, int, str], document: str = "d", **options):
    labeled = [LabeledSpan(*span) for span in spans]
    return TokenizedText(f"a:{line}", words.split(), labeled, document, **options)


def test_a_corpus_in_two_files(tmp_path):
    source, train, dev = tmp_path / "a.txt", tmp_path / "train.spacy", tmp_path / "dev.spacy"
    source.write_text("Ann B-PER\nran O\n\nBo B-PER\nfell O\n\nOslo B-LOC\n")
    notes = []
    counts = convert_corpus(
        [source], train, report=notes.append, column=1, hold_out=1, hold_out_to=dev, seed=3
    )
    assert [note.kind for note in notes] == ["format detected: conll", "tag scheme detected: iob2"]
    assert {path: (c.n_docs, c.n_tokens) for path, c in counts.items()} == {
        train: (2, 3),
        dev: (1, 2),
    }
    assert counts[dev].labels == {"PER": 1}
    docs = [doc for path in counts for doc in DocBin().from_disk(path).get_docs(VOCAB)]
    assert sorted(doc.text for doc in docs) == ["Ann ran", "Bo fell", "Oslo"]


def test_arguments_that_do_not_fit_come_before_reading(tmp_path):
    with pytest.raises(ValueError, match="need each other"):
        convert_corpus([tmp_path / "no"], tmp_path / "a.spacy", report=print, hold_out=0.5)
    with pytest.raises(ValueError, match="The format conll has no option --offsets"):
        convert_corpus(
            [tmp_path / "no"], tmp_path / "a.spacy", "conll", report=print, offsets="bytes"
        )


def test_counts():
    texts = [
        text(1, "a b c d", (0, 3, "X"), (0, 1, "Y"), (0, 1, "X"), (2, 4, "X"), document="d"),
        text(2, "a", document="d"),
        text(3, "a b c d", (0, 2, "X"), (0, 2, "Y"), document="e"),
    ]
    counts = count_docs(make_docs(texts, VOCAB, spans_key="sc", sentences_per_doc=2), "sc")
    assert (counts.n_docs, counts.n_sentences, counts.n_tokens) == (2, 3, 9)
    assert (counts.n_spans, counts.n_nested, counts.longest) == (6, 2, 5)
    assert counts.labels == {"X": 4, "Y": 2}
    assert (count_docs([], None).n_docs, count_docs([], None).longest) == (0, 0)


def test_sentences_are_counted_only_if_all_are_known():
    texts = [text(1, "a b", is_sentence=False), text(2, "a b", document="e")]
    counts = count_docs(make_docs(texts, VOCAB), None)
    assert (counts.n_docs, counts.n_sentences) == (2, None)


def test_held_out_docs():
    assert draw_held_out(6, 2, seed=0) == {3, 5}
    assert draw_held_out(6, 2, seed=1) == {0, 3}
    assert draw_held_out(6, 0.5, seed=0) == {2, 3, 5}
    assert len(draw_held_out(3041, 304, seed=0)) == 304


@pytest.mark.parametrize("size", [0, 6, 0.01, 0.99])
def test_something_must_be_left_on_both_sides(size):
    with pytest.raises(ValueError, match=rf"between 1 and 5 of 6 Docs, but {size} means [06]\."):
        draw_held_out(6, size, seed=0)
