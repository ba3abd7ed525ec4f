"""Strict scores of a pipeline on the tokens of a file, with counts by document, and its speed.

What `spacy evaluate` and `spacy find-threshold` do, but without tokenizing the texts again, and
with the counts that a bootstrap over documents needs.
"""

import time
from pathlib import Path
from typing import Any

from spacy.language import Language
from spacy.pipeline.spancat import SpanCategorizer
from spacy.tokens import Doc, Span

from ..training.readers import copy_tokens, gold_tokens_v1
from .strict import SpanT, count_by_document, score_spans

THRESHOLDS = [round(0.05 * i, 2) for i in range(1, 20)]
WARMUP = 64  # texts before the clock starts: the first ones wait for caches and kernels


def read_gold(nlp: Language, path: Path, limit: int, spans_key: str | None) -> list[Doc]:
    """The annotated Docs of a file.

    nlp (Language): For its vocabulary.
    path (Path): A .spacy file, or a folder of them.
    limit (int): How many, from the first; 0: all.
    spans_key (str | None): Key of the spans; None: entities.
    RETURNS (list[Doc]): At least one. Raises FileNotFoundError if there is no such file, ValueError
        if a Doc has no annotation.
    """
    if not path.exists():
        raise FileNotFoundError(f"There is no data at {str(path)!r}: give a .spacy file.")
    docs = [example.reference for example in gold_tokens_v1(path, limit)(nlp)]
    key = "doc.ents" if spans_key is None else f"doc.spans[{spans_key!r}]"
    for place, doc in enumerate(docs):
        annotated = doc.has_annotation("ENT_IOB") if spans_key is None else spans_key in doc.spans
        if not annotated:
            raise ValueError(
                f"{path}: Doc {place} has no annotation in {key}: {doc.text[:60]!r}. Annotate it "
                "(no spans is an annotation, too), or leave it out."
            )
    if not docs:
        raise ValueError(f"{path}: there are no Docs in it.")
    return docs


def find_threshold(nlp: Language, docs: list[Doc], spans_key: str) -> float:
    """Find the threshold of the span categorizer that gives the best strict F1, and set it.

    nlp (Language): The pipeline.
    docs (list[Doc]): Gold Docs that were not trained on.
    spans_key (str): Key of its spans.
    RETURNS (float): The threshold, the lowest if several are best. Raises ValueError if there is
        not exactly one span categorizer with a threshold and this key.
    """
    found = [
        pipe
        for _, pipe in nlp.pipeline
        if isinstance(pipe, SpanCategorizer)
        and pipe.key == spans_key
        and pipe.cfg["threshold"] is not None
    ]
    if len(found) != 1:
        raise ValueError(
            "Expected one span categorizer with a threshold that writes to "
            f"doc.spans[{spans_key!r}], to choose its threshold, but there are {len(found)} among "
            f"{', '.join(nlp.pipe_names) or 'no components'}."
        )
    pipe = found[0]
    before = pipe.cfg["threshold"]
    try:
        pipe.cfg["threshold"] = THRESHOLDS[0]
        predicted = list(nlp.pipe(copy_tokens(doc) for doc in docs))
    finally:
        pipe.cfg["threshold"] = before
    gold = [take_spans(doc, spans_key) for doc in docs]
    scores = {}
    for threshold in THRESHOLDS:
        kept = [_take_above(doc, spans_key, threshold) for doc in predicted]
        scores[threshold] = score_spans(gold, kept).micro.f1
    best = max(THRESHOLDS, key=scores.__getitem__)
    pipe.cfg["threshold"] = best
    return best


def take_spans(doc: Doc, spans_key: str | None) -> set[SpanT]:
    """Entities, or the spans under a key."""
    if spans_key is None:
        return {_locate(span) for span in doc.ents}
    return {_locate(span) for span in doc.spans[spans_key]} if spans_key in doc.spans else set()


def is_annotated(gold: Doc, span: SpanT) -> bool:
    """Whether all tokens of a span have an entity annotation, even if that is O."""
    return all(token.ent_iob != 0 for token in gold[span[0] : span[1]])


def evaluate(
    nlp: Language, docs: list[Doc], spans_key: str | None, *, warmup: int = WARMUP
) -> dict[str, Any]:
    """Score a pipeline and measure its speed.

    nlp (Language): The pipeline.
    docs (list[Doc]): Gold Docs. Predictions on tokens without annotation are left out.
    spans_key (str | None): Key of the spans; None: entities.
    warmup (int): Docs that are annotated once more, before the clock starts.
    RETURNS (dict[str, Any]): "f1", "precision" and "recall" in percent, counts (correct, predicted,
        gold) by "labels" and "documents", and "tokens_per_second".
    """
    list(nlp.pipe(copy_tokens(doc) for doc in docs[:warmup]))
    copies = [copy_tokens(doc) for doc in docs]
    start = time.perf_counter()
    predicted = list(nlp.pipe(copies))
    seconds = time.perf_counter() - start
    gold_spans = [take_spans(doc, spans_key) for doc in docs]
    found = [
        {span for span in take_spans(doc, spans_key) if spans_key or is_annotated(gold, span)}
        for doc, gold in zip(predicted, docs, strict=True)
    ]
    scores = score_spans(gold_spans, found)
    micro = scores.micro
    return {
        "f1": 100 * micro.f1,
        "precision": 100 * micro.precision,
        "recall": 100 * micro.recall,
        "labels": {
            label: [counts.n_correct, counts.n_predicted, counts.n_gold]
            for label, counts in scores.per_label.items()
        },
        "documents": count_by_document(gold_spans, found).tolist(),
        "tokens_per_second": sum(map(len, docs)) / seconds,
    }


def _locate(span: Span) -> SpanT:
    return span.start, span.end, span.label_


def _take_above(doc: Doc, spans_key: str, threshold: float) -> set[SpanT]:
    group = doc.spans[spans_key]
    # spaCy sets no scores where there was no candidate.
    scores = group.attrs.get("scores", ())
    return {_locate(span) for span, score in zip(group, scores, strict=True) if score >= threshold}
