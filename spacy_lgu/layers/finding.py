"""Finds the decoder of a pipeline, whichever pipe has it."""

from collections.abc import Iterator
from typing import Any

from spacy.language import Language
from thinc.api import Model

from .shim import DecoderShim


def find_decoder(nlp: Language, component: str | None) -> tuple[str, DecoderShim]:
    """The decoder of a pipeline.

    nlp (Language): The pipeline; its decoder need not have weights yet.
    component (str | None): Name of the pipe that has it. None: the only one.
    RETURNS (tuple[str, DecoderShim]): The pipe's name and its decoder. Raises ValueError that
        names the pipes with a decoder, unless exactly one is meant.
    """
    found = {name: shim for name, pipe in nlp.components for shim in decoder_shims(pipe)}
    if component is not None and component not in found:
        raise ValueError(
            f"The pipe {component!r} has no decoder. Name one that has: {sorted(found)}."
        )
    if component is None and len(found) != 1:
        raise ValueError(
            f"Expected one pipe with a decoder (architecture spacy-lgu.LGUTransformer.v1 or "
            f"Tok2VecLGU.v1), but found {sorted(found)}. Name one with --component."
        )
    name = component if component is not None else next(iter(found))
    return name, found[name]


def decoder_shims(pipe: Any) -> Iterator[DecoderShim]:
    """RETURNS (Iterator[DecoderShim]): The decoders in the model of a pipe, which may have none."""
    model = getattr(pipe, "model", None)
    for node in model.walk() if isinstance(model, Model) else ():
        yield from (shim for shim in node.shims if isinstance(shim, DecoderShim))
