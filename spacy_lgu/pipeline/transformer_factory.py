"""The factory `lgu_transformer` and its default config."""

from collections.abc import Callable

from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import Config

from ..layers.transformer import LGUTransformerT
from ..listeners.stock import FullTransformerBatch
from .listening import remember_pipeline
from .transformer import LGUTransformer

DEFAULT_CONFIG = Config().from_str(
    """
[transformer]
base_weights = "auto"
max_batch_items = "auto"

[transformer.set_extra_annotations]
@annotation_setters = "spacy-lgu.null_annotation_setter.v1"

[transformer.model]
@architectures = "spacy-lgu.LGUTransformer.v1"
name = "mistralai/Mistral-7B-v0.3"
revision = null
unmasking = "ccbb"
n_layers = null
repeat = 0
read_previous = false
quantization = "nf4"
dtype = "auto"
products = "exact"
tuning = "lora"
gradient_checkpointing = false
window = null
stride = null
tokenizer_config = {}
optimizer = null
self_test = true

[transformer.model.lora]
@misc = "spacy-lgu.lora.v1"
variant = "lora"
rank = 64
alpha = 16
dropout = 0.1
modules = "attention"
parameters = []
path = null

[transformer.model.get_spans]
@span_getters = "spacy-lgu.doc_spans.v1"
"""
)


@Language.factory(
    "lgu_transformer", assigns=["doc._.trf_data"], default_config=DEFAULT_CONFIG["transformer"]
)
def make_lgu_transformer(
    nlp: Language,
    name: str,
    model: LGUTransformerT,
    set_extra_annotations: Callable[[list[Doc], FullTransformerBatch], None],
    max_batch_items: int | str,
    base_weights: str,
) -> LGUTransformer:
    """A pretrained decoder with some of its layer groups unmasked, as spaCy's transformer.

    model (Model[List[Doc], FullTransformerBatch]): Usually spacy-lgu.LGUTransformer.v1.
    set_extra_annotations (Callable): Gets the Docs and the FullTransformerBatch of each batch.
    max_batch_items (int | str): Real subtokens per forward pass at inference, each copy of those
        that are repeated; may split one Doc. On a CPU at most 1,024 count, where more are
        slower. "auto": those; on a GPU up to 16,384, as its free memory allows at the first text.
    base_weights (str): What a save holds of the frozen base: "bundle" (all), "reference" (its
        name), "link" (all, as hard links to another bundle of it where the file system can), or
        "auto": bundle if it came from a local folder, else reference.
    RETURNS (LGUTransformer): The component.
    """
    transformer = LGUTransformer(
        nlp.vocab,
        model,
        set_extra_annotations,
        name=name,
        max_batch_items=max_batch_items,
        base_weights=base_weights,
    )
    remember_pipeline(transformer, nlp)
    return transformer
