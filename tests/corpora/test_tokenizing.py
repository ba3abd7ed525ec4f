import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st

from spacy_lgu.corpora.records import AnnotatedText, LabeledSpan, TokenizedText
from spacy_lgu.corpora.tokenizing import tokenize_texts, trim_spans

NLP = spacy.blank("en")
TEXT = "The U.S.-based cooks left"  # The | U.S.-based | cooks | left


def align(text: str, *spans: tuple[int, int, str], misaligned: str = "error"):
    notes = []
    annotated = AnnotatedText("a.jsonl:1", text, [LabeledSpan(*span) for span in spans])
    (tokenized,) = tokenize_texts(
        [annotated], NLP.make_doc, report=notes.append, misaligned=misaligned
    )
    return tokenized, notes


def test_aligned_spans():
    text, notes = align("Ann  ran, fast.", (0, 3, "PER"), (5, 8, "V"), (5, 14, "VP"))
    assert text.words == ["Ann", " ", "ran", ",", "fast", "."]
    assert text.spaces == [True, False, False, True, False, False]
    assert text.spans == [(0, 1, "PER"), (2, 3, "V"), (2, 5, "VP")]
    assert (text.is_sentence, notes) == (False, [])


def test_misaligned_spans_are_all_listed():
    texts = [
        AnnotatedText("a:1", "Annabel", [LabeledSpan(0, 3, "P")]),
        AnnotatedText("a:2", "Bo ran", [LabeledSpan(0, 2, "P"), LabeledSpan(0, 3, "P")]),
    ]
    with pytest.raises(ValueError, match="these 2 do not") as error:
        list(tokenize_texts(texts, NLP.make_doc, report=print))
    assert str(error.value).split("\n")[1:] == [
        "a:1: 'Ann' (P) in ...'Annabel'...",
        "a:2: 'Bo ' (P) in ...'Bo ran'...",
    ]


CONTEXT = "a.jsonl:1: 'based cooks' (X) in ...'The U.S.-based cooks left'..."


@pytest.mark.parametrize(
    ("misaligned", "words", "spans", "notes"),
    [
        (
            "split",
            ["The", "U.S.-", "based", "cooks", "left"],
            [(2, 4, "X")],
            [
                (
                    "token divided at the border of a span, kept by the reader "
                    "spacy-lgu.gold_tokens.v1",
                    "a.jsonl:1: 'U.S.-based' -> 'U.S.-' 'based'",
                )
            ],
        ),
        (
            "expand",
            ["The", "U.S.-based", "cooks", "left"],
            [(1, 3, "X")],
            [("misaligned span changed", f"{CONTEXT} -> 'U.S.-based cooks'")],
        ),
        (
            "contract",
            ["The", "U.S.-based", "cooks", "left"],
            [(2, 3, "X")],
            [("misaligned span changed", f"{CONTEXT} -> 'cooks'")],
        ),
        (
            "drop",
            ["The", "U.S.-based", "cooks", "left"],
            [],
            [("misaligned span dropped", CONTEXT)],
        ),
    ],
)
def test_misaligned_spans(misaligned, words, spans, notes):
    text, found = align(TEXT, (9, 20, "X"), misaligned=misaligned)
    assert (text.words, text.spans, found) == (words, spans, notes)


def test_contracted_to_nothing():
    text, notes = align(TEXT, (5, 8, "X"), misaligned="contract")
    assert text.spans == []
    assert notes[0].kind == "misaligned span dropped"


@pytest.mark.parametrize(("borders", "found"), [((1, 8), "bar"), ((0, 7), "foo"), ((1, 6), None)])
def test_contracted_spans_have_no_outer_white_space(borders, found):
    # foo | " " | bar: with two spaces, the second one is a token.
    text, notes = align("foo  bar", (*borders, "X"), misaligned="contract")
    assert [text.words[span.start : span.end] for span in text.spans] == [[found]] * bool(found)
    assert len(notes) == 1


@pytest.mark.parametrize("misaligned", ["split", "expand", "contract"])
@pytest.mark.parametrize("borders", [(3, 8), (4, 9), (3, 9), (4, 8)])
def test_outer_white_space_is_no_part_of_a_span(misaligned, borders):
    # The | " " | cook | " " | left: with two spaces, the second one is a token.
    text, notes = align("The cook  left", (*borders, "X"), misaligned=misaligned)
    assert text.words == ["The", "cook", " ", "left"]
    assert text.spans == [(1, 2, "X")]
    assert [note.kind for note in notes] == ["misaligned span changed"] * (borders != (4, 8))


@pytest.mark.parametrize("misaligned", ["split", "expand", "contract", "drop"])
def test_nothing_but_white_space_is_dropped(misaligned):
    for start, end in ((3, 5), (4, 5)):
        text, notes = align("The  cook", (start, end, "X"), misaligned=misaligned)
        assert (text.spans, [note.kind for note in notes]) == ([], ["misaligned span dropped"])


def test_spans_inside_one_token():
    text, _ = align("unfoldable", (0, 2, "A"), (2, 6, "B"), (0, 6, "C"), misaligned="split")
    assert text.words == ["un", "fold", "able"]
    assert text.spaces == [False, False, False]
    assert text.spans == [(0, 1, "A"), (1, 2, "B"), (0, 2, "C")]


SPACED = ["Mira", "\u00a0", "ran", "\u3000", "\n"]  # the first in "Mira ran", the last two outside


def trim(*spans: tuple[int, int, str], misaligned: str = "error"):
    notes = []
    text = TokenizedText(
        "a:1", SPACED, [LabeledSpan(*span) for span in spans], "d", spaces=[True] * 4
    )
    (trimmed,) = trim_spans([text], report=notes.append, misaligned=misaligned)
    assert (trimmed.words, trimmed.spaces) == (SPACED, [True] * 4)
    return trimmed.spans, notes


def test_gold_spans_of_words():
    assert trim((0, 3, "P"), (2, 3, "V")) == ([(0, 3, "P"), (2, 3, "V")], [])


def test_gold_spans_with_outer_white_space_are_all_listed():
    with pytest.raises(ValueError, match=r"these 2 do\. Correct them, or give --mis") as error:
        trim((0, 2, "P"), (2, 3, "V"), (3, 5, "X"))
    assert str(error.value).split("\n")[1:] == [
        'a:1: ["Mira", "\u00a0"] (P)',
        'a:1: ["\u3000", "\\n"] (X)',
    ]


@pytest.mark.parametrize("misaligned", ["split", "expand", "contract"])
def test_outer_white_space_of_gold_spans_is_trimmed(misaligned):
    spans, notes = trim((0, 2, "P"), (1, 5, "V"), (3, 5, "X"), misaligned=misaligned)
    assert spans == [(0, 1, "P"), (2, 3, "V")]
    assert [note.kind for note in notes] == [
        "misaligned span changed",
        "misaligned span changed",
        "misaligned span dropped",
    ]
    assert notes[0].detail == 'a:1: ["Mira", "\u00a0"] (P) -> ["Mira"]'


def test_gold_spans_with_outer_white_space_are_dropped():
    spans, notes = trim((0, 2, "P"), (0, 3, "V"), misaligned="drop")
    assert (spans, len(notes)) == ([(0, 3, "V")], 1)


def test_long_lists_and_quotes_are_cut():
    spans = [LabeledSpan(0, 2000, "P" * 1000)] * 1005
    texts = [AnnotatedText("a:1", "a" * 4000, spans)]
    with pytest.raises(ValueError, match="these 1005 do not") as error:
        list(tokenize_texts(texts, NLP.make_doc, report=print))
    lines = str(error.value).split("\n")
    assert (len(lines), lines[-1]) == (1002, "... and 5 more")
    assert max(map(len, lines)) < 800


def test_choices():
    with pytest.raises(ValueError, match=r"one of error, .*'strict'"):
        list(trim_spans([], report=print, misaligned="strict"))
    with pytest.raises(ValueError, match=r"one of error, split, expand, contract, drop .*'strict'"):
        align("a", misaligned="strict")


@given(st.text(min_size=1, max_size=30), st.data())
def test_split_loses_neither_text_nor_span(text, data):
    borders = st.integers(0, len(text))
    pairs = data.draw(st.lists(st.tuples(borders, borders), max_size=4))
    spans = [(*sorted(pair), "X") for pair in pairs if text[min(pair) : max(pair)].strip()]
    tokenized, _ = align(text, *spans, misaligned="split")
    doc = spacy.tokens.Doc(NLP.vocab, words=tokenized.words, spaces=tokenized.spaces)
    assert doc.text == text
    assert [doc[start:end].text for start, end, _ in tokenized.spans] == [
        text[start:end].strip() for start, end, _ in spans
    ]
