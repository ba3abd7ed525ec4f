"""Strict F1 as a scorer of spaCy's components.

[components.ner.scorer]
@scorers = "spacy-lgu.strict_iob2_scorer.v1"
spans_key = null

[training.score_weights]
strict_f = 1.0
"""

from collections.abc import Callable, Iterable
from typing import Any

from spacy.tokens import Doc, Span
from spacy.training import Example

from .strict import SpanT, StrictScores, score_spans

ScorerT = Callable[..., dict[str, Any]]


def make_strict_iob2_scorer_v1(spans_key: str | None = None) -> ScorerT:
    """A scorer whose figures are seqeval's in strict mode, over entities or a span group.

    Borders are compared in characters, white space not counted, so a prediction that ends inside
    a gold token is wrong, where spaCy's own scorer would move it to the token's end. Docs
    without gold annotation are left out, and so are predictions on tokens without it.

    spans_key (str | None): Score doc.spans[spans_key]. None: score doc.ents.
    RETURNS (ScorerT): Examples -> scores: strict_p, strict_r and strict_f (micro),
        strict_macro_p, strict_macro_r and strict_macro_f, and strict_per_type, p, r and f by label;
        for a span group strict_KEY_p and so on. All of them None if no Doc has gold annotation.
    """
    prefix = "strict" if spans_key is None else f"strict_{spans_key}"

    def score(examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        gold, predicted = [], []
        for example in examples:
            reference = example.reference
            if not _is_annotated(reference, spans_key):
                continue
            starts, predicted_starts = _count_characters(reference, example.predicted)
            missing = [] if spans_key is not None else _find_missing(reference, starts)
            gold.append({_locate(span, starts) for span in _take_spans(reference, spans_key)})
            predicted.append(
                {
                    located
                    for span in _take_spans(example.predicted, spans_key)
                    if not _touches(located := _locate(span, predicted_starts), missing)
                }
            )
        return _name(score_spans(gold, predicted) if gold else None, prefix)

    return score


def _name(scores: StrictScores | None, prefix: str) -> dict[str, Any]:
    if scores is None:
        names = ("p", "r", "f", "macro_p", "macro_r", "macro_f", "per_type")
        return {f"{prefix}_{name}": None for name in names}
    micro = scores.micro
    return {
        f"{prefix}_p": micro.precision,
        f"{prefix}_r": micro.recall,
        f"{prefix}_f": micro.f1,
        f"{prefix}_macro_p": scores.macro_precision,
        f"{prefix}_macro_r": scores.macro_recall,
        f"{prefix}_macro_f": scores.macro_f1,
        f"{prefix}_per_type": {
            label: {"p": counts.precision, "r": counts.recall, "f": counts.f1}
            for label, counts in scores.per_label.items()
        },
    }


def _is_annotated(doc: Doc, spans_key: str | None) -> bool:
    return doc.has_annotation("ENT_IOB") if spans_key is None else spans_key in doc.spans


def _take_spans(doc: Doc, spans_key: str | None) -> list[Span]:
    if spans_key is None:
        return list(doc.ents)
    return list(doc.spans[spans_key]) if spans_key in doc.spans else []


def _count_characters(reference: Doc, predicted: Doc) -> tuple[list[int], list[int]]:
    """Characters before each token and in all, white space not counted, in both Docs."""
    counts = []
    for doc in (reference, predicted):
        starts = [0]
        for token in doc:
            starts.append(starts[-1] + len("".join(token.text.split())))
        counts.append(starts)
    if counts[0][-1] != counts[1][-1]:
        raise ValueError(
            "Expected gold and predicted Docs of the same text, but got "
            f"{reference.text[:60]!r} and {predicted.text[:60]!r}."
        )
    return counts[0], counts[1]


def _find_missing(doc: Doc, starts: list[int]) -> list[tuple[int, int]]:
    return [(starts[token.i], starts[token.i + 1]) for token in doc if token.ent_iob == 0]


def _locate(span: Span, starts: list[int]) -> SpanT:
    return starts[span.start], starts[span.end], span.label_


def _touches(span: SpanT, ranges: list[tuple[int, int]]) -> bool:
    return any(start < span[1] and span[0] < end for start, end in ranges)
