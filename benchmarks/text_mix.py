"""Texts of many lengths from column files, one text per line, for benchmarks.throughput --texts.

    python -m benchmarks.text_mix mix.txt eng.testb emerging.test.annotated litbank/*.tsv

The first column of each line is a word; an empty line ends a sentence. A .tsv file is one document,
of which the beginning is taken: 250 words, then 500, 1,000, 2,000 and 3,000 by turns. Of all other
files, sentences are taken.
"""

import random
from pathlib import Path
from typing import Annotated

import typer

LENGTHS = (250, 500, 1000, 2000, 3000)


def read_sentences(path: Path) -> list[list[str]]:
    """RETURNS (list[list[str]]): The words of each sentence of a column file."""
    text = path.read_text(encoding="utf8")
    blocks = [block.split("\n") for block in text.split("\n\n")]
    sentences = [[line.split()[0] for line in block if line.strip()] for block in blocks]
    return [words for words in sentences if words and words[0] != "-DOCSTART-"]


def main(
    output: Annotated[Path, typer.Argument(help="Where the texts go")],
    files: Annotated[list[Path], typer.Argument(help="Column files")],
    n_sentences: Annotated[int, typer.Option(help="From all files of sentences")] = 240,
    n_long: Annotated[int, typer.Option(help="Long texts")] = 10,
    seed: Annotated[int, typer.Option(help="Of choice and order")] = 0,
) -> None:
    """Write a mix of sentences and long texts, in random order."""
    draw = random.Random(seed)
    sentences, documents = [], []
    for file in files:
        found = read_sentences(file)
        if file.suffix == ".tsv":
            documents.append([word for sentence in found for word in sentence])
        else:
            sentences += found
    texts = draw.sample(sentences, min(n_sentences, len(sentences)))
    for i, words in enumerate(documents[:n_long]):
        texts.append(words[: LENGTHS[i % len(LENGTHS)]])
    draw.shuffle(texts)
    output.write_text("".join(" ".join(words) + "\n" for words in texts), encoding="utf8")


if __name__ == "__main__":
    typer.run(main)
