"""Compressed streams: what goes in comes out, and what is damaged is said to be."""

import gzip
import io
import lzma

import pytest

from spacy_lgu import compressed
from spacy_lgu.compressed import DAMAGED, check_suffix, pack, unpack

CONTENT = b"one line\nand \0 another\n" * 5000


@pytest.fixture(params=["", ".gz", ".xz", ".zst"])
def suffix(request):
    if request.param == ".zst":
        pytest.importorskip("zstandard")
    return request.param


def packed(content, suffix):
    stream = io.BytesIO()
    writer = pack(stream, suffix)
    writer.write(content)
    writer.close()
    return stream.getvalue()


def unpacked(content, suffix):
    return unpack(io.BytesIO(content), suffix).read()


def test_what_is_packed_is_unpacked(suffix):
    content = packed(CONTENT, suffix)
    assert unpacked(content, suffix) == CONTENT
    assert len(content) < len(CONTENT) or not suffix
    assert packed(CONTENT, suffix) == content


def test_several_streams_end_to_end(suffix):
    assert unpacked(packed(b"a\n", suffix) + packed(CONTENT, suffix), suffix) == b"a\n" + CONTENT


def test_nothing(suffix):
    assert unpacked(packed(b"", suffix), suffix) == b""
    assert unpacked(b"", suffix) == b""


def test_a_stream_that_is_cut_off_or_damaged(suffix):
    if not suffix:
        return
    content = packed(CONTENT, suffix)
    for damaged in (content[:-3], content[: len(content) // 2], content + b"no stream"):
        with pytest.raises(DAMAGED):
            unpacked(damaged, suffix)


def test_few_bytes_that_unpack_to_many_are_unpacked_in_pieces(suffix):
    stream = unpack(io.BytesIO(packed(b"\0" * 50_000_000, suffix)), suffix)
    assert sum(len(piece) for piece in iter(lambda: stream.read(1 << 20), b"")) == 50_000_000


def test_files_of_other_programs():
    assert unpacked(gzip.compress(CONTENT), ".gz") == CONTENT
    assert unpacked(lzma.compress(CONTENT), ".xz") == CONTENT
    zstandard = pytest.importorskip("zstandard")
    assert unpacked(zstandard.compress(CONTENT), ".zst") == CONTENT


def test_without_zstandard(monkeypatch):
    monkeypatch.setattr(compressed, "find_spec", {}.get)
    check_suffix(".gz")
    with pytest.raises(ImportError, match=r"zstandard: pip install 'spacy-lgu\[zstd\]'"):
        unpack(io.BytesIO(), ".zst")
