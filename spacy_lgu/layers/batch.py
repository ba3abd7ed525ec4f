"""What the layer returns for a batch of Docs."""

from typing import Any, cast

import numpy
import torch
from spacy.tokens import Doc

from ..listeners.data import make_ragged
from ..listeners.stock import (
    FullTransformerBatch,
    ModelOutput,
    PackedTransformerBatch,
    WordpieceBatch,
)
from .alignment import EncodedDocs


def as_batch(
    docs: list[Doc], spans: list[list[Any]], encoded: EncodedDocs, Y: torch.Tensor
) -> PackedTransformerBatch:
    """The output of a forward pass.

    docs (list[Doc]): The Docs.
    spans (list[list[Span]]): As the span getter gave them.
    encoded (EncodedDocs): Their subtokens.
    Y (Tensor): Hidden states. Shape: (subtokens, width).
    RETURNS (PackedTransformerBatch): The batch.
    """
    ids = encoded.ids if encoded.rows is None else encoded.ids[encoded.rows]
    return PackedTransformerBatch(
        spans=spans,
        wordpieces=_row(encoded.strings, ids[None]),
        model_output=ModelOutput(last_hidden_state=Y[None]),
        align=make_ragged(encoded.indices, encoded.token_lengths),
        doc_lengths=encoded.doc_lengths,
        n_tokens=numpy.array([len(doc) for doc in docs], dtype="int64"),
    )


def hidden_states(batch: FullTransformerBatch) -> torch.Tensor:
    """The hidden states of a batch. Shape: (1, subtokens, width)."""
    return cast(Any, batch.model_output).last_hidden_state


def _row(strings: list[str], ids: numpy.ndarray) -> WordpieceBatch:
    return WordpieceBatch(
        strings=[strings],
        input_ids=cast(Any, ids),
        attention_mask=cast(Any, numpy.ones(ids.shape, dtype="float32")),
        lengths=[len(strings)],
        token_type_ids=None,
    )
