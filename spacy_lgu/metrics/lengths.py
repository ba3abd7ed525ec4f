"""Scores by the length of texts: what a tagger loses where they are longer than in training."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc

from ..training.joining import group_neighbours, join_docs
from .evaluation import evaluate
from .strict import SpanCounts

# Most tokens of each bin; the last bin has no end.
LENGTHS = (32, 128, 512, 2048)


@dataclass(frozen=True, slots=True)
class LengthBin:
    """Texts of similar length.

    first (int): Fewest tokens.
    last (int | None): Most tokens, None: any number.
    n_texts (int): How many there are.
    n_tokens (int): Their tokens together.
    counts (SpanCounts): Their spans.
    """

    first: int
    last: int | None
    n_texts: int
    n_tokens: int
    counts: SpanCounts


def parse_lengths(text: str) -> tuple[int, ...]:
    """Read lengths in tokens.

    text (str): Whole numbers with commas, rising.
    RETURNS (tuple[int, ...]): The numbers, at least one. Raises ValueError for anything else.
    """
    numbers = [int(part) if part.strip().isdecimal() else 0 for part in text.split(",")]
    if min(numbers) < 1 or any(a >= b for a, b in pairwise(numbers)):
        raise ValueError(
            "Expected numbers of tokens, rising and with commas between them, such as 32,128,512, "
            f"but got {text!r}."
        )
    return tuple(numbers)


def score_by_length(
    sizes: Iterable[int], rows: Iterable[Sequence[int]], ends: Sequence[int] = LENGTHS
) -> list[LengthBin]:
    """Sort texts into bins by their length, and count their spans.

    sizes (Iterable[int]): Tokens of each text.
    rows (Iterable[Sequence[int]]): Correct, predicted and gold spans of each text.
    ends (Sequence[int]): Most tokens of each bin, rising; one more bin is for longer texts.
    RETURNS (list[LengthBin]): Those with a text in them, shortest first.
    """
    texts = list(zip(sizes, rows, strict=True))
    bins = []
    for first, last in zip([0, *ends], [*ends, None], strict=True):
        inside = [
            (size, row) for size, row in texts if first < size and (last is None or size <= last)
        ]
        if inside:
            counts = sum((SpanCounts(*row) for _, row in inside), SpanCounts())
            n_tokens = sum(size for size, _ in inside)
            bins.append(LengthBin(first + 1, last, len(inside), n_tokens, counts))
    return bins


def describe_bin(entry: LengthBin) -> dict[str, Any]:
    """A bin as JSON has it: first, last, texts, tokens, f1 in percent, and spans: those that are
    correct, predicted and gold."""
    counts = entry.counts
    return {
        "first": entry.first,
        "last": entry.last,
        "texts": entry.n_texts,
        "tokens": entry.n_tokens,
        "f1": 100 * counts.f1,
        "spans": [counts.n_correct, counts.n_predicted, counts.n_gold],
    }


def evaluate_joined(
    nlp: Language, docs: Iterable[Doc], spans_key: str | None, length: int
) -> dict[str, Any]:
    """Score a pipeline on longer texts than there are: neighbours are joined before prediction.

    nlp (Language): The pipeline.
    docs (Iterable[Doc]): Gold Docs.
    spans_key (str | None): Key of the spans; None: entities.
    length (int): Most tokens of a joined text. One that is longer by itself stays as it is.
    RETURNS (dict[str, Any]): What evaluate returns, with "join", the length, and "tokens" of each
        text.
    """
    groups = group_neighbours(docs, lambda: length, len, lambda one, other: True)
    joined = [join_docs(group) for group in groups]
    # As many long texts as usual would be half of the work. One shows kernels the new sizes.
    scores = evaluate(nlp, joined, spans_key, warmup=1)
    return {"join": length, **scores, "tokens": [len(doc) for doc in joined]}
