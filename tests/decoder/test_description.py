import pytest

from spacy_lgu.decoder.verification import verify_decoder

from .helpers import edit_json, restore


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff"])
def test_broken_json(saved, content):
    built, folder = saved
    (folder / "lgu.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"lgu\.json' is damaged: .*Copy it again from"):
        restore(folder, built)
    with pytest.raises(ValueError, match=r"lgu\.json' is damaged"):
        verify_decoder(folder)


def test_newer_format(saved):
    built, folder = saved
    edit_json(folder / "lgu.json", format=3, spacy_lgu="9.0")
    with pytest.raises(ValueError, match=r"saved in format 3 by spacy-lgu '9\.0'.*spacy-lgu==9\.0"):
        restore(folder, built)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tuning": "full"}, "tuning = 'full' does not go with base_weights = 'bundle'"),
        ({"bundle": None}, "'bundle' is missing"),
        ({"files": None}, "'files' is missing"),
        ({"dtype": "float64"}, "expected one of .*, float16 in 'dtype', but found 'float64'"),
        ({"width": "64"}, "expected a whole number in 'width', but found '64'"),
        ({"heads": ["ner"]}, "its checksum does not match its content.*--record` accepts that"),
    ],
)
def test_description_that_is_wrong(saved, values, message):
    built, folder = saved
    edit_json(folder / "lgu.json", **values)
    with pytest.raises(ValueError, match=rf"lgu\.json' is damaged: {message}"):
        restore(folder, built)


@pytest.mark.parametrize("field", ["files", "bundle", "pipeline"])
@pytest.mark.parametrize("name", ["/etc/hostname", "../../x", "ner/../../x"])
def test_record_of_files_elsewhere(saved, field, name):
    built, folder = saved
    edit_json(folder / "lgu.json", **{field: {name: {"bytes": 1, "sha256": ""}}})
    message = f"lgu.json' is damaged: the file '{name}' in '{field}' is outside the save"
    with pytest.raises(ValueError, match=message):
        restore(folder, built)
    with pytest.raises(ValueError, match=message):
        verify_decoder(folder)
