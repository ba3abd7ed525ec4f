"""What the layer returns for a batch of Docs, and each Doc's share of it."""

from dataclasses import dataclass, field
from typing import Any, cast

import numpy
import torch
from spacy.tokens import Doc
from spacy_transformers.data_classes import FullTransformerBatch, TransformerData, WordpieceBatch
from thinc.api import get_array_module, torch2xp, xp2torch
from thinc.types import Floats3d, Ints1d, Ragged
from transformers.utils import ModelOutput

from ..segments import find_bounds
from .alignment import EncodedDocs


@dataclass
class LGUTransformerBatch(FullTransformerBatch):
    """The output for a batch of Docs, with all subtokens in one row instead of a padded rectangle.

    doc_lengths (ndarray): Subtokens of each Doc. Shape: (docs,).
    n_tokens (ndarray): Tokens of each Doc. Shape: (docs,).
    """

    doc_lengths: numpy.ndarray = field(default_factory=lambda: numpy.zeros(0, dtype="int64"))
    n_tokens: numpy.ndarray = field(default_factory=lambda: numpy.zeros(0, dtype="int64"))

    def split_by_doc(self) -> list[TransformerData]:
        """RETURNS (list[TransformerData]): One per Doc; its last_hidden_state has the shape
        (1, subtokens of the Doc, width)."""
        Y = cast(Any, torch2xp(hidden_states(self)))  # thinc types no indexing along two axes
        ids = cast(numpy.ndarray, self.wordpieces.input_ids)
        strings = self.wordpieces.strings[0]
        n_aligned = cast(numpy.ndarray, self.align.lengths)
        aligned_bounds = find_bounds(n_aligned)
        token_bounds = find_bounds(self.n_tokens)
        # (docs + 1,) each: subtokens, tokens, and where their alignments begin
        starts = find_bounds(self.doc_lengths).tolist()
        token_starts, aligned_starts = token_bounds.tolist(), aligned_bounds[token_bounds].tolist()
        outputs = []
        for i, length in enumerate(self.doc_lengths.tolist()):
            if not length:
                outputs.append(TransformerData.empty())
                continue
            start, end = starts[i], starts[i + 1]
            aligned = slice(aligned_starts[i], aligned_starts[i + 1])
            outputs.append(
                TransformerData(
                    wordpieces=_wordpieces(strings[start:end], ids[:, start:end]),
                    model_output=ModelOutput(last_hidden_state=Y[:, start:end]),
                    align=_ragged(
                        cast(Any, self.align.dataXd[aligned]) - start,
                        n_aligned[token_starts[i] : token_starts[i + 1]],
                    ),
                )
            )
        return outputs

    def unsplit_by_doc(self, arrays: list[list[Floats3d]]) -> "LGUTransformerBatch":
        """The gradient of the batch from those of its Docs, empty Docs left out.

        arrays (list): Per Doc, one array of shape (1, subtokens of the Doc, width).
        RETURNS (LGUTransformerBatch): last_hidden_state has the shape (1, subtokens, width).
        """
        gradients = [doc_arrays[0] for doc_arrays in arrays]
        xp = get_array_module(gradients[0])
        dY = xp.concatenate(gradients, axis=1)
        if dY.shape[1] != self.doc_lengths.sum():
            raise ValueError(
                f"Expected gradients for {self.doc_lengths.sum()} subtokens of "
                f"{len(self.doc_lengths)} Docs, but got {dY.shape[1]}."
            )
        return LGUTransformerBatch(
            spans=self.spans,
            wordpieces=self.wordpieces,
            model_output=ModelOutput(last_hidden_state=xp2torch(dY)),
            align=self.align,
            doc_lengths=self.doc_lengths,
            n_tokens=self.n_tokens,
        )


def as_batch(
    docs: list[Doc], spans: list[list[Any]], encoded: EncodedDocs, Y: torch.Tensor
) -> LGUTransformerBatch:
    """The output of a forward pass.

    docs (list[Doc]): The Docs.
    spans (list[list[Span]]): As the span getter gave them.
    encoded (EncodedDocs): Their subtokens.
    Y (Tensor): Hidden states. Shape: (subtokens, width).
    RETURNS (LGUTransformerBatch): The batch.
    """
    ids = encoded.ids if encoded.rows is None else encoded.ids[encoded.rows]
    return LGUTransformerBatch(
        spans=spans,
        wordpieces=_wordpieces(encoded.strings, ids[None]),
        model_output=ModelOutput(last_hidden_state=Y[None]),
        align=_ragged(encoded.indices.astype("int32"), encoded.token_lengths.astype("int32")),
        doc_lengths=encoded.doc_lengths,
        n_tokens=numpy.array([len(doc) for doc in docs], dtype="int64"),
    )


def hidden_states(batch: FullTransformerBatch) -> torch.Tensor:
    """The hidden states of a batch. Shape: (1, subtokens, width)."""
    return cast(Any, batch.model_output).last_hidden_state


def _ragged(data: numpy.ndarray, lengths: numpy.ndarray) -> Ragged:
    return Ragged(cast(Ints1d, data), cast(Ints1d, lengths))


def _wordpieces(strings: list[str], ids: numpy.ndarray) -> WordpieceBatch:
    return WordpieceBatch(
        strings=[strings],
        input_ids=cast(Any, ids),
        attention_mask=cast(Any, numpy.ones(ids.shape, dtype="float32")),
        lengths=[len(strings)],
        token_type_ids=None,
    )
