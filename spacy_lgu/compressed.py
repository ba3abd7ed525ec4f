"""Compressed streams, read within bounds: a damaged one raises, and a few bytes that unpack to
gigabytes are unpacked piece by piece.
"""

import gzip
import io
import lzma
import zlib
from importlib.util import find_spec
from typing import Any, BinaryIO, Protocol, cast

_CHUNK = 1 << 16  # bytes read or unpacked at once
_DICTIONARY = 1 << 28  # bytes that unpacking may take; `xz -9` needs a quarter of it
# Bytes of .zst unpacked at once, which give at most 32 MB: three bytes may stand for 128 KB.
_ZSTD_CHUNK = 1 << 10


class DamagedError(Exception):
    """A compressed stream is not what it should be, or ends early."""


DAMAGED = (DamagedError, EOFError, lzma.LZMAError, gzip.BadGzipFile, zlib.error)
SUFFIXES = (".gz", ".xz", ".zst")


def unpack(stream: BinaryIO, suffix: str) -> BinaryIO:
    """The content of a stream.

    stream (BinaryIO): The stream.
    suffix (str): .gz, .xz or .zst. Any other: it is not compressed.
    RETURNS (BinaryIO): The content, to be read from the beginning. Reading raises one of DAMAGED
        for a stream that is damaged or cut off. Raises ImportError for .zst without zstandard.
    """
    if suffix == ".gz":
        return cast(BinaryIO, gzip.open(stream))
    if suffix == ".xz":
        return io.BufferedReader(_FramesReader(stream, _make_xz_frame, _CHUNK), _CHUNK)
    if suffix == ".zst":
        check_suffix(suffix)
        return io.BufferedReader(_FramesReader(stream, _ZstdFrame, _ZSTD_CHUNK), _CHUNK)
    return stream


def pack(stream: BinaryIO, suffix: str) -> BinaryIO:
    """A stream to write to. It is to be closed, which leaves the other one open.

    stream (BinaryIO): Gets the compressed bytes, the same for the same content.
    suffix (str): .gz, .xz or .zst. Any other: they are not compressed.
    RETURNS (BinaryIO): Takes the content.
    """
    if suffix == ".gz":
        file = gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=stream, mtime=0)
        return cast(BinaryIO, file)
    if suffix == ".xz":
        return cast(BinaryIO, lzma.open(stream, "wb"))
    if suffix == ".zst":
        check_suffix(suffix)
        import zstandard

        return cast(BinaryIO, zstandard.ZstdCompressor().stream_writer(stream, closefd=False))
    return io.BufferedWriter(_Unclosed(stream))


def check_suffix(suffix: str) -> None:
    """Raise ImportError for .zst where zstandard is not installed."""
    if suffix == ".zst" and find_spec("zstandard") is None:
        raise ImportError("Files in .zst need zstandard: pip install 'spacy-lgu[zstd]'.")


class _Frame(Protocol):
    """One of several compressed streams that follow each other."""

    needs_input: bool
    eof: bool
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def _make_xz_frame() -> _Frame:
    return cast(_Frame, lzma.LZMADecompressor(memlimit=_DICTIONARY))


class _ZstdFrame:
    """A decompressor of zstandard with the interface of the standard library's."""

    def __init__(self) -> None:
        import zstandard

        self._error = zstandard.ZstdError
        self._inner = zstandard.ZstdDecompressor(max_window_size=_DICTIONARY).decompressobj()
        self._content = io.BytesIO()  # unpacked, and handed out piece by piece
        self._left = 0

    @property
    def needs_input(self) -> bool:
        return not self._left

    @property
    def eof(self) -> bool:
        return self._inner.eof and not self._left

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if data:
            try:
                unpacked = self._inner.decompress(data)
            except self._error as error:
                raise DamagedError(str(error)) from error
            self._content, self._left = io.BytesIO(unpacked), len(unpacked)
        content = self._content.read(max_length)
        self._left -= len(content)
        return content


class _FramesReader(io.RawIOBase):
    """The content of one or more compressed streams; lzma.open takes a damaged second one for the
    end, and zstandard's reader a first one that was cut off."""

    def __init__(self, stream: BinaryIO, make_frame: Any, chunk: int) -> None:
        self._stream = stream
        self._make_frame = make_frame
        self._chunk = chunk
        self._frame: _Frame | None = None
        self._rest = b""  # compressed, after the end of a stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill at most the buffer: a few bytes may unpack to gigabytes."""
        while True:
            if self._frame is None:
                self._rest = self._rest.lstrip(b"\0")  # zeros may stand between streams of xz
                self._rest = self._rest or self._stream.read(self._chunk)
                if not self._rest:
                    return 0
                if self._rest[:1] == b"\0":
                    continue
                self._frame = self._make_frame()
            needs_input = self._frame.needs_input
            chunk = self._rest or (self._stream.read(self._chunk) if needs_input else b"")
            self._rest = b""
            if needs_input and not chunk:
                raise EOFError("the end of the stream is missing")
            content = self._frame.decompress(chunk, len(buffer))
            if self._frame.eof:
                self._rest, self._frame = self._frame.unused_data, None
            if content:
                buffer[: len(content)] = content
                return len(content)


class _Unclosed(io.RawIOBase):
    """Writes to a stream that stays open."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._stream.write(data)
