"""A packed batch, taken apart by Doc and put together again, of whichever classes it is made."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy
from thinc.api import get_array_module, torch2xp, xp2torch
from thinc.types import Floats3d

from ..segments import find_bounds
from .data import TransformerData, make_ragged

if TYPE_CHECKING:
    from .batch import FullTransformerBatch

BatchT = TypeVar("BatchT", bound="FullTransformerBatch")


def split_packed(
    batch: "FullTransformerBatch", data_class: type[TransformerData]
) -> list[TransformerData]:
    """Take a batch apart.

    batch (FullTransformerBatch): Its arrays have one row, in which the Docs' subtokens lie end to
        end.
    data_class (type): What to make for each Doc.
    RETURNS (list[TransformerData]): One per Doc; its last_hidden_state has the shape
        (1, subtokens of the Doc, width). Views where it can be.
    """
    output_class, subtoken_class = type(batch.model_output), type(batch.wordpieces)
    Y: Any = torch2xp(batch.model_output.last_hidden_state)  # (1, subtokens, width)
    ids: Any = batch.wordpieces.input_ids  # thinc types no indexing along two axes
    mask: Any = batch.wordpieces.attention_mask
    n_aligned = cast(numpy.ndarray, batch.align.lengths)
    aligned_bounds = find_bounds(n_aligned)
    token_bounds = find_bounds(batch.n_tokens)
    # (docs + 1,) each: subtokens, tokens, and where their alignments begin
    starts = find_bounds(batch.doc_lengths).tolist()
    token_starts, aligned_starts = token_bounds.tolist(), aligned_bounds[token_bounds].tolist()
    outputs = []
    for i, length in enumerate(batch.doc_lengths.tolist()):
        if not length:
            outputs.append(data_class.empty())
            continue
        start, end = starts[i], starts[i + 1]
        aligned = slice(aligned_starts[i], aligned_starts[i + 1])
        outputs.append(
            data_class(
                wordpieces=subtoken_class(
                    strings=[batch.wordpieces.strings[0][start:end]],
                    input_ids=ids[:, start:end],
                    attention_mask=mask[:, start:end],
                    lengths=[length],
                    token_type_ids=None,
                ),
                model_output=output_class(last_hidden_state=Y[:, start:end]),
                align=make_ragged(
                    cast(Any, batch.align.dataXd[aligned]) - start,
                    n_aligned[token_starts[i] : token_starts[i + 1]],
                ),
            )
        )
    return outputs


def unsplit_packed(batch: BatchT, arrays: list[list[Floats3d]]) -> BatchT:
    """The gradient of a batch from those of its Docs, empty Docs left out.

    batch (FullTransformerBatch): What the forward pass returned.
    arrays (list): Per Doc, one array of shape (1, subtokens of the Doc, width).
    RETURNS (FullTransformerBatch): last_hidden_state has the shape (1, subtokens, width). Raises
        ValueError for gradients that do not cover the batch.
    """
    gradients = [doc_arrays[0] for doc_arrays in arrays]
    dY = get_array_module(gradients[0]).concatenate(gradients, axis=1)
    if dY.shape[1] != batch.doc_lengths.sum():
        raise ValueError(
            f"Expected gradients for {batch.doc_lengths.sum()} subtokens of "
            f"{len(batch.doc_lengths)} Docs, but got {dY.shape[1]}."
        )
    output = type(batch.model_output)(last_hidden_state=xp2torch(dY))
    return replace(batch, model_output=output, cached_doc_data=None)
