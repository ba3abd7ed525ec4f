import gzip
import json
import lzma
import tracemalloc

import numpy
import pytest
import torch

from spacy_lgu import inputs
from spacy_lgu.pretraining.text import TextStream, WindowStream, read_texts, special_subtokens
from tests.conftest import make_tokenizer

CPU = torch.device("cpu")


def write_lines(path, lines):
    path.write_text("".join(line + "\n" for line in lines), encoding="utf8")
    return path


def documents(path, *names):
    return write_lines(path, [json.dumps({"text": name}) for name in names])


def test_reads_plain_and_compressed_files(tmp_path, text_file):
    plain = documents(tmp_path / "a.jsonl", "één", "zwei")
    assert list(read_texts(plain)) == ["één", "zwei"]
    with gzip.open(tmp_path / "a.jsonl.gz", "wt", encoding="utf8") as stream:
        stream.write(plain.read_text(encoding="utf8") + "\n")
    assert list(read_texts(tmp_path / "a.jsonl.gz")) == ["één", "zwei"]
    assert len(list(read_texts(text_file))) == 40


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"a\.jsonl:2: expected JSON, but at column 2"),
        ("Ann ran", r"a\.jsonl:2: there is no text: expected a JSON object .*but got 'Ann ran'"),
        ('"text"', r"a\.jsonl:2: there is no text: expected a JSON object"),
        ('{"tokens": ["a"]}', "there is no text"),
        ('{"text": 3}', "there is no text"),
        (
            r'{"text": "a\ud83d"}',
            r"a\.jsonl:2: expected UTF-8 without lone surrogates, .* character 1 .* '\\ud83d'",
        ),
        ('{"text": "a", "text": "b"}', r"a\.jsonl:2: .* the key 'text' occurs twice"),
        ('{"text": "a", "x": %s}' % ("[" * 5000), r"a\.jsonl:2: .* nested too deeply"),
        ('{"text": "a", "x": %s}' % ("9" * 5000), r"a\.jsonl:2: .*9'\.\.\. is too large"),
        ('{"text": "a", "x": -1e999}', r"a\.jsonl:2: .* number '-1e999' is too large"),
        ('{"text": "a", "x": NaN}', r"a\.jsonl:2: .* NaN is not a JSON number"),
    ],
)
def test_a_line_without_text_is_named(tmp_path, line, message):
    path = write_lines(tmp_path / "a.jsonl", ['{"text": "a"}', line])
    with pytest.raises(ValueError, match=message):
        list(read_texts(path))


def test_a_file_in_another_encoding(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"text": "a"}\n{"text": "über"}\n'.encode("latin1"))
    with pytest.raises(ValueError, match=r"a\.jsonl:2: expected UTF-8 without lone surrogates"):
        list(read_texts(path))


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_a_file_that_is_cut_off(tmp_path, suffix, compress):
    path = tmp_path / f"a.jsonl{suffix}"
    content = compress(b'{"text": "a"}\n' * 3)
    for damaged in (content[:-4], b"no " + content):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"{suffix}:\d: damaged or cut off here"):
            list(read_texts(path))


@pytest.mark.parametrize(("suffix", "open_"), [(".gz", gzip.open), (".xz", lzma.open)])
def test_a_small_file_that_unpacks_to_a_long_line(tmp_path, suffix, open_, monkeypatch):
    monkeypatch.setattr(inputs, "MAX_BYTES", 1000)
    path = tmp_path / f"a.jsonl{suffix}"
    with open_(path, "wb") as stream:
        stream.write(b'{"text": "a"}\n{"text": "')
        for _ in range(100):
            stream.write(b"a" * 100_000)
    texts = read_texts(path)
    assert next(texts) == "a"
    tracemalloc.start()
    with pytest.raises(ValueError, match=rf"{suffix}:2: expected a line of at most 1,000 bytes"):
        next(texts)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000  # of 10,000,000
    tracemalloc.stop()


def test_byte_order_marks(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('\ufeff{"text": "a"}\n', encoding="utf8")
    assert list(read_texts(path)) == ["a"]
    path.write_text('{"text": "a"}\n', encoding="utf16")
    with pytest.raises(ValueError, match=r"a\.jsonl:1: expected UTF-8, but the file is UTF-16"):
        list(read_texts(path))


def test_several_compressed_streams_in_one_file(tmp_path):
    texts = ["a", "b" * 200_000, "c", "d"]
    lines = [(json.dumps({"text": text}) + "\n").encode() for text in texts]
    first, second, third = (
        lzma.compress(content) for content in (lines[0] + lines[1], lines[2], lines[3].strip())
    )
    path = tmp_path / "a.jsonl.xz"
    path.write_bytes(first + second + b"\0" * 8 + third + b"\0" * 4)
    assert list(read_texts(path)) == texts
    damaged = bytearray(second)
    damaged[20] ^= 255
    path.write_bytes(first + damaged + third)
    with pytest.raises(ValueError, match=r"\.xz:3: damaged or cut off here"):
        list(read_texts(path))


def test_one_document_of_each_file_in_turn_and_each_starts_over(tmp_path):
    long = documents(tmp_path / "long.jsonl", "a", "b", "c")
    short = documents(tmp_path / "short.jsonl", "x")
    stream = TextStream([long, short])
    assert [stream.next() for _ in range(8)] == ["a", "x", "b", "x", "c", "x", "a", "x"]


@pytest.mark.parametrize("n", range(9))
def test_text_goes_on_where_it_stopped(tmp_path, n):
    paths = [documents(tmp_path / "1.jsonl", *"abc"), documents(tmp_path / "2.jsonl", *"xyzw")]
    stream = TextStream(paths)
    for _ in range(n):
        stream.next()
    state = json.loads(json.dumps(stream.state()))
    expected = [stream.next() for _ in range(12)]
    resumed = TextStream(paths)
    resumed.restore(state)
    assert [resumed.next() for _ in range(12)] == expected


def test_other_files_than_the_run_was_begun_with(tmp_path):
    one = documents(tmp_path / "1.jsonl", "a")
    with pytest.raises(
        ValueError,
        match=r"begun with the text files .* but is continued with \[\['1.jsonl', 14, '\w{12}'\]\]",
    ):
        TextStream([one]).restore(TextStream([one, one]).state())


def test_a_file_of_equal_name_and_size_is_another_one(tmp_path):
    state = TextStream([documents(tmp_path / "1.jsonl", "a")]).state()
    changed = documents(tmp_path / "1.jsonl", "b")
    with pytest.raises(ValueError, match="Give the same files in the same order"):
        TextStream([changed]).restore(state)
    state["files"] = [["1.jsonl", 14]]  # as version 0.1.0 wrote it
    TextStream([changed]).restore(state)


def test_no_text(tmp_path):
    with pytest.raises(ValueError, match="at least one file"):
        TextStream([])
    documents(tmp_path / "empty.jsonl", "", " ")
    with pytest.raises(ValueError, match=r"no text in '.*empty\.jsonl'"):
        TextStream([tmp_path / "empty.jsonl"])


def test_windows_cover_each_document_once(text_file, tokenizer):
    stream = WindowStream(TextStream([text_file]), tokenizer, window=16, buffer_size=1, seed=0)
    stream._fill()
    texts = list(read_texts(text_file))[:32]
    found = [i for window in stream.buffer for i in window[1:].tolist()]
    assert found == [
        i for text in texts for i in tokenizer(text, add_special_tokens=False)["input_ids"]
    ]
    assert {int(window[0]) for window in stream.buffer} == {tokenizer.bos_token_id}
    assert max(map(len, stream.buffer)) == 16


def test_batches_have_one_size_and_lose_nothing(tmp_path, tokenizer):
    path = documents(tmp_path / "a.jsonl", "Ann Lee ate naan in New York on 3 May 2021.")
    stream = WindowStream(TextStream([path]), tokenizer, window=16, buffer_size=1, seed=0)
    bos = tokenizer.bos_token_id
    expected = tokenizer(next(read_texts(path)))["input_ids"][1:] * 32  # as many are read at once
    stream._fill()
    found = []
    batches = stream.batches(10, CPU)
    for _ in range(20):
        packed = next(batches)
        assert packed.n_subtokens == 10
        starts = packed.cu_seqlens[:-1].long()
        assert packed.ids[0, starts].tolist() == [bos] * len(packed.lengths)
        found += [i for i in packed.ids[0].tolist() if i != bos]
    left = [i for window in stream.buffer for i in window.tolist() if i != bos]
    assert sorted(found + left) == sorted(expected)


@pytest.mark.parametrize("n_subtokens", [1, 2, 15, 17])
def test_batches_of_any_size(text_file, tokenizer, n_subtokens):
    stream = WindowStream(TextStream([text_file]), tokenizer, window=16, buffer_size=9, seed=0)
    batches = stream.batches(n_subtokens, CPU)
    assert {next(batches).n_subtokens for _ in range(50)} == {n_subtokens}


def test_windows_go_on_where_they_stopped(text_file, tokenizer):
    def fresh():
        return WindowStream(TextStream([text_file]), tokenizer, window=16, buffer_size=20, seed=0)

    straight = fresh()
    batches = straight.batches(64, CPU)
    for _ in range(3):
        next(batches)
    tensors, state = straight.state()
    resumed = fresh()
    resumed.restore(tensors, json.loads(json.dumps(state)))
    expected = [next(batches).ids.tolist() for _ in range(30)]
    resumed_batches = resumed.batches(64, CPU)
    assert [next(resumed_batches).ids.tolist() for _ in range(30)] == expected


def test_state_before_the_first_batch(text_file, tokenizer):
    stream = WindowStream(TextStream([text_file]), tokenizer, window=16, buffer_size=20, seed=0)
    stream.restore(*stream.state())
    assert stream.buffer == []


def test_special_subtokens_around_a_text(tokenizer):
    prefix, suffix = special_subtokens(tokenizer)
    assert (prefix.tolist(), suffix.tolist()) == ([tokenizer.bos_token_id], [])
    prefix, suffix = special_subtokens(make_tokenizer(bos=False))
    assert (prefix.tolist(), suffix.tolist()) == ([], [])
    assert prefix.dtype == numpy.int32


def test_a_window_without_room(text_file, tokenizer):
    with pytest.raises(ValueError, match="window of 2 subtokens leaves room for 1"):
        WindowStream(TextStream([text_file]), tokenizer, window=2, buffer_size=1, seed=0)
