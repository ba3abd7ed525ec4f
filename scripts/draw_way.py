"""Draw the way of texts through the decoder: splitting, windows, packing. As SVG.

python scripts/draw_way.py docs assets/decoder
"""

from pathlib import Path
from typing import Annotated, Any

import numpy
import spacy
import torch
import typer
from transformers import AutoTokenizer

from spacy_lgu.decoder.packing import PackedBatch
from spacy_lgu.layers.alignment import EncodedDocs, encode_docs
from spacy_lgu.replacing import replace_file

BLUE, ORANGE, GREY, EMPTY, INK = "#2b6cb0", "#c05621", "#718096", "#edf2f7", "#1a202c"
CELL = 22
SENTENCES = [
    "Ann flew to New York.",
    "Thanks!",
    "The old ferry left the harbour at noon, as it always does.",
    "It rained.",
]
SHARED = 'He said ("yes").'
LONG = "Seven small windows read one long line of words twice but for its ends"


def draw_packing(encoded: EncodedDocs) -> str:
    """The sequences of a batch as a padded rectangle, and end to end.

    encoded (EncodedDocs): The batch.
    RETURNS (str): An SVG document.
    """
    lengths = encoded.lengths.tolist()
    packed = PackedBatch.pack(encoded.ids, lengths, device=torch.device("cpu"))
    longest, total = max(lengths), sum(lengths)
    colors = [(BLUE, ORANGE)[i % 2] for i in range(len(lengths))]
    step = 16
    parts = [_text(0, 14, f"padded: {len(lengths)} x {longest} = {len(lengths) * longest} cells")]
    for i, length in enumerate(lengths):
        for j in range(longest):
            color = colors[i] if j < length else EMPTY
            parts.append(_cell(j * step, 24 + i * step, step - 2, color))
    top = 24 + len(lengths) * step + 34
    parts.append(_text(0, top - 10, f"packed: {total} cells, no padding"))
    for j in range(total):
        color = colors[int(numpy.searchsorted(packed.cu_seqlens[1:].numpy(), j, side="right"))]
        parts.append(_cell(j * step, top, step - 2, color))
        position = int(packed.positions[0, j])
        parts.append(_text(j * step + 7, top + 28, str(position), size=8, anchor="middle"))
    parts.append(_text(0, top + 44, "positions begin at 0 in each sequence", size=10, color=GREY))
    for start in packed.cu_seqlens.tolist():
        parts.append(f'<path d="M {start * step - 1} {top - 4} v 22" stroke="{INK}"/>')
    return _svg(total * step, top + 54, "Packing against padding", parts)


def draw_splitting(words: list[str], shared: EncodedDocs, split: EncodedDocs) -> str:
    """Tokens above their subtokens, as the tokenizer makes these and as the decoder gets them.

    words (list[str]): The tokens of one text.
    shared, split (EncodedDocs): The text, without and with splitting.
    RETURNS (str): An SVG document.
    """
    width, left = 62, 190
    parts = []
    y = 0
    for title, encoded in (("the tokenizer's", shared), ("the decoder gets", split)):
        ends = encoded.token_lengths.cumsum()
        tokens_of: dict[int, list[int]] = {}
        for token, (end, n) in enumerate(zip(ends, encoded.token_lengths, strict=True)):
            for subtoken in encoded.indices[end - n : end].tolist():
                tokens_of.setdefault(subtoken, []).append(token)
        parts += [_text(0, y + 18, "spaCy's tokens"), _text(0, y + 76, title)]
        parts += [_box(left + i * width, y, width - 8, word, GREY) for i, word in enumerate(words)]
        columns = _columns(tokens_of, encoded)
        for subtoken, string in enumerate(encoded.strings):
            x = left + columns[subtoken] * width
            tokens = tokens_of.get(subtoken, [])
            color = ORANGE if len(tokens) > 1 else BLUE if tokens else GREY
            parts.append(_box(x, y + 58, width - 8, string, color))
            for token in tokens:
                start = left + token * width + (width - 8) / 2
                parts.append(
                    f'<path d="M {start} {y + 28} L {x + (width - 8) / 2} {y + 57}" '
                    f'stroke="{color}" stroke-width="1.5"/>'
                )
        y += 122
    columns_needed = max(len(shared.strings), len(split.strings), len(words))
    return _svg(left + columns_needed * width, y - 28, "Shared subtokens are split", parts)


def _columns(tokens_of: dict[int, list[int]], encoded: EncodedDocs) -> list[float]:
    """Where each subtoken is drawn: below its tokens, and not over the one before it."""
    columns: list[float] = []
    for subtoken in range(len(encoded.strings)):
        tokens = tokens_of.get(subtoken)
        wanted = sum(tokens) / len(tokens) if tokens else -1.0
        columns.append(max(wanted, columns[-1] + 1 if columns else -1.0))
    return columns


def draw_windows(causal: EncodedDocs, unmasked: EncodedDocs) -> str:
    """The windows over a long text, and which of them each subtoken is read from.

    causal, unmasked (EncodedDocs): The text under a causal pattern, and one that is not.
    RETURNS (str): An SVG document.
    """
    parts = []
    y = 0
    titles = ("read from, under a pattern with a b", "read from, where all layers are causal")
    for title, encoded in zip(titles, (unmasked, causal), strict=True):
        window, rows = int(encoded.lengths[0]), encoded.rows
        starts = _window_starts(encoded)
        parts.append(_text(0, y + 14, title, color=INK))
        for number, start in enumerate(starts):
            for j in range(1, window):
                subtoken = start + j
                is_read = rows[subtoken] == number * window + j
                color = (ORANGE if encoded is unmasked else BLUE) if is_read else EMPTY
                parts.append(_cell(subtoken * CELL, y + 24 + number * CELL, CELL - 3, color))
            is_read = number == 0
            color = GREY if is_read else EMPTY
            parts.append(_cell(start * CELL, y + 24 + number * CELL, CELL - 3, color))
        y += 24 + len(starts) * CELL + 20
    words = "columns: subtokens; rows: windows, each behind the special subtoken (grey where read)"
    parts.append(_text(0, y, words, size=10))
    return _svg(
        len(unmasked.strings) * CELL + 60, y + 6, "Windows, and what is read from which", parts
    )


def _window_starts(encoded: EncodedDocs) -> list[int]:
    """Which subtoken of the text the first of each window stands before."""
    window = int(encoded.lengths[0])
    sources = numpy.full(len(encoded.ids), -1)
    sources[encoded.rows] = numpy.arange(len(encoded.strings))
    starts = []
    for number in range(len(encoded.lengths)):
        row = sources[number * window : (number + 1) * window]
        position = int(numpy.flatnonzero(row[1:] >= 0)[0]) + 1
        starts.append(int(row[position]) - position)
    return starts


def _svg(width: float, height: float, title: str, parts: list[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-14 -10 {width + 28} {height + 20}" '
        f'width="{width + 28}" height="{height + 20}" font-family="sans-serif" font-size="12">'
    )
    # A white background, so that it can be read on dark pages.
    ground = f'<rect x="-14" y="-10" width="{width + 28}" height="{height + 20}" fill="#ffffff"/>'
    return "\n".join([head, f"<title>{title}</title>", ground, *parts, "</svg>", ""])


def _text(
    x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", color: str = GREY
) -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;")
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" '
        f'fill="{color}">{escaped}</text>'
    )


def _cell(x: float, y: float, size: float, color: str) -> str:
    return f'<rect x="{x}" y="{y}" width="{size}" height="{size}" rx="3" fill="{color}"/>'


def _box(x: float, y: float, width: float, text: str, color: str) -> str:
    box = (
        f'<rect x="{x}" y="{y}" width="{width}" height="28" rx="4" fill="#ffffff" '
        f'stroke="{color}" stroke-width="1.5"/>'
    )
    return box + _text(x + width / 2, y + 18, text, anchor="middle", color=INK)


def encode(texts: list[str], tokenizer: Any, **options: Any) -> EncodedDocs:
    """Texts as the layer gives them to the decoder, each Doc one span.

    texts (list[str]): The texts.
    tokenizer (PreTrainedTokenizerFast): The decoder's.
    options (Any): Of encode_docs.
    RETURNS (EncodedDocs): Their sequences of subtokens.
    """
    docs = list(spacy.blank("en").pipe(texts))
    given = {"window": 512, "stride": None, "causal": False, **options}
    return encode_docs(docs, [[doc[:]] for doc in docs], tokenizer, **given)


def main(
    output: Annotated[Path, typer.Argument(help="Folder for the pictures")],
    decoder: Annotated[str, typer.Argument(help="Decoder whose tokenizer is used")],
) -> None:
    """Write the pictures."""
    tokenizer = AutoTokenizer.from_pretrained(decoder)
    words = [token.text for token in spacy.blank("en")(SHARED)]
    shared, split = (encode([SHARED], tokenizer, split=split) for split in (False, True))
    causal, unmasked = (encode([LONG], tokenizer, window=9, causal=c) for c in (True, False))
    pictures = {
        "packing.svg": draw_packing(encode(SENTENCES, tokenizer)),
        "splitting.svg": draw_splitting(words, shared, split),
        "windows.svg": draw_windows(causal, unmasked),
    }
    for name, picture in pictures.items():
        replace_file(output / name, picture.encode("utf8"))


if __name__ == "__main__":
    typer.run(main)
