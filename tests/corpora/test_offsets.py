import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_lgu.corpora import offsets
from spacy_lgu.corpora.jsonl import read_char_jsonl, read_token_jsonl
from spacy_lgu.corpora.offsets import Offsets

from .conftest import read_file


def record(text: str, start: int, end: int, said: str | None) -> str:
    span = {"start": start, "end": end, "label": "P"} | ({"text": said} if said else {})
    return json.dumps({"text": text, "spans": [span]}) + "\n"


def read(tmp_path, content: str, reader=read_char_jsonl, **options):
    return read_file(reader, tmp_path / "a.jsonl", content, **options)


@pytest.mark.parametrize(
    ("offsets", "start", "end"),
    [(None, 2, 5), ("codepoints", 2, 5), ("utf16", 3, 6), ("bytes", 5, 8)],
)
def test_units(tmp_path, offsets, start, end):
    texts, notes = read(tmp_path, record("🎉 Ann ran", start, end, "Ann"), offsets=offsets)
    assert (texts[0].spans, notes) == ([(2, 5, "P")], [])


def test_another_unit_is_named_if_all_spans_of_the_file_fit(tmp_path):
    content = record("Bo ran", 0, 2, "Bo") + record("🎉 Ann ran", 3, 6, "Ann")
    with pytest.raises(
        ValueError, match=r"a\.jsonl: 1 spans .* JavaScript does: give --offsets ut"
    ):
        read(tmp_path, content)
    content += record("Bo ran", 0, 3, "Ann")
    with pytest.raises(ValueError, match=r"2 spans .*Correct these spans, or the text") as error:
        read(tmp_path, content)
    assert str(error.value).split("\n")[1:] == [
        f"{tmp_path / 'a.jsonl'}:2: 'Ann' (P), but at 3 to 6 there is 'nn '.",
        f"{tmp_path / 'a.jsonl'}:3: 'Ann' (P), but at 0 to 3 there is 'Bo '.",
    ]


def test_another_normal_form_of_the_text_is_told(tmp_path):
    content = record("Jose\u0301 ran", 0, 5, "Jos\u00e9") + record("Jos\u00e9", 0, 4, "Jose\u0301")
    with pytest.raises(ValueError, match=r"2 spans") as error:
        read(tmp_path, content)
    lines = str(error.value).split("\n")
    assert lines[1].endswith("The text has it in Unicode's normal form NFD: write both alike.")
    assert lines[2].endswith("The text has it in Unicode's normal form NFC: write both alike.")


def test_white_space_proves_nothing(tmp_path):
    texts, _ = read(tmp_path, record("Ann\nLee ran", 0, 7, "AnnLee"))
    assert texts[0].spans == [(0, 7, "P")]


def test_a_span_behind_the_text(tmp_path):
    with pytest.raises(
        ValueError, match=r"--offsets utf16:\n.*:1: 'Ann' .* there is no such place"
    ):
        read(tmp_path, record("🎉 Ann", 3, 6, "Ann"))
    with pytest.raises(ValueError, match=r"a\.jsonl:1: .*do offsets count utf16 or bytes\? Give"):
        read(tmp_path, record("🎉 Ann", 3, 6, None))


def test_a_border_inside_a_character(tmp_path):
    with pytest.raises(ValueError, match=r"a\.jsonl:1: expected a span of whole characters in a"):
        read(tmp_path, record("🎉 Ann", 1, 6, None), offsets="utf16")


def test_what_is_not_proved_is_reported(tmp_path):
    content = record("🎉 Ann", 2, 5, None) + record("Ann 🎉", 0, 3, None)
    _, notes = read(tmp_path, content)
    assert [note.detail for note in notes] == [f"{tmp_path / 'a.jsonl'}:1: 'Ann'"]
    assert read(tmp_path, content, offsets="codepoints")[1] == []
    # The first span proves it for the file.
    assert read(tmp_path, record("🎉 Bo", 2, 4, "Bo") + content)[1] == []


def test_each_text_is_looked_through_once(tmp_path, monkeypatch):
    looked = []
    monkeypatch.setattr(
        offsets, "max", lambda *a, **k: looked.append(1) or max(*a, **k), raising=False
    )
    spans = [{"start": i, "end": i + 1, "label": "P"} for i in range(50)]
    content = json.dumps({"text": "a" * 40 + "🎉" + "b" * 20, "spans": spans}) + "\n"
    _, notes = read(tmp_path, content)
    assert len(notes) == 10  # those that end behind the emoji
    assert len(looked) < 5


def test_white_space_of_the_said_text_may_differ(tmp_path):
    texts, _ = read(tmp_path, record("Ann\n Lee ran", 0, 8, "Ann Lee"))
    assert texts[0].spans == [(0, 8, "P")]


def test_tokens_against_the_said_text(tmp_path):
    line = (
        '{"tokens": ["Ann", "Lee"], "spans": [{"start": %d, "end": 2, "label": "P", "text": "%s"}]}'
    )
    texts, _ = read(tmp_path, line % (0, "Ann  Lee"), read_token_jsonl)
    assert texts[0].spans == [(0, 2, "P")]
    with pytest.raises(ValueError, match=r"a\.jsonl:1: 'Ann' \(P\), but as tokens 1 to 2 there is"):
        read(tmp_path, line % (1, "Ann"), read_token_jsonl)
    assert read(tmp_path, line % (1, "Ann"), read_token_jsonl, span_text_field="x")[0]


def test_choices(tmp_path):
    with pytest.raises(ValueError, match="--offsets codepoints, utf16, bytes, but got 'chars'"):
        read(tmp_path, "", offsets="chars")
    with pytest.raises(ValueError, match="--ends exclusive or inclusive, but got 'x'"):
        read(tmp_path, "", ends="x")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20), st.data())
def test_every_unit_leads_to_the_same_characters(tmp_path_factory, text, data):
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    for unit, encoding, size in (("utf16", "utf-16-le", 2), ("bytes", "utf8", 1)):
        first, last = (len(text[:i].encode(encoding)) // size for i in (start, end))
        offsets = Offsets(tmp_path_factory.getbasetemp(), unit, print)
        assert offsets.resolve(text, first, last, text[start:end], "a:1", "P") == (start, end)
        assert offsets.length(text) == len(text.encode(encoding)) // size
