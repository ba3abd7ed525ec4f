"""What decoding needs of Docs, and predicted spans, written on them."""

from collections.abc import Sequence

import numpy
from spacy.attrs import IS_SPACE
from spacy.tokens import Doc, Span, SpanGroup

from ..labeling.tags import TokenSpans


def write_spans(
    docs: Sequence[Doc],
    spans: TokenSpans,
    probabilities: numpy.ndarray,
    *,
    labels: Sequence[str],
    spans_key: str,
) -> list[list[Span]]:
    """Write spans and their probabilities into doc.spans.

    docs (Sequence[Doc]): The Docs.
    spans (TokenSpans): The spans of all of them.
    probabilities (ndarray): One for each span. Shape: (spans,).
    labels (Sequence[str]): The labels by number.
    spans_key (str): Key in doc.spans.
    RETURNS (list[list[Span]]): The spans of each Doc.
    """
    bounds = numpy.searchsorted(spans.sequences, numpy.arange(len(docs) + 1)).tolist()
    starts, ends = spans.starts.tolist(), spans.ends.tolist()
    names = [labels[k] for k in spans.labels.tolist()]
    written = []
    for i, doc in enumerate(docs):
        rows = range(bounds[i], bounds[i + 1])
        found = [Span(doc, starts[j], ends[j], label=names[j]) for j in rows]
        scores = probabilities[bounds[i] : bounds[i + 1]].copy()
        group = SpanGroup(doc, name=spans_key, attrs={"scores": scores}, spans=found)
        doc.spans[spans_key] = group
        written.append(found)
    return written


def write_ents(doc: Doc, spans: list[Span], *, overwrite: bool) -> None:
    """Write spans into doc.ents.

    doc (Doc): The Doc.
    spans (list[Span]): The spans, none of which overlap.
    overwrite (bool): Whether entities that are there, and tokens blocked for them, may be
        replaced. False: they take precedence.
    """
    earlier: list[Span] = []
    blocked: list[Span] = []
    if not overwrite and doc.has_annotation("ENT_IOB"):
        earlier = list(doc.ents)
        iob, types = doc.to_array(["ENT_IOB", "ENT_TYPE"]).T
        rows = numpy.flatnonzero((iob == 3) & (types == 0))
        blocked = [doc[i : i + 1] for i in rows.tolist()]
        taken = numpy.zeros(len(doc), dtype="bool")
        for span in [*earlier, *blocked]:
            taken[span.start : span.end] = True
        spans = [span for span in spans if not taken[span.start : span.end].any()]
    else:
        for token in (token for ent in doc.ents for token in ent):
            token.ent_id = 0  # set_ents does not reset it
    doc.set_ents([*earlier, *spans], blocked=blocked)


def mark_spaces(docs: Sequence[Doc]) -> numpy.ndarray:
    """Which tokens are white space. Shape: (tokens of all Docs,)."""
    arrays = [doc.to_array(IS_SPACE).astype("bool") for doc in docs]
    return numpy.concatenate([numpy.zeros(0, dtype="bool"), *arrays])
