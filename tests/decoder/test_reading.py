import pytest

from spacy_lgu.decoder import reading
from spacy_lgu.decoder.reading import find_inside, read_json, take


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Expecting value: line 1 column 1"),
        (b"{", "Expecting property name"),
        (b'{"a": "\xff"}', "can't decode byte 0xff"),
        (b"[1, 2]", r"expected a JSON object, but found \[1, 2\]"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "Exceeds the limit"),
    ],
)
def test_damaged_json_names_its_file(tmp_path, content, message):
    file = tmp_path / "x.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"x\.json' is damaged: .*{message}") as caught:
        read_json(file)
    assert len(str(caught.value)) < 500


def test_large_json_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_MAX_BYTES", 1000)
    (tmp_path / "x.json").write_text("{}" + " " * 999)
    with pytest.raises(ValueError, match="it has 1,001 bytes, more than 1,000"):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize("value", [True, "8", None, [8], {"a": 8}, 8.0])
def test_field_of_another_type(tmp_path, value):
    with pytest.raises(ValueError, match=r"x' is damaged: expected a whole number in 'n', but f"):
        take({"n": value}, "n", (int,), tmp_path / "x")


def test_missing_field(tmp_path):
    with pytest.raises(ValueError, match=r"expected an object or null in 'n', but found 3"):
        take({"n": 3}, "n", (dict, None), tmp_path / "x")
    with pytest.raises(ValueError, match=r"expected a string in 'n', but found no such field"):
        take({}, "n", (str,), tmp_path / "x")
    assert take({}, "n", (str, None), tmp_path / "x") is None


@pytest.mark.parametrize("name", ["", "../y", "/etc/passwd", "a/../../y", "link", "dir/y", "a\\b"])
def test_names_that_lead_elsewhere(tmp_path, name):
    folder = tmp_path / "x"
    (folder / "a").mkdir(parents=True)
    (tmp_path / "y").write_text("")
    (folder / "link").symlink_to(tmp_path / "y")
    (folder / "dir").symlink_to(tmp_path)
    with pytest.raises(ValueError, match=r"lgu\.json' is damaged: the file .* is not inside"):
        find_inside(folder, name, named_in=folder / "lgu.json")


def test_names_that_lead_inside(tmp_path):
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "y").write_text("")
    (folder / "link").symlink_to("y")
    (tmp_path / "other").symlink_to(folder)
    for name in ("y", "link", "a/b", "a/../y"):
        assert find_inside(folder, name, named_in=folder) == folder / name
    assert find_inside(tmp_path / "other", "y", named_in=folder) == tmp_path / "other" / "y"


def test_files_of_the_cache_are_links_to_its_blobs(tmp_path):
    blobs = tmp_path / "models--org--x" / "blobs"
    snapshot = tmp_path / "models--org--x" / "snapshots" / "1" / "transformer"
    for folder in (blobs, snapshot):
        folder.mkdir(parents=True)
    (snapshot / "y").symlink_to(blobs / "123")
    assert find_inside(snapshot, "y", named_in=snapshot) == snapshot / "y"
    (snapshot / "z").symlink_to(tmp_path / "models--org--y")
    with pytest.raises(ValueError, match="'z' is not inside"):
        find_inside(snapshot, "z", named_in=snapshot)
