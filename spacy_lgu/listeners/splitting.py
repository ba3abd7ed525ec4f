"""The layer that gives each Doc its share of a batch."""

from collections.abc import Callable

from thinc.api import Model

from .batch import FullTransformerBatch
from .data import TransformerData

SplitT = Model[FullTransformerBatch, list[TransformerData]]


def split_trf_batch() -> SplitT:
    """RETURNS (Model): FullTransformerBatch -> one TransformerData per Doc."""
    return Model("split-trf-batch", forward)


def forward(
    model: SplitT, batch: FullTransformerBatch, is_train: bool
) -> tuple[list[TransformerData], Callable[[list[TransformerData]], FullTransformerBatch]]:
    def backprop(gradients: list[TransformerData]) -> FullTransformerBatch:
        return batch.unsplit_by_doc([[data.model_output.last_hidden_state] for data in gradients])

    return batch.doc_data, backprop
