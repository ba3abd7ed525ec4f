"""A stand-in for the factory `transformer`. Imported only where spacy-transformers is not in use.

Pipelines with this package's decoder in the factory of spacy-transformers load with it, and are
saved as they were there: the model as bytes.
"""

from collections.abc import Callable

from spacy.language import Language
from spacy.tokens import Doc

from .component import Transformer, TransformerT
from .stock import FullTransformerBatch


@Language.factory(
    "transformer",
    assigns=["doc._.trf_data"],
    default_config={
        "max_batch_items": 4096,
        "set_extra_annotations": {"@annotation_setters": "spacy-lgu.null_annotation_setter.v1"},
    },
)
def make_transformer(
    nlp: Language,
    name: str,
    model: TransformerT,
    set_extra_annotations: Callable[[list[Doc], FullTransformerBatch], None],
    max_batch_items: int,
) -> Transformer:
    """A transformer component that saves its model as bytes.

    model (Model[list[Doc], FullTransformerBatch]): Usually spacy-lgu.LGUTransformer.v1.
    set_extra_annotations (Callable): Gets the Docs and the FullTransformerBatch of each batch.
    max_batch_items (int): Kept in the config; the layer bounds its batches itself.
    RETURNS (Transformer): The component.
    """
    return Transformer(
        nlp.vocab, model, set_extra_annotations, name=name, max_batch_items=max_batch_items
    )
