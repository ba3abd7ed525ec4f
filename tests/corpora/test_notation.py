import pytest

from spacy_lgu.corpora.notation import find_notation, looks_outside


def read(tags: str, **options):
    """The spans and notes of a sentence, its tags in lines from 1 on."""
    sentence = (range(1, len(tags.split(" ")) + 1), tags.split(" "))
    notes = []
    notation = find_notation([sentence], "a.txt", report=notes.append, **options)
    return notation.decode(*sentence, notes.append), notes


SPANS = [(1, 3, "PER"), (3, 4, "LOC")]


@pytest.mark.parametrize(
    "tags",
    [
        "O B-PER I-PER B-LOC",
        "o b-PER i-PER b-LOC",
        "O B-PER i-PER b-LOC",
        "O B_PER I_PER B_LOC",
        "O B:PER I:PER B:LOC",
        "O B/PER I/PER B/LOC",
        "O PER-B PER-I LOC-B",
        "O PER_b PER_i LOC_b",
        "O B-PER E-PER S-LOC",
        "O PER_B PER_E LOC_S",
        "O B-PER E-PER W-LOC",
        "o b.PER l.PER u.LOC",
    ],
)
def test_spellings_of_one_annotation(tags):
    assert read(tags)[0] == SPANS


def test_another_spelling_is_reported():
    _, notes = read("o PER_B PER_I LOC_B")
    assert notes == [
        ("tag read as another", "a.txt: 'PER_B' -> 'B-PER'"),
        ("tag read as another", "a.txt: 'PER_I' -> 'I-PER'"),
        ("tag read as another", "a.txt: 'LOC_B' -> 'B-LOC'"),
        ("tag scheme detected: iob2", "a.txt"),
    ]


@pytest.mark.parametrize("marker", ["_", "0", "-", "*", "", "OUT", "-100", "\u041e", "O", "x"])
def test_markers_of_tokens_outside(marker):
    assert read(f"{marker} B-PER I-PER B-LOC", outside=marker)[0] == SPANS
    assert read(f"{marker} PER PER LOC", scheme="bare", outside=marker)[0] == SPANS


@pytest.mark.parametrize("marker", ["_", "0", "-", "OUT", "none", "\u041e"])
def test_markers_of_tokens_outside_must_be_given(marker):
    message = f"a\\.txt:1: the tag '{marker}' .* Give --outside '{marker}' if"
    with pytest.raises(ValueError, match=message):
        read(f"{marker} B-PER I-PER B-LOC")
    with pytest.raises(ValueError, match=message + " it is one, or --outside O if it is a label"):
        read(f"{marker} PER PER LOC", scheme="bare")
    assert read(f"O {marker}", scheme="bare", outside="O")[0] == [(1, 2, marker)]


def test_tags_without_label():
    assert read("O B I b", label="PER")[0] == [(1, 3, "PER"), (3, 4, "PER")]
    with pytest.raises(ValueError, match=r"a\.txt:2: the tag 'B' has no label.*--label NAME"):
        read("O B I B")
    assert read("O B L O", scheme="bare", outside="O")[0] == [(1, 2, "B"), (2, 3, "L")]


def test_that_each_token_has_a_label_is_reported():
    kind = "no tag for tokens outside: each has a label (or give --outside)"
    assert read("NN VB", scheme="bare") == ([(0, 1, "NN"), (1, 2, "VB")], [(kind, "a.txt")])


@pytest.mark.parametrize(
    ("tags", "options", "message"),
    [
        ("O B-X B_X", {}, r"not valid in any scheme(.|\n)*a\.txt:3: not iob2: B_X is not O"),
        ("O B-X B_X", {"scheme": "iob2"}, r"a\.txt:3: not iob2: B_X is not O and does not begin"),
        ("O B_X X_I", {"scheme": "iob2"}, r"a\.txt:2: not iob2: B_X is not O"),
        ("O PER", {}, r"not valid in any scheme(.|\n)*which is bare for labels without prefix"),
        ("O B I", {"scheme": "bare"}, r"a\.txt:2: the tag 'B' and all others .*\(B, I\).*--label"),
        ("O B_X I_X", {"scheme": "bare"}, r"a\.txt:2: the tag 'B_X' and all others .* prefixes"),
        ("O B-X", {"scheme": "bare"}, r"a\.txt:2: not bare: B-X has a prefix"),
        ("O name=B-X|A=1", {"scheme": "bare"}, r"a\.txt:2: 'name=B-X\|A=1' looks like more"),
        (
            "_ X O",
            {"scheme": "bare", "outside": "_"},
            r"a\.txt:3: .*'_'.* found O as well",
        ),
        ("O name=B-X|A=1", {}, r"a\.txt:2: 'name=B-X\|A=1' looks like more than a tag"),
        ("0 2 1", {"scheme": "bare"}, r"a\.txt:1: the tag 0 and all others of the column are num"),
        ("O PER[1]", {"scheme": "bare"}, r"a\.txt:2: 'PER\[1\]' .*webanno-tsv for numbers"),
        ("O", {"scheme": "x"}, r"Expected one of the tag schemes"),
    ],
)
def test_what_could_be_meant_in_two_ways_is_an_error(tags, options, message):
    with pytest.raises(ValueError, match=message):
        read(tags, **options)


@pytest.mark.parametrize("tag", ["PER", "1", "B-0", "S", "OTHER", "NO_FAULT", "\u65e0"])
def test_labels_look_like_no_marker(tag):
    assert not looks_outside(tag)
