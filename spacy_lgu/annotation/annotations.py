"""What is kept of an annotated Doc, in the words of Doc.to_json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc, Span


@dataclass(frozen=True)
class Annotations:
    """Spans in characters of the text. Each is start, end (exclusive), label; kb_id and id where it
    has them, and score, a probability, where its component gives one.

    ents (list[dict]): Entities.
    spans (dict[str, list[dict]]): Span groups by key. Their kb_id is always there, as in to_json.
    also (Mapping[str, Annotations]): What further pipelines found, by their names.
    """

    ents: list[dict[str, Any]]
    spans: dict[str, list[dict[str, Any]]]
    also: "Mapping[str, Annotations]" = field(default_factory=dict)


def scored_keys(nlp: Language) -> list[str]:
    """The span groups that hold the entities with their probabilities.

    nlp (Language): The pipeline.
    RETURNS (list[str]): Keys of its sequence labelers that annotate entities.
    """
    return [
        pipe.spans_key  # type: ignore[attr-defined]
        for _, pipe in nlp.pipeline
        if getattr(pipe, "annotate_ents", False) and isinstance(getattr(pipe, "spans_key", 0), str)
    ]


def read_annotations(doc: Doc, keys: Sequence[str]) -> Annotations:
    """What the pipeline wrote on a Doc.

    doc (Doc): The Doc.
    keys (Sequence[str]): From scored_keys.
    RETURNS (Annotations): Its entities and span groups, in the Doc's order.
    """
    spans = {}
    scores: dict[tuple[int, int, str], float] = {}
    for key, group in doc.spans.items():
        found = group.attrs.get("scores")
        # Others may have changed the group since its scores were written.
        known = [float(s) for s in found] if found is not None and len(found) == len(group) else []
        spans[key] = [{**_describe(span), "kb_id": span.kb_id_} for span in group]
        for described, span, score in zip(spans[key], group, known, strict=False):
            described["score"] = score
            if key in keys:
                scores[span.start, span.end, span.label_] = score
    ents = [_describe(ent) for ent in doc.ents]
    for described, ent in zip(ents, doc.ents, strict=True):
        if (place := (ent.start, ent.end, ent.label_)) in scores:
            described["score"] = scores[place]
    return Annotations(ents, spans)


def _describe(span: Span) -> dict[str, Any]:
    described: dict[str, Any] = {
        "start": span.start_char,
        "end": span.end_char,
        "label": span.label_,
    }
    if span.kb_id_:
        described["kb_id"] = span.kb_id_
    if span.id_:
        described["id"] = span.id_
    return described
