"""Instruction tuning: what is asked, how answers are read, and that it learns."""

import json

import pytest
from spacy.tokens import Doc, DocBin, Span
from spacy.vocab import Vocab

from benchmarks import instruction_baseline
from benchmarks.instruction_baseline import (
    leave_out_unannotated,
    make_answer,
    make_prompt,
    parse_answer,
)

LABELS = ["LOC", "PER"]
VOCAB = Vocab()


def make_doc(text, *spans):
    words = text.split()
    doc = Doc(VOCAB, words=words, spaces=[True] * (len(words) - 1) + [False])
    doc.ents = [Span(doc, start, end, label=label) for start, end, label in spans]
    return doc


DOC = make_doc("Ann Lee saw Rome and Rome", (0, 2, "PER"), (3, 4, "LOC"), (5, 6, "LOC"))


def test_prompt_and_answer():
    assert make_prompt(DOC, LABELS) == (
        "List the LOC, PER spans of the text, one per line.\n"
        "Text: Ann Lee saw Rome and Rome\nSpans:\n"
    )
    assert make_answer(DOC, None) == "PER: Ann Lee\nLOC: Rome\nLOC: Rome\n"


def test_nested_spans_are_written_from_outside_in():
    doc = make_doc("the King of Rome")
    doc.spans["sc"] = [Span(doc, 3, 4, label="LOC"), Span(doc, 0, 4, label="PER")]
    answer = make_answer(doc, "sc")
    assert answer == "PER: the King of Rome\nLOC: Rome\n"
    assert parse_answer(answer, doc, LABELS) == {(0, 4, "PER"), (3, 4, "LOC")}


def test_white_space_before_a_span_is_no_part_of_it():
    doc = Doc(VOCAB, words=["Great", " ", "food"], spaces=[True, False, False])
    doc.ents = [Span(doc, 2, 3, label="LOC")]
    assert parse_answer(make_answer(doc, None), doc, LABELS) == {(2, 3, "LOC")}


@pytest.mark.parametrize(
    ("answer", "spans"),
    [
        ("PER: Ann Lee\nLOC: Rome\nLOC: Rome\n", {(0, 2, "PER"), (3, 4, "LOC"), (5, 6, "LOC")}),
        ("", set()),
        ("PER: Ann  Lee", {(0, 2, "PER")}),
        # Not a span of tokens, not in the text, not as often in the text: wrong, but predicted.
        ("PER: An", {(-1, -1, "PER")}),
        ("LOC: Oslo\nLOC: ", {(-1, -1, "LOC"), (-2, -2, "LOC")}),
        (
            "LOC: Rome\nLOC: Rome\nLOC: Rome",
            {(3, 4, "LOC"), (5, 6, "LOC"), (-3, -3, "LOC")},
        ),
        ("Rome\nORG: Rome", {(-1, -1, "(unknown label)"), (-2, -2, "(unknown label)")}),
    ],
)
def test_answers_are_read_strictly(answer, spans):
    assert parse_answer(answer, DOC, LABELS) == spans


def test_a_repeated_text_is_found_to_the_right_of_the_span_before():
    doc = make_doc("Rome beat Oslo and Rome", (2, 3, "LOC"), (4, 5, "LOC"))
    assert parse_answer(make_answer(doc, None), doc, LABELS) == {(2, 3, "LOC"), (4, 5, "LOC")}
    # Written in another order, it is found all the same.
    assert parse_answer("LOC: Oslo\nLOC: beat", doc, LABELS) == {(2, 3, "LOC"), (1, 2, "LOC")}


def test_what_is_written_of_unannotated_tokens_does_not_count():
    doc = Doc(VOCAB, words=["Ann", "saw", "Rome"])
    doc.set_ents([Span(doc, 0, 1, label="PER")], missing=[doc[2:3]])
    answer = "PER: Ann\nLOC: saw\nLOC: Rome\nLOC: Oslo"
    found = parse_answer(answer, doc, LABELS)
    assert found == {(0, 1, "PER"), (1, 2, "LOC"), (2, 3, "LOC"), (-4, -4, "LOC")}
    assert leave_out_unannotated(found, doc) == found - {(2, 3, "LOC")}


@pytest.fixture
def corpus(tmp_path):
    docs = [make_doc("Ann saw Rome", (0, 1, "PER"), (2, 3, "LOC")), make_doc("It is gone")]
    DocBin(docs=docs).to_disk(tmp_path / "train.spacy")
    return tmp_path / "train.spacy"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_learns_to_write_the_spans(tmp_path, corpus, decoder_folder):
    output = tmp_path / "scores.json"
    instruction_baseline.main(
        str(decoder_folder), corpus, corpus, output, steps=60, batch=2, learn_rate=0.005
    )
    scores = json.loads(output.read_text())
    assert scores["f1"] == 100.0
    assert scores["documents"] == [[2, 2, 2], [0, 0, 0]]
    assert scores["not_in_text"] == 0
    assert scores["checkpoint_bytes"] > 100_000


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_qlora(tmp_path, corpus, decoder_folder):
    output = tmp_path / "scores.json"
    instruction_baseline.main(
        str(decoder_folder), corpus, corpus, output, steps=2, quantization="nf4", tuning="lora",
        rank=4,
    )  # fmt: skip
    assert json.loads(output.read_text())["checkpoint_bytes"] < 100_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantization": "nf4"}, "Quantized weights cannot be trained: give --tuning lora"),
        ({"quantization": "int8"}, "Expected the quantization none or nf4 and the tuning full"),
    ],
)
def test_settings_are_checked(tmp_path, corpus, options, message):
    with pytest.raises(ValueError, match=message):
        instruction_baseline.main("x", corpus, corpus, tmp_path / "s.json", steps=1, **options)


def test_an_answer_needs_an_end(tmp_path, corpus, monkeypatch):
    tokenizer = type("Tokenizer", (), {"eos_token_id": None})
    monkeypatch.setattr(instruction_baseline, "find_source", lambda name: name)
    monkeypatch.setattr(instruction_baseline, "load_tokenizer", lambda *args: tokenizer)
    with pytest.raises(ValueError, match="The tokenizer of 'x' has no EOS token"):
        instruction_baseline.main("x", corpus, corpus, tmp_path / "s.json", steps=1)
