"""The classes in use: spacy-transformers' where it is installed and works, else those of this room.

All other rooms, and the entry points, take them from here. spacy-transformers' own layers check for
its own classes, so that where it is there, they must be the ones: its listeners then read this
package's transformer, and the other way round.
"""

from typing import TYPE_CHECKING

import catalogue
import srsly
from spacy.util import registry

from .availability import uses_stock

USES_STOCK = uses_stock()

# spaCy has no registry of these two; the names are those of spacy-transformers.
for _name in ("span_getters", "annotation_setters"):
    if not hasattr(registry, _name):
        setattr(registry, _name, catalogue.create("spacy", _name, entry_points=True))

if TYPE_CHECKING or not USES_STOCK:
    from spacy.pipeline import TrainablePipe as ComponentBase

    from .batch import FullTransformerBatch
    from .batch import FullTransformerBatch as PackedTransformerBatch
    from .data import ModelOutput, TransformerData, WordpieceBatch, decode, encode
    from .listener import TransformerListener
    from .pooling import trfs2arrays
    from .splitting import split_trf_batch

    srsly.msgpack_encoders("transformerdata", func=encode)
    srsly.msgpack_decoders("transformerdata", func=decode)
else:
    from spacy_transformers.data_classes import (
        FullTransformerBatch,
        ModelOutput,
        TransformerData,
        WordpieceBatch,
    )
    from spacy_transformers.layers import TransformerListener, split_trf_batch, trfs2arrays
    from spacy_transformers.pipeline_component import Transformer as ComponentBase

    from .over_stock import PackedTransformerBatch

__all__ = [
    "USES_STOCK",
    "ComponentBase",
    "FullTransformerBatch",
    "ModelOutput",
    "PackedTransformerBatch",
    "TransformerData",
    "TransformerListener",
    "WordpieceBatch",
    "split_trf_batch",
    "trfs2arrays",
]
