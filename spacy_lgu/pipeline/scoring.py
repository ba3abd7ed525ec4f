"""The scorer of the component `sequence_labeler`."""

from collections.abc import Callable, Iterable
from typing import Any

from spacy.pipeline.spancat import spancat_score
from spacy.scorer import get_ner_prf
from spacy.training import Example

ScorerT = Callable[..., dict[str, Any]]


def sequence_labeler_score(
    examples: Iterable[Example], *, annotate_ents: bool, spans_key: str, **kwargs: Any
) -> dict[str, Any]:
    """Precision, recall and F1 of exact spans, by micro average and per label.

    examples (Iterable[Example]): The examples, with predictions.
    annotate_ents (bool): Score doc.ents, as spaCy's entity recognizer is scored ("ents_f" ...),
        rather than doc.spans, as spaCy's span categorizer is ("spans_KEY_f" ...).
    spans_key (str): Key in doc.spans.
    RETURNS (dict[str, Any]): The scores.
    """
    if annotate_ents:
        return get_ner_prf(examples)
    return spancat_score(examples, spans_key=spans_key)


def make_sequence_labeler_scorer() -> ScorerT:
    """RETURNS (Callable): The scorer, as configs name it."""
    return sequence_labeler_score
