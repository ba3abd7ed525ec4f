"""Calibration of the sequence labelers of a pipeline on annotated examples."""

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy
from spacy.language import Language
from spacy.training import Example
from spacy.util import minibatch

from ..labeling.calibration import HIGHEST, LOWEST, Annotated, Calibration, calibrate
from .gold_tags import gold_place
from .sequence_labeler import SequenceLabeler
from .writing import mark_spaces

logger = logging.getLogger("spacy_lgu")

# Docs that go through the pipeline together: a transformer's vectors of all are in memory at once.
_BATCH = 64


def calibrate_pipeline(
    nlp: Language, get_examples: Callable[[], Iterable[Example]]
) -> dict[str, Calibration]:
    """Calibrate every sequence labeler of a pipeline.

    nlp (Language): The pipeline.
    get_examples (Callable): Returns annotated examples that were not trained on, afresh at each
        call.
    RETURNS (dict[str, Calibration]): The results by name of the component; empty if there is no
        sequence labeler. Raises ValueError as calibrate_labeler does.
    """
    return {
        name: calibrate_labeler(pipe, _apply_before(nlp, name, get_examples()))
        for name, pipe in nlp.pipeline
        if isinstance(pipe, SequenceLabeler)
    }


def calibrate_labeler(labeler: SequenceLabeler, examples: Iterable[Example]) -> Calibration:
    """Set the temperature of a labeler to that under which the annotation is most probable.

    labeler (SequenceLabeler): The labeler.
    examples (Iterable[Example]): Annotated examples that were not trained on, their predicted Docs
        as the components before the labeler leave them. They are read once, in batches.
    RETURNS (Calibration): The result. Raises ValueError if no token is annotated.
    """
    data = _collect(labeler, examples)
    if not data.n_known:
        raise ValueError(
            f"Cannot calibrate {labeler.name!r}: no token of the {len(data.lengths)} texts has an "
            f"annotation in {gold_place(labeler.gold_key)}. Give annotated data that was not "
            "trained on."
        )
    result = calibrate(data, temperature=labeler.temperature, decoding=labeler.decoding)
    labeler.cfg["temperature"] = result.temperature
    if not result.is_sound:
        logger.warning(
            "The temperature of %r, %.3g, says little: it lies at a bound of the search (%g to "
            "%g), or none of the %d annotated tokens is in doubt. Calibrate on more data that was "
            "not trained on.",
            labeler.name, result.temperature, LOWEST, HIGHEST, result.n_tokens,
        )  # fmt: skip
    return result


def _collect(labeler: SequenceLabeler, examples: Iterable[Example]) -> Annotated:
    parts = [_collect_batch(labeler, [])]
    parts += [_collect_batch(labeler, batch) for batch in minibatch(examples, _BATCH)]
    return Annotated(*map(numpy.concatenate, zip(*parts, strict=True)))


def _collect_batch(labeler: SequenceLabeler, batch: list[Example]) -> tuple[numpy.ndarray, ...]:
    """Logits, lengths, tags and white space, as in Annotated."""
    docs = [example.predicted for example in batch]
    lengths = numpy.array([len(doc) for doc in docs], dtype="int64")
    return labeler._logits(docs), lengths, labeler.gold_tags(batch), mark_spaces(docs)


def _apply_before(nlp: Language, name: str, examples: Iterable[Example]) -> Iterator[Example]:
    """Run the components before the named one on the examples, a batch in memory at a time."""
    pipes: list[Any] = [pipe for _, pipe in nlp.pipeline[: nlp.pipe_names.index(name)]]
    for batch in minibatch(examples, _BATCH):
        docs = [example.predicted for example in batch]
        for pipe in pipes:
            docs = list(pipe.pipe(docs)) if hasattr(pipe, "pipe") else [pipe(doc) for doc in docs]
        for example, doc in zip(batch, docs, strict=True):
            example.predicted = doc
        yield from batch
