"""What a transformer's layer returns for a batch of Docs."""

from dataclasses import dataclass, field
from typing import Any

import numpy
from spacy.tokens import Span
from thinc.types import Floats3d, Ragged

from .data import ModelOutput, TransformerData, WordpieceBatch, make_ragged
from .packed import split_packed, unsplit_packed


def no_lengths() -> numpy.ndarray:
    """RETURNS (ndarray): The lengths in a batch without Docs. Shape: (0,)."""
    return numpy.zeros(0, dtype="int64")


@dataclass
class FullTransformerBatch:
    """The output for a batch of Docs, with all subtokens in one row instead of a padded rectangle.

    spans (list[list[Span]]): As the span getter gave them, for each Doc.
    wordpieces (WordpieceBatch): The subtokens, as one sequence.
    model_output (ModelOutput): last_hidden_state is a tensor of shape (1, subtokens, width).
    align (Ragged): For each token of the batch in turn, the subtokens it consists of.
    cached_doc_data (list[TransformerData] | None): The batch by Doc, once it was asked for.
    doc_lengths (ndarray): Subtokens of each Doc. Shape: (docs,).
    n_tokens (ndarray): Tokens of each Doc. Shape: (docs,).
    """

    spans: list[list[Span]]
    wordpieces: WordpieceBatch
    model_output: ModelOutput
    align: Ragged
    cached_doc_data: list[TransformerData] | None = None
    doc_lengths: numpy.ndarray = field(default_factory=no_lengths)
    n_tokens: numpy.ndarray = field(default_factory=no_lengths)

    @classmethod
    def empty(cls, nr_docs: int) -> "FullTransformerBatch":
        """The output for Docs without tokens.

        nr_docs (int): How many.
        RETURNS (FullTransformerBatch): It has no vectors.
        """
        return cls(
            spans=[[] for _ in range(nr_docs)],
            wordpieces=WordpieceBatch.empty(),
            model_output=ModelOutput(),
            align=make_ragged([], []),
            cached_doc_data=[TransformerData.empty() for _ in range(nr_docs)],
        )

    @property
    def tensors(self) -> tuple[Any, ...]:
        """RETURNS (tuple): The tensors of the output in order."""
        return self.model_output.to_tuple()

    @property
    def tokens(self) -> dict[str, Any]:
        """RETURNS (dict): The subtokens as a tokenizer of transformers returns them."""
        return self.wordpieces.to_hf_dict()

    @property
    def doc_data(self) -> list[TransformerData]:
        """RETURNS (list[TransformerData]): The batch by Doc, computed once."""
        if self.cached_doc_data is None:
            self.cached_doc_data = self.split_by_doc()
        return self.cached_doc_data

    def split_by_doc(self) -> list[TransformerData]:
        """RETURNS (list[TransformerData]): As split_packed does it."""
        return split_packed(self, TransformerData)

    def unsplit_by_doc(self, arrays: list[list[Floats3d]]) -> "FullTransformerBatch":
        """The gradient of the batch from those of its Docs.

        arrays (list): As in unsplit_packed.
        RETURNS (FullTransformerBatch): As from unsplit_packed.
        """
        return unsplit_packed(self, arrays)
