"""The packed batch as one of spacy-transformers' batches. Imported only where that is in use."""

from dataclasses import dataclass, field
from typing import Any, cast

import numpy
from spacy_transformers.data_classes import FullTransformerBatch, TransformerData
from thinc.types import Floats3d

from .batch import no_lengths
from .packed import split_packed, unsplit_packed


@dataclass
class PackedTransformerBatch(FullTransformerBatch):
    """The output for a batch of Docs, with all subtokens in one row instead of a padded rectangle.

    doc_lengths (ndarray): Subtokens of each Doc. Shape: (docs,).
    n_tokens (ndarray): Tokens of each Doc. Shape: (docs,).
    """

    doc_lengths: numpy.ndarray = field(default_factory=no_lengths)
    n_tokens: numpy.ndarray = field(default_factory=no_lengths)

    def split_by_doc(self) -> list[Any]:
        """RETURNS (list[TransformerData]): As split_packed does it."""
        return split_packed(cast(Any, self), cast(Any, TransformerData))

    def unsplit_by_doc(self, arrays: list[list[Floats3d]]) -> "PackedTransformerBatch":
        """The gradient of the batch from those of its Docs.

        arrays (list): As in unsplit_packed.
        RETURNS (PackedTransformerBatch): As from unsplit_packed.
        """
        return unsplit_packed(cast(Any, self), arrays)
