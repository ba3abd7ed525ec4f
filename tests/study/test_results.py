"""Results of runs as JSON lines: cut off, damaged, compressed."""

import lzma

import pytest

from spacy_lgu.study.results import append_result, prepare_results, read_results


def test_a_result_that_was_cut_off_is_left_out(tmp_path, capsys):
    path = tmp_path / "results.jsonl"
    path.write_text('{"f1": 1.0}\n{"f1":')
    assert read_results(path) == [{"f1": 1.0}]
    assert "results.jsonl: the last line was cut off and is left out" in capsys.readouterr().err
    append_result(path, {"f1": 2.0})
    assert path.read_text() == '{"f1": 1.0}\n{"f1": 2.0}\n'
    for whole in ('{"f1": 1.0}', '{"f1": 1.0}\n'):
        path.write_text(whole)
        append_result(path, {"f1": 2.0})
        assert path.read_text() == '{"f1": 1.0}\n{"f1": 2.0}\n'
    path.write_text('{"f1"')
    append_result(path, {"f1": 2.0})
    assert path.read_text() == '{"f1": 2.0}\n'
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "line", [b'{"f1":', b"\xff", b'{"f1": {"f1": 2.0}', b"3", b"[1]", b'{"text": "a"}']
)
def test_a_damaged_line_among_others_is_named(tmp_path, line):
    path = tmp_path / "results.jsonl"
    path.write_bytes(b'{"f1": 1.0}\n' + line + b'\n{"f1": 2.0}\n')
    with pytest.raises(ValueError, match=r"results\.jsonl:2: expected a result as JSON"):
        read_results(path)


def test_results_are_added_and_read_compressed_or_not(tmp_path):
    path, compressed = tmp_path / "results.jsonl", tmp_path / "results.jsonl.xz"
    entries = [{"task": "names", "f1": 80.5}, {"task": "größe", "f1": 0.0}]
    assert read_results(path) == []
    for entry in entries:
        append_result(path, entry)
    assert read_results(path) == entries
    compressed.write_bytes(lzma.compress(path.read_bytes()))
    assert read_results(compressed) == entries
    compressed.write_bytes(compressed.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"results\.jsonl\.xz is damaged or cut off"):
        read_results(compressed)


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_run(tmp_path):
    (tmp_path / "file").touch()
    for path, kind in ((tmp_path / "file" / "a.jsonl", FileExistsError), (tmp_path, OSError)):
        with pytest.raises(kind):
            prepare_results(path)
    prepare_results(tmp_path / "new" / "a.jsonl")
    assert read_results(tmp_path / "new" / "a.jsonl") == []
