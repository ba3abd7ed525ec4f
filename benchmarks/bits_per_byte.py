"""Bits per byte of causal decoders on raw text, with the same windows for all of them.

    python benchmarks/bits_per_byte.py assets/decoder other/decoder \
        --text wikipedia=valid.jsonl.xz --text wikitext=test.txt

Text: JSON lines (.jsonl, .jsonl.xz, .jsonl.gz), or WikiText's own format (.txt), which is
detokenized and cut into articles first. Of each text the first articles are read, and of each
article the first characters, in windows of 448 subtokens, of which the first 64 only give context.
"""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import torch
import typer

from spacy_lgu.decoder.building import build_decoder, check_settings
from spacy_lgu.decoder.settings import DecoderSettings
from spacy_lgu.pretraining.evaluation import bits_per_byte
from spacy_lgu.pretraining.head import load_head
from spacy_lgu.pretraining.text import read_texts

_TITLE = re.compile(r"^ = [^=].* = $")
# WikiText separates tokens by spaces; (pattern, replacement) in this order put them together.
_DETOKENIZE = [
    (re.compile(r" @([-,.])@ "), r"\1"),
    (re.compile(r" ([.,;:!?%)\]])"), r"\1"),
    (re.compile(r"([(\[$£]) "), r"\1"),
    (re.compile(r" (n't|'(?:s|re|ve|d|m|ll)|s')\b"), r"\1"),
    (re.compile(r'" ([^"]*?) "'), r'"\1"'),
    (re.compile(r"(\w) ' (s\b)"), r"\1'\2"),
    (re.compile(r"= = = (.*) = = =|= = (.*) = =|= (.*) ="), r"\1\2\3"),
]


def read_wikitext(path: Path) -> Iterator[str]:
    """The articles of a WikiText file as running text; unknown words stay "<unk>"."""
    lines: list[str] = []
    with path.open(encoding="utf8") as stream:
        for line in stream:
            if _TITLE.match(line.rstrip("\n")) and lines:
                yield "\n".join(lines)
                lines = []
            if line.strip():
                lines.append(detokenize(line.strip()))
    if lines:
        yield "\n".join(lines)


def detokenize(line: str) -> str:
    """Put the tokens of a line back together."""
    for pattern, replacement in _DETOKENIZE:
        line = pattern.sub(replacement, line)
    return line


def score(folder: str, texts: list[str], device: torch.device) -> float:
    """Bits per byte of one decoder, in the dtype it would run in."""
    settings = DecoderSettings(name=folder, unmasking="c", tuning="frozen")
    checked = check_settings(settings, {})
    built = build_decoder(checked, device=device)
    head = load_head(built.decoder.base, checked.source)
    return bits_per_byte(built.decoder, head, built.tokenizer, texts)


def main(
    decoders: Annotated[list[str], typer.Argument(help="Folders, or names on the hub")],
    text: Annotated[list[str], typer.Option(help="NAME=FILE")],
    articles: Annotated[int, typer.Option(help="Articles of each text; 0: all")] = 40,
    characters: Annotated[int, typer.Option(help="Characters of each article; 0: all")] = 4000,
) -> None:
    """Print a table: a row per decoder, a column per text."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    texts = {}
    for entry in text:
        name, _, file = entry.partition("=")
        path = Path(file)
        read = read_wikitext if path.suffix == ".txt" else read_texts
        texts[name] = [t[: characters or None] for t in islice(read(path), articles or None)]
    print("| decoder | " + " | ".join(texts) + " |")
    print("|---" * (1 + len(texts)) + "|")
    for folder in decoders:
        scores = [f"{score(folder, chosen, device):.3f}" for chosen in texts.values()]
        print(f"| {folder} | " + " | ".join(scores) + " |", flush=True)


if __name__ == "__main__":
    typer.run(main)
