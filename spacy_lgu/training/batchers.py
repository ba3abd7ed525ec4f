"""Batches with a bounded number of subtokens, which is what bounds the memory of training.

Text in overlapping windows is run more than once: a text longer than the window, with a stride of
half of it, counts about twice as much in the decoder as here.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from typing import Any

from spacy.training import Example
from spacy.util import minibatch
from transformers import PreTrainedTokenizerFast

from ..decoder.source import find_source, load_tokenizer
from ..layers.tokenizing import count_subtokens

BatcherT = Callable[[Iterable[Example]], Iterable[list[Example]]]
# Examples tokenized at once; the tokenizer works on them in parallel.
_BUFFER = 256


def batch_by_subtokens_v1(
    size: int | Iterable[int],
    name: str,
    revision: str | None = None,
    tokenizer_config: dict[str, Any] = {},  # noqa: B006  spaCy fills configs from defaults
) -> BatcherT:
    """Batch examples by the subtokens of their texts, which is what the decoder sees without
    overlapping windows; packed batches have no padding.

    size (int | Iterable[int]): Most subtokens per batch, or a schedule of it, whose last value
        stays. An example with more gets a batch of its own: nothing is discarded.
    name (str): The decoder, as in the transformer's config.
    revision (str | None): Its revision on the hub.
    tokenizer_config (dict): Passed to AutoTokenizer.
    RETURNS (Callable): Examples -> batches of examples, in order. Raises ValueError for a size
        below 1, of a schedule when it is reached.
    """
    sizes = [_check_size(size)] if isinstance(size, int) else size

    def batcher(examples: Iterable[Example]) -> Iterator[list[Example]]:
        tokenizer = load_tokenizer(find_source(name, revision), tokenizer_config)
        return _batch(examples, _draw_sizes(sizes), tokenizer)

    return batcher


def _draw_sizes(sizes: Iterable[int]) -> Iterator[int]:
    last = 0
    for last in sizes:
        yield _check_size(last)
    yield from repeat(_check_size(last))


def _check_size(size: int) -> int:
    if size < 1:
        raise ValueError(f"A batch must hold at least 1 subtoken, but size is {size}.")
    return size


def _batch(
    examples: Iterable[Example], sizes: Iterator[int], tokenizer: PreTrainedTokenizerFast
) -> Iterator[list[Example]]:
    batch: list[Example] = []
    n_subtokens, size = 0, next(sizes)
    for buffer in minibatch(examples, _BUFFER):
        docs = [example.predicted for example in buffer]
        counts = count_subtokens(docs, tokenizer)
        for example, count in zip(buffer, counts, strict=True):
            if batch and n_subtokens + count > size:
                yield batch
                batch, n_subtokens, size = [], 0, next(sizes)
            batch.append(example)
            n_subtokens += count
    if batch:
        yield batch
