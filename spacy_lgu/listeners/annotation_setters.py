"""What a transformer component does with each batch besides doc._.trf_data."""

from collections.abc import Callable

from spacy.tokens import Doc

from .batch import FullTransformerBatch

AnnotationSetterT = Callable[[list[Doc], FullTransformerBatch], None]


def null_annotation_setter_v1() -> AnnotationSetterT:
    """RETURNS (Callable): One that does nothing."""
    return null_annotation_setter


def null_annotation_setter(docs: list[Doc], trf_data: FullTransformerBatch) -> None:
    """Nothing besides doc._.trf_data.

    docs (list[Doc]): The Docs.
    trf_data (FullTransformerBatch): Their batch.
    """
