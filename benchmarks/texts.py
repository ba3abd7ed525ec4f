"""Texts that the benchmarks run on: from a file, or the project's own corpus in mixed lengths."""

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

CORPUS = Path(__file__).parent.parent / "assets" / "corpus" / "ner"

# How many of a hundred texts are one sentence, and how many one article; the rest are long.
_SENTENCES, _ARTICLES = 60, 30
# Articles in a long text, fewest and most.
_LONG = (4, 12)
_ENTITY = re.compile(r"\[([^\[\]|]+)\|([^\[\]|]+)\]")


def load_texts(path: Path | None, n_texts: int, seed: int) -> list[str]:
    """The texts of a benchmark, always the same for the same arguments.

    path (Path | None): One text per line, or .jsonl with "text". None: the project's corpus.
    n_texts (int): How many texts; those of a file are taken in order.
    seed (int): Picks and shuffles the texts of the corpus.
    RETURNS (list[str]): Raises ValueError if the file has fewer texts.
    """
    if path is None:
        return list(_mixed_lengths(n_texts, seed))
    lines = [line for line in path.read_text(encoding="utf8").split("\n") if line.strip()]
    texts = [json.loads(line)["text"] for line in lines] if path.suffix == ".jsonl" else lines
    if len(texts) < n_texts:
        raise ValueError(f"{str(path)!r} has {len(texts)} texts, but {n_texts} are needed.")
    return texts[:n_texts]


def load_articles() -> list[list[str]]:
    """RETURNS (list[list[str]]): The sentences of each article of the corpus, annotation inline."""
    articles = []
    for name in ("train", "dev", "test"):
        text = (CORPUS / f"{name}.txt").read_text(encoding="utf8")
        articles += [article.split("\n") for article in text.strip().split("\n\n")]
    return articles


def split_entities(annotated: str) -> tuple[str, list[tuple[int, int, str]]]:
    """Take the inline annotation out of a text.

    annotated (str): Such as "[Ann|PERSON] ate."
    RETURNS (tuple): The text, and (start, end, label) of each entity in characters.
    """
    pieces: list[str] = []
    entities = []
    n_characters, end = 0, 0
    for match in _ENTITY.finditer(annotated):
        before, inner = annotated[end : match.start()], match.group(1)
        pieces += [before, inner]
        start = n_characters + len(before)
        n_characters = start + len(inner)
        entities.append((start, n_characters, match.group(2)))
        end = match.end()
    return "".join([*pieces, annotated[end:]]), entities


def _mixed_lengths(n_texts: int, seed: int) -> Iterator[str]:
    """Sentences, articles and long texts in a fixed proportion and random order."""
    articles = [[split_entities(line)[0] for line in article] for article in load_articles()]
    sentences = [sentence for article in articles for sentence in article]
    draw = random.Random(seed)
    kinds = [i * 100 // n_texts for i in range(n_texts)]
    draw.shuffle(kinds)
    for kind in kinds:
        if kind < _SENTENCES:
            yield draw.choice(sentences)
        elif kind < _SENTENCES + _ARTICLES:
            yield " ".join(draw.choice(articles))
        else:
            chosen = draw.sample(articles, draw.randint(*_LONG))
            yield " ".join(sentence for article in chosen for sentence in article)
