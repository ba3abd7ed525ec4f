"""What an Example says about the tags of its tokens."""

import warnings
from collections.abc import Iterable, Mapping, Sequence

import numpy
from spacy.errors import Warnings
from spacy.tokens import Span
from spacy.training import Example

from ..labeling.tags import MISSING, OUTSIDE


def gold_spans(example: Example, spans_key: str | None) -> list[Span] | None:
    """The annotated spans, on the reference Doc.

    example (Example): The example.
    spans_key (str | None): Key in doc.spans. None: doc.ents.
    RETURNS (list[Span] | None): In order. None for a Doc without annotation: no token has an
        entity annotation, or doc.spans has no such key. Raises ValueError for spans that overlap
        or have no label.
    """
    reference = example.reference
    if spans_key is None:
        return list(reference.ents) if reference.has_annotation("ENT_IOB") else None
    if spans_key not in reference.spans:
        return None
    spans = sorted(reference.spans[spans_key])
    for i, span in enumerate(spans):
        if not span.label_:
            raise ValueError(
                f"The span {span.text!r} in doc.spans[{spans_key!r}] has no label, in the text "
                f"{_shorten(reference.text)!r}. Give it one, or remove it."
            )
        if i and span.start < spans[i - 1].end:
            raise ValueError(
                f"The spans {spans[i - 1].text!r} ({spans[i - 1].label_}) and {span.text!r} "
                f"({span.label_}) in doc.spans[{spans_key!r}] overlap, in the text "
                f"{_shorten(reference.text)!r}: one tag per token cannot hold both. Use the "
                "component spancat for spans that overlap, or keep one of them, for example with "
                "spacy.util.filter_spans."
            )
    return spans


def find_labels(examples: Iterable[Example], spans_key: str | None) -> list[str]:
    """The labels of all annotated spans.

    examples (Iterable[Example]): The examples.
    spans_key (str | None): Key in doc.spans. None: doc.ents.
    RETURNS (list[str]): Sorted. Raises ValueError as gold_spans does.
    """
    found: set[str] = set()
    for example in examples:
        found.update(span.label_ for span in gold_spans(example, spans_key) or ())
    return sorted(found)


def gold_place(spans_key: str | None) -> str:
    """RETURNS (str): Where the annotation is, for messages."""
    return "doc.ents" if spans_key is None else f"doc.spans[{spans_key!r}]"


def say_no_labels(name: str, examples: Iterable[Example], spans_key: str | None) -> str:
    """The message for examples without any span.

    name (str): Name of the component.
    examples, spans_key: As in find_labels.
    RETURNS (str): The message.
    """
    keys = sorted({key for example in examples for key in example.reference.spans})
    if spans_key is None:
        other = f"doc.spans (keys: {', '.join(keys) or 'none'})"
        change = "annotate_ents = false and the spans_key"
    else:
        other = f"doc.ents, or doc.spans has another key (found: {', '.join(keys) or 'none'})"
        change = "annotate_ents = true, or the spans_key"
    return (
        f"The sequence labeler {name!r} found no labels: none of the training examples has a span "
        f"in {gold_place(spans_key)}. Check the training corpus (`spacy debug data`); if its spans "
        f"are in {other}, set {change}; or give labels in [initialize.components.{name}]."
    )


def gold_tags(
    examples: Sequence[Example], numbers: Mapping[str, int], spans_key: str | None
) -> numpy.ndarray:
    """The tags of the tokens of a batch, on the tokens of the predicted Docs.

    Where spans do not align with these tokens, there is a warning and the tags are missing, as in
    spaCy's entity recognizer.

    examples (Sequence[Example]): The batch.
    numbers (Mapping[str, int]): The number of each tag.
    spans_key (str | None): Key in doc.spans. None: doc.ents.
    RETURNS (ndarray): MISSING where there is no annotation. Shape: (tokens of all Docs,). Raises
        ValueError for a label without a number.
    """
    tags = [numpy.zeros(0, dtype="int64")]
    for example in examples:
        spans = gold_spans(example, spans_key)
        if spans is None:
            tags.append(numpy.full(len(example.predicted), MISSING))
        else:
            _check_labels(spans, numbers)
            tags.append(_align(example, spans, numbers, spans_key))
    return numpy.concatenate(tags)


def _align(
    example: Example, spans: list[Span], numbers: Mapping[str, int], spans_key: str | None
) -> numpy.ndarray:
    if spans_key is None:
        aligned, biluo = example.get_aligned_ents_and_ner()
        is_missing = numpy.array([tag in (None, "-") for tag in biluo], dtype="bool")
        tags = numpy.where(is_missing, MISSING, OUTSIDE)
        n_misaligned = len(spans) - len(aligned)
    else:
        aligned = example.get_aligned_spans_y2x(spans, allow_overlap=True)
        tags = numpy.full(len(example.predicted), OUTSIDE)
        n_misaligned = len(spans) - len(aligned)
        if n_misaligned:
            for span in spans:
                tags[example.alignment.y2x[span.start : span.end]] = MISSING
    for span in aligned:
        begin = numbers[f"B-{span.label_}"]
        tags[span.start : span.end] = begin + 1
        tags[span.start] = begin
    if n_misaligned:
        offsets = str([(span.start_char, span.end_char, span.label_) for span in spans])
        text = _shorten(example.predicted.text)
        warnings.warn(Warnings.W030.format(text=text, entities=_shorten(offsets)), stacklevel=2)
    return tags


def _check_labels(spans: list[Span], numbers: Mapping[str, int]) -> None:
    unknown = sorted({span.label_ for span in spans if f"B-{span.label_}" not in numbers})
    if unknown:
        known = ", ".join(tag[2:] for tag in numbers if tag.startswith("B-"))
        raise ValueError(
            f"The annotation has the labels {unknown}, which the sequence labeler does not know "
            f"(it knows: {known}). To train, add them with add_label, or to the labels in "
            "[initialize.components]; to calibrate, leave out the texts that have them."
        )


def _shorten(text: str) -> str:
    return text[:50] + "..." if len(text) > 50 else text
