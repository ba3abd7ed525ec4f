import pytest

from spacy_lgu.corpora.litbank import read_litbank_entities, read_litbank_events


def ignore(note):
    raise AssertionError(note)


def test_columns_are_layers_of_nesting(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text(
        "Ann\tB-PER\tB-PER\tO\t\n's\tO\tI-PER\tO\t\nson\tO\tI-PER\tO\t\n\nran\tO\tO\tO\t\n",
        encoding="utf8",
    )
    texts = list(read_litbank_entities(path, report=ignore))
    assert [text.words for text in texts] == [["Ann", "'s", "son"], ["ran"]]
    assert [text.spans for text in texts] == [[(0, 3, "PER"), (0, 1, "PER")], []]
    assert {text.document for text in texts} == {str(path)}


def test_each_layer_must_be_iob2(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("a\tO\tO\nb\tO\tI-PER\n", encoding="utf8")
    with pytest.raises(ValueError, match=r"a\.tsv:2: column 2 is not iob2: I-PER follows O"):
        list(read_litbank_entities(path, report=ignore))


def test_adjacent_events_are_two(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("she\tO\nran\tEVENT\nfell\tEVENT\n", encoding="utf8")
    (text,) = read_litbank_events(path, report=ignore)
    assert text.spans == [(1, 2, "EVENT"), (2, 3, "EVENT")]


@pytest.mark.parametrize("tags", ["B-PER", "O\tO"])
def test_events_have_one_column_of_two_tags(tmp_path, tags):
    path = tmp_path / "a.tsv"
    path.write_text(f"she\t{tags}\n", encoding="utf8")
    with pytest.raises(ValueError, match=r"a\.tsv:1: expected the tag O or EVENT, but found \["):
        list(read_litbank_events(path, report=ignore))
