"""Tags to spans. In hypothesis tests, spans are written out as tags and read again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_lgu.corpora.records import LabeledSpan
from spacy_lgu.corpora.schemes import (
    check_scheme,
    decode_tags,
    detect_scheme,
    find_fault,
    find_needless,
    split_tag,
)

LABELS = ("PER", "creative-work", "O", "B")
LETTERS = {"iobes": "IES", "bilou": "ILU", "bmes": "MES", "bmewo": "MEW"}
Sentence = list[tuple[int, str]]  # length and label of each piece, an empty label outside


@st.composite
def sentences(draw) -> Sentence:
    return draw(st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["", *LABELS])), max_size=8))


def to_spans(sentence: Sentence) -> list[LabeledSpan]:
    spans, start = [], 0
    for length, label in sentence:
        if label:
            spans.append(LabeledSpan(start, start + length, label))
        start += length
    return spans


def to_tags(sentence: Sentence, scheme: str) -> list[str]:
    """The tags of a sentence, by the definition of each scheme."""
    tags = []
    before = ""
    for length, label in sentence:
        if not label:
            tags += ["O"] * length
        elif scheme == "iob2":
            tags += [f"B-{label}"] + [f"I-{label}"] * (length - 1)
        elif scheme == "iob1":
            first = "B" if before == label else "I"
            tags += [f"{first}-{label}"] + [f"I-{label}"] * (length - 1)
        elif scheme == "io":
            tags += [f"I-{label}"] * length
        else:
            inside, last, single = LETTERS[scheme]
            if length == 1:
                tags += [f"{single}-{label}"]
            else:
                tags += [f"B-{label}"] + [f"{inside}-{label}"] * (length - 2) + [f"{last}-{label}"]
        before = label
    return tags


def detect(tags: list[str]) -> str:
    return detect_scheme([(range(1, len(tags) + 1), tags)], "a.txt")


@given(sentences(), st.sampled_from(["iob1", "iob2", *LETTERS]))
def test_spans_survive_their_tags(sentence, scheme):
    tags = to_tags(sentence, scheme)
    assert find_fault(tags, scheme) is None
    assert decode_tags(tags) == to_spans(sentence)


@given(sentences(), st.sampled_from(["iob1", "iob2", *LETTERS]))
def test_detected_scheme_is_right_or_equivalent(sentence, scheme):
    tags = to_tags(sentence, scheme)
    if to_spans(sentence):
        assert find_fault(tags, detect(tags)) is None
        assert to_tags(sentence, detect(tags)) == tags
    assert decode_tags(tags) == to_spans(sentence)


@given(sentences())
def test_io_merges_adjacent_spans_of_one_label(sentence):
    merged: list[LabeledSpan] = []
    for span in to_spans(sentence):
        if merged and merged[-1].end == span.start and merged[-1].label == span.label:
            span = LabeledSpan(merged.pop().start, span.end, span.label)
        merged.append(span)
    tags = to_tags(sentence, "io")
    assert find_fault(tags, "io") is None
    assert decode_tags(tags) == merged


@given(st.lists(st.sampled_from([f"{p}-{x}" for p in "BIESLUMW" for x in "XY"] + ["O", "X"])))
def test_a_sequence_without_fault_is_what_its_spans_are_written_as(tags):
    for scheme in ("iob2", *LETTERS):
        if find_fault(tags, scheme) is None:
            sentence: Sentence = []
            end = 0
            for span in decode_tags(tags):
                sentence += [(1, "")] * (span.start - end)
                sentence.append((span.end - span.start, span.label))
                end = span.end
            sentence += [(1, "")] * (len(tags) - end)
            assert to_tags(sentence, scheme) == tags


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("O I-PER I-PER B-PER", [(1, 3, "PER"), (3, 4, "PER")]),
        ("O B-PER I-PER B-PER", [(1, 3, "PER"), (3, 4, "PER")]),
        ("O B-PER E-PER S-PER", [(1, 3, "PER"), (3, 4, "PER")]),
        ("O B-PER L-PER U-PER", [(1, 3, "PER"), (3, 4, "PER")]),
        ("B-PER M-PER E-PER S-PER", [(0, 3, "PER"), (3, 4, "PER")]),
        ("B-PER M-PER E-PER W-PER", [(0, 3, "PER"), (3, 4, "PER")]),
        ("O I-PER I-PER I-PER", [(1, 4, "PER")]),
        ("O PER PER LOC", [(1, 3, "PER"), (3, 4, "LOC")]),
        ("I-A I-B O", [(0, 1, "A"), (1, 2, "B")]),
        ("", []),
    ],
)
def test_decode(tags, spans):
    assert decode_tags(tags.split()) == spans


@pytest.mark.parametrize(
    ("scheme", "tags", "place", "message"),
    [
        ("iob2", "O I-A", 1, "I-A follows O, but a span begins with B-A"),
        ("iob2", "B-A I-B", 1, "I-B follows B-A, but a span begins with B-B"),
        ("iob2", "S-A", 0, "S-A is not O and does not begin with one of B-, I-"),
        ("iob1", "B-A A", 1, "A is not O and does not begin with one of B-, I-"),
        ("io", "I-A B-A", 1, "B-A is not O and does not begin with one of I-"),
        ("iobes", "B-A O", 1, "O follows B-A, but a span ends with E-A"),
        ("iobes", "B-A I-A S-A", 2, "S-A follows I-A, but a span ends with E-A"),
        ("iobes", "B-A E-B", 1, "E-B follows B-A, but a span ends with E-A"),
        ("iobes", "S-A I-A", 1, "I-A follows S-A, but a span begins with B-A"),
        ("iobes", "O B-A", 1, "the sentence ends inside the span of B-A"),
        ("bilou", "L-A", 0, "L-A follows O, but a span begins with B-A"),
        ("bilou", "B-A I-A", 1, "the sentence ends inside the span of I-A"),
        ("iobes", "B-A E-A I-A", 2, "I-A follows E-A, but a span begins with B-A"),
        ("iobes", "B-A M-A E-A", 1, "M-A is not O and does not begin with one of B-, I-, E-, S-"),
        ("bmes", "B-A I-A E-A", 1, "I-A is not O and does not begin with one of B-, M-, E-, S-"),
        ("bmes", "B-A M-B E-A", 1, "M-B follows B-A, but a span ends with E-A"),
        ("bmes", "O M-A E-A", 1, "M-A follows O, but a span begins with B-A"),
        ("bmes", "B-A M-A", 1, "the sentence ends inside the span of M-A"),
        ("bmewo", "S-A", 0, "S-A is not O and does not begin with one of B-, M-, E-, W-"),
        ("brackets", "* *)", 1, "*) closes a span, but none is open"),
        ("bare", "A B-A", 1, "B-A has a prefix"),
        ("bare", "A  O", 1, "the tag is empty"),
    ],
)
def test_faults(scheme, tags, place, message):
    assert find_fault(tags.split(" "), scheme) == (place, message)


@pytest.mark.parametrize(
    ("tag", "parts"),
    [
        ("O", ("O", "")),
        ("B-creative-work", ("B", "creative-work")),
        ("T-POS", ("", "T-POS")),
        ("B-", ("", "B-")),
    ],
)
def test_split_tag(tag, parts):
    assert split_tag(tag) == parts


def test_no_span_at_all_is_iob2():
    assert detect(["O", "O"]) == "iob2"


def test_bare_labels_are_not_detected():
    with pytest.raises(ValueError, match=r"not valid in any scheme(.|\n)*--scheme, which is bare"):
        detect(["PER", "O"])


def test_each_scheme_is_refused_with_its_line():
    with pytest.raises(ValueError, match=r"not valid in any scheme") as error:
        detect(["B-A", "O", "I-A", "O"])
    assert str(error.value).split("\n")[1:-1] == [
        "a.txt:3: not iob2: I-A follows O, but a span begins with B-A",
        "a.txt:1: not iob1: here, and in 0 more of 2 spans, B- does not follow a span of the same "
        "label",
        "a.txt:2: not iobes: O follows B-A, but a span ends with E-A",
        "a.txt:2: not bilou: O follows B-A, but a span ends with L-A",
        "a.txt:2: not bmes: O follows B-A, but a span ends with E-A",
        "a.txt:2: not bmewo: O follows B-A, but a span ends with E-A",
        "a.txt:1: not brackets: B-A is not one of *, (LABEL*, *) and (LABEL)",
    ]


def test_needless_begins_of_iob1():
    assert find_needless(["B-A", "I-A", "B-A", "O", "B-B", "I-A", "B-B"]) == [0, 4, 6]


def test_iob1_may_have_one_needless_begin_in_a_hundred_spans():
    assert detect(["I-A", "O"] * 99 + ["B-A"]) == "iob1"
    with pytest.raises(ValueError, match=r"a.txt:197: not iob1: here, and in 0 more of 99 spans"):
        detect(["I-A", "O"] * 98 + ["B-A"])


def test_schemes_by_name():
    assert check_scheme("BIOES") == "iobes"
    assert check_scheme("BILUO") == "bilou"
    assert check_scheme("BMESO") == check_scheme("BMOES") == "bmes"
    assert check_scheme("IOB1") == "iob1"
    with pytest.raises(ValueError, match=r"iob2, iob1, iobes, .*, io, bare \(or .*got 'iob'"):
        check_scheme("iob")
