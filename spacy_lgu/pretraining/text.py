"""Raw text in a stream: files -> documents -> windows of subtokens -> packed batches.

Every part knows its position, so that an interrupted run continues exactly where it stopped.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch

from ..compressed import DAMAGED, unpack
from ..decoder.packing import PackedBatch
from ..inputs import parse_json, read_bytes_of_lines, shorten

# Documents tokenized at once; the tokenizer works on them in parallel.
_DOCUMENTS = 32
# Bytes of a file by which it is known again, beside its name and size.
_BEGINNING = 2**20


def read_texts(path: Path) -> Iterator[str]:
    """The texts of a file of JSON lines, in order, without reading the file as a whole.

    path (Path): .jsonl, or one of these compressed (.gz, .xz, .zst); each line an object with a
        string "text".
    YIELDS (str): Raises ValueError naming file and line for anything else.
    """
    number = 0
    with path.open("rb") as stream:
        try:
            lines = read_bytes_of_lines(unpack(stream, path.suffix), str(path))
            for number, line in enumerate(lines, start=1):
                # Bytes that are not UTF-8 become lone surrogates, which are found below.
                encoding = "utf-8-sig" if number == 1 else "utf8"
                text = line.decode(encoding, errors="surrogateescape")
                if text.strip():
                    yield _read_text(text, f"{path}:{number}")
        except DAMAGED as error:
            raise ValueError(f"{path}:{number + 1}: damaged or cut off here: {error}") from error


def _read_text(line: str, where: str) -> str:
    # Plain text is not JSON either, but the message should name the object that is missing.
    record = parse_json(line, where) if line.lstrip().startswith("{") else None
    text = record.get("text") if isinstance(record, dict) else None
    if not isinstance(text, str):
        raise ValueError(
            f'{where}: there is no text: expected a JSON object with a string under "text", as '
            f"`spacy pretrain` reads it, but got {shorten(line.strip())}."
        )
    try:
        text.encode("utf8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{where}: expected UTF-8 without lone surrogates, but character {error.start} of the "
            f"text is {text[error.start]!r}."
        ) from error
    return text


class TextStream:
    """Documents of several files, one of each file in turn; a file that ends starts over.

    Every stretch of the stream thus has the same mixture, wherever a run stops.

    paths (Sequence[Path]): Files as read_texts reads them. Raises ValueError for one without text.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        if not paths:
            raise ValueError("There is no text to read: expected at least one file.")
        for path in paths:
            if not any(map(str.strip, read_texts(path))):
                raise ValueError(f"There is no text in {str(path)!r}: every line is empty.")
        self.paths = list(paths)
        self.n_read = [0] * len(paths)
        self.turn = 0
        self._open: list[Iterator[str] | None] = [None] * len(paths)

    def next(self) -> str:
        """RETURNS (str): The next document."""
        i = self.turn
        self.turn = (i + 1) % len(self.paths)
        texts = self._open[i]
        if texts is None:
            texts = self._open[i] = read_texts(self.paths[i])
            for _ in range(self.n_read[i]):
                next(texts, None)  # a file may have become shorter since the state was saved
        text = next(texts, None)
        if text is None:
            texts = self._open[i] = read_texts(self.paths[i])
            text, self.n_read[i] = next(texts), 0
        self.n_read[i] += 1
        return text

    def state(self) -> dict[str, Any]:
        """RETURNS (dict): The position, as values for JSON that restore takes."""
        return {"n_read": self.n_read, "turn": self.turn, "files": self._files()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a position.

        state (dict): From state. Raises ValueError when it is of other files.
        """
        begun, now = state["files"], self._files()
        # In version 0.1.0, names and bytes alone.
        same = [file[: len(before)] for before, file in zip(begun, now, strict=False)]
        if same != begun or len(now) != len(begun):
            raise ValueError(
                f"The run was begun with the text files {begun} (names, bytes, and a digest of "
                f"their beginning), but is continued with {now}. Give the same files in the same "
                "order, or begin a new run."
            )
        self.n_read, self.turn = list(state["n_read"]), state["turn"]
        self._open = [None] * len(self.paths)

    def _files(self) -> list[list[Any]]:
        return [[path.name, path.stat().st_size, _digest(path)] for path in self.paths]


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.sha256(stream.read(_BEGINNING)).hexdigest()[:12]


class WindowStream:
    """Documents cut into windows, shuffled, packed into batches, forever.

    Each window stays within one document and begins with the special subtokens that the tokenizer
    puts before a text. Those that it puts after a text end the window, unless it was cut to
    fill a batch.

    texts (TextStream): The documents.
    tokenizer (PreTrainedTokenizerFast): The decoder's tokenizer.
    window (int): Most subtokens per window, special ones included.
    buffer_size (int): Windows to draw from.
    seed (int): Seed of the drawing, and of everything that draws from `rng`.
    """

    def __init__(
        self, texts: TextStream, tokenizer: Any, *, window: int, buffer_size: int, seed: int
    ) -> None:
        self.texts = texts
        self.tokenizer = tokenizer
        self.prefix, self.suffix = special_subtokens(tokenizer)
        self.capacity = window - len(self.prefix) - len(self.suffix)
        if self.capacity < 2:
            raise ValueError(
                f"The window of {window} subtokens leaves room for {self.capacity} besides the "
                "special ones: expected room for at least 2. Use a larger window."
            )
        self.buffer_size = buffer_size
        self.buffer: list[numpy.ndarray] = []
        self.rng = numpy.random.default_rng(seed)

    def batches(self, n_subtokens: int, device: torch.device) -> Iterator[PackedBatch]:
        """Batches of equal size, for which kernels need no new preparation at each step.

        n_subtokens (int): Subtokens per batch. The last window is cut to fit, and what was cut
            off goes back as a window of its own.
        device (torch.device): Where the tensors go.
        YIELDS (PackedBatch): Shape of its ids: (1, n_subtokens).
        """
        while True:
            windows: list[numpy.ndarray] = []
            room = n_subtokens
            while room:
                self._fill()
                i = int(self.rng.integers(len(self.buffer)))
                self.buffer[i], self.buffer[-1] = self.buffer[-1], self.buffer[i]
                window = self.buffer.pop()
                rest = window[max(room, len(self.prefix)) :]
                if len(rest):
                    self.buffer.append(numpy.concatenate([self.prefix, rest]))
                windows.append(window[:room])
                room -= len(windows[-1])
            ids = numpy.concatenate(windows)
            yield PackedBatch.pack(ids, [len(w) for w in windows], device=device)

    def _fill(self) -> None:
        while len(self.buffer) < self.buffer_size:
            texts = [self.texts.next() for _ in range(_DOCUMENTS)]
            for encoding in self.tokenizer.backend_tokenizer.encode_batch(
                texts, add_special_tokens=False
            ):
                ids = numpy.array(encoding.ids, dtype="int32")
                for start in range(0, len(ids), self.capacity):
                    piece = ids[start : start + self.capacity]
                    self.buffer.append(numpy.concatenate([self.prefix, piece, self.suffix]))

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """RETURNS (tuple): Tensors, and values for JSON, that restore takes."""
        buffer = numpy.concatenate([*self.buffer, numpy.zeros(0, dtype="int32")])
        tensors = {
            "buffer": torch.from_numpy(buffer),
            "buffer_lengths": torch.tensor([len(w) for w in self.buffer], dtype=torch.int64),
        }
        return tensors, {"texts": self.texts.state(), "rng": self.rng.bit_generator.state}

    def restore(self, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
        ends = tensors["buffer_lengths"].cumsum(0)
        self.buffer = numpy.split(tensors["buffer"].numpy(), ends.numpy())[:-1]
        self.texts.restore(state["texts"])
        self.rng.bit_generator.state = state["rng"]


def special_subtokens(tokenizer: Any) -> tuple[numpy.ndarray, numpy.ndarray]:
    """What a tokenizer puts before and after a text.

    tokenizer (PreTrainedTokenizerFast): The tokenizer.
    RETURNS (tuple[ndarray, ndarray]): Ids, int32; often a BOS and nothing.
    """
    encoding = tokenizer.backend_tokenizer.encode("a")
    is_text = numpy.flatnonzero(numpy.array(encoding.special_tokens_mask) == 0)
    ids = numpy.array(encoding.ids, dtype="int32")
    return ids[: is_text[0]], ids[is_text[-1] + 1 :]
