"""Precision, recall and F1 of labeled spans, as seqeval computes them in strict mode with IOB2.

A predicted span is correct if its borders and its label are. In a sequence of tags, a span begins
with B- and takes the I- of its label that follow; an I- elsewhere belongs to none (in seqeval:
mode="strict", scheme=IOB2, zero_division=0; https://github.com/chakki-works/seqeval).
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy

_T = TypeVar("_T")
SpanT = tuple[int, int, str]  # start, end (exclusive), label
IntsT = numpy.ndarray[tuple[int, int], numpy.dtype[numpy.int64]]


@dataclass(frozen=True, slots=True)
class SpanCounts:
    """Numbers of spans, and the scores that follow from them; a score without spans is 0.

    n_correct (int): Spans that are both predicted and gold.
    n_predicted (int): Predicted spans.
    n_gold (int): Gold spans.
    """

    n_correct: int = 0
    n_predicted: int = 0
    n_gold: int = 0

    def __add__(self, other: "SpanCounts") -> "SpanCounts":
        return SpanCounts(
            self.n_correct + other.n_correct,
            self.n_predicted + other.n_predicted,
            self.n_gold + other.n_gold,
        )

    @property
    def precision(self) -> float:
        """The share of predicted spans that are correct."""
        return self.n_correct / self.n_predicted if self.n_predicted else 0.0

    @property
    def recall(self) -> float:
        """The share of gold spans that are predicted."""
        return self.n_correct / self.n_gold if self.n_gold else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        n_both = self.n_predicted + self.n_gold
        return 2 * self.n_correct / n_both if n_both else 0.0


@dataclass(frozen=True, slots=True)
class StrictScores:
    """Counts and scores, over all spans and by label.

    per_label (dict[str, SpanCounts]): For each label of a gold or predicted span, sorted.
    """

    per_label: dict[str, SpanCounts]

    @property
    def micro(self) -> SpanCounts:
        """All spans together: the figure that papers report."""
        return sum(self.per_label.values(), SpanCounts())

    @property
    def macro_precision(self) -> float:
        """Mean of the labels' precisions, 0 without labels."""
        return _mean([counts.precision for counts in self.per_label.values()])

    @property
    def macro_recall(self) -> float:
        """Mean of the labels' recalls, 0 without labels."""
        return _mean([counts.recall for counts in self.per_label.values()])

    @property
    def macro_f1(self) -> float:
        """Mean of the labels' F1, 0 without labels."""
        return _mean([counts.f1 for counts in self.per_label.values()])


def find_strict_spans(tags: Sequence[str]) -> list[SpanT]:
    """The spans of a sequence of tags, valid in IOB2 or not.

    tags (Sequence[str]): O, B-LABEL or I-LABEL.
    RETURNS (list[SpanT]): From left to right. Raises ValueError for other tags.
    """
    spans: list[SpanT] = []
    start, inside = 0, ""  # the tag that goes on with the open span
    for place, tag in enumerate([*tags, "O"]):
        if tag != "O" and (tag[:2] not in ("B-", "I-") or len(tag) == 2):
            raise ValueError(f"Expected the tags O, B-LABEL or I-LABEL, but got {tag!r}.")
        if inside and tag != inside:
            spans.append((start, place, inside[2:]))
            inside = ""
        if tag[0] == "B":
            start, inside = place, f"I-{tag[2:]}"
    return spans


def score_tags(gold: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]) -> StrictScores:
    """Score sequences of tags.

    gold (Iterable[Sequence[str]]): Tags of each sentence.
    predicted (Iterable[Sequence[str]]): The same for the predictions.
    RETURNS (StrictScores): The scores. Raises ValueError for sentences of different lengths,
        different numbers of them and tags that are none of IOB2.
    """
    spans: tuple[list[list[SpanT]], list[list[SpanT]]] = ([], [])
    for place, (gold_tags, predicted_tags) in enumerate(_pair(gold, predicted)):
        if len(gold_tags) != len(predicted_tags):
            raise ValueError(
                f"Sentence {place} has {len(gold_tags)} gold tags, but {len(predicted_tags)} "
                "predicted ones. Expected one of each for every token."
            )
        spans[0].append(find_strict_spans(gold_tags))
        spans[1].append(find_strict_spans(predicted_tags))
    return score_spans(*spans)


def score_spans(
    gold: Iterable[Collection[SpanT]], predicted: Iterable[Collection[SpanT]]
) -> StrictScores:
    """Score spans, which may overlap.

    gold (Iterable[Collection[SpanT]]): Spans of each document.
    predicted (Iterable[Collection[SpanT]]): The same for the predictions.
    RETURNS (StrictScores): The scores. Raises ValueError for different numbers of documents.
    """
    per_label: defaultdict[str, SpanCounts] = defaultdict(SpanCounts)
    for gold_spans, predicted_spans in _pair(gold, predicted):
        gold_set, predicted_set = set(gold_spans), set(predicted_spans)
        for span in gold_set | predicted_set:
            is_gold, is_predicted = span in gold_set, span in predicted_set
            per_label[span[2]] += SpanCounts(is_gold and is_predicted, is_predicted, is_gold)
    return StrictScores(dict(sorted(per_label.items())))


def count_by_document(
    gold: Iterable[Collection[SpanT]], predicted: Iterable[Collection[SpanT]]
) -> IntsT:
    """What a bootstrap over documents needs.

    gold (Iterable[Collection[SpanT]]): Spans of each document.
    predicted (Iterable[Collection[SpanT]]): The same for the predictions.
    RETURNS (IntsT): Correct, predicted and gold spans of each: (documents, 3). Raises ValueError
        for different numbers of documents.
    """
    rows = [
        (len(gold_set & predicted_set), len(predicted_set), len(gold_set))
        for gold_set, predicted_set in _pair(map(set, gold), map(set, predicted))
    ]
    return numpy.asarray(rows, dtype=numpy.int64).reshape(-1, 3)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _pair(gold: Iterable[_T], predicted: Iterable[_T]) -> list[tuple[_T, _T]]:
    gold, predicted = list(gold), list(predicted)
    if len(gold) != len(predicted):
        raise ValueError(
            f"There are {len(gold)} gold sequences, but {len(predicted)} predicted ones. Expected "
            "the same number of both, in the same order."
        )
    return list(zip(gold, predicted, strict=True))
