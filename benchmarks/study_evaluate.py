"""Strict scores of a pipeline on gold tokens, with counts by document, and its speed.

    python benchmarks/study_evaluate.py training/model-last test.spacy scores.json
    python benchmarks/study_evaluate.py training/model-last test.spacy scores.json \
        --spans-key sc --threshold-of spancat --dev dev.spacy

What `spacy evaluate` and `spacy find-threshold` do, but without tokenizing the texts again, and
with the counts that a bootstrap over documents needs.
"""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import spacy
import typer
from spacy.cli._util import setup_gpu
from spacy.language import Language
from spacy.tokens import Doc, Span

from spacy_lgu.metrics.strict import SpanT, count_by_document, score_spans
from spacy_lgu.replacing import replace_file
from spacy_lgu.training.readers import copy_tokens, gold_tokens_v1

THRESHOLDS = [round(0.05 * i, 2) for i in range(1, 20)]
WARMUP = 64  # texts before the clock starts: the first ones wait for caches and kernels


def read_gold(nlp: Language, path: Path, limit: int, spans_key: str | None) -> list[Doc]:
    """The annotated Docs of a file. Raises ValueError if one has no annotation."""
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


def find_threshold(nlp: Language, name: str, docs: list[Doc], spans_key: str) -> float:
    """The threshold of a span categorizer that gives the best strict F1; set on return.

    nlp (Language): The pipeline.
    name (str): Its span categorizer.
    docs (list[Doc]): Gold Docs that were not trained on.
    spans_key (str): Key of its spans.
    RETURNS (float): The lowest of the best.
    """
    pipe: Any = nlp.get_pipe(name)
    pipe.cfg["threshold"] = THRESHOLDS[0]
    predicted = list(nlp.pipe(copy_tokens(doc) for doc in docs))
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
    """Whether all tokens of a span have an entity annotation, even if it is none."""
    return all(token.ent_iob != 0 for token in gold[span[0] : span[1]])


def evaluate(nlp: Language, docs: list[Doc], spans_key: str | None) -> dict[str, Any]:
    """Scores in percent, counts (correct, predicted, gold) by label and by document, and speed.

    nlp (Language): The pipeline.
    docs (list[Doc]): Gold Docs. Predictions on tokens without annotation are left out.
    spans_key (str | None): Key of the spans; None: entities.
    """
    list(nlp.pipe(copy_tokens(doc) for doc in docs[:WARMUP]))
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


def main(
    model: Annotated[Path, typer.Argument(help="Pipeline")],
    test: Annotated[Path, typer.Argument(help=".spacy")],
    output: Annotated[Path, typer.Argument(help="JSON file to write")],
    spans_key: Annotated[str | None, typer.Option(help="Score doc.spans[KEY], not ents")] = None,
    threshold_of: Annotated[
        str | None, typer.Option(help="Span categorizer whose threshold is chosen on --dev")
    ] = None,
    dev: Annotated[Path | None, typer.Option(help=".spacy")] = None,
    limit: Annotated[int, typer.Option(help="Docs of each file; 0: all")] = 0,
    gpu_id: int = -1,
) -> None:
    """Evaluate a pipeline."""
    setup_gpu(gpu_id)
    nlp = spacy.load(model)
    scores: dict[str, Any] = {"threshold": None}
    if threshold_of is not None:
        if dev is None or spans_key is None:
            raise ValueError("--threshold-of needs --dev and --spans-key.")
        docs = read_gold(nlp, dev, limit, spans_key)
        scores["threshold"] = find_threshold(nlp, threshold_of, docs, spans_key)
    scores |= evaluate(nlp, read_gold(nlp, test, limit, spans_key), spans_key)
    replace_file(output, json.dumps(scores).encode("utf8") + b"\n")


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(main)
    app()
