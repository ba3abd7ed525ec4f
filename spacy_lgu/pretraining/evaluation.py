"""How well a decoder models text it was not trained on."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy
import torch

from ..decoder.decoder import LGUDecoder
from ..decoder.loading import TORCH_DTYPES
from ..decoder.packing import PackedBatch
from ..segments import list_rows
from .objectives import LinearCrossEntropy, Objective
from .text import special_subtokens

# Subtokens per forward pass.
_PASS = 4096


@torch.no_grad()
def bits_per_byte(
    decoder: LGUDecoder,
    head: torch.Tensor,
    tokenizer: Any,
    texts: Iterable[str],
    *,
    window: int = 448,
    context: int = 64,
) -> float:
    """Bits that a causal decoder spends per UTF-8 byte, comparable between vocabularies.

    The first window of a text scores everything after the special subtokens; each later one
    begins with the last `context` subtokens of the one before, which only give context, so that
    every subtoken is scored exactly once.

    decoder (LGUDecoder): Every layer causal.
    head (Tensor): The LM head. Shape: (vocab, width).
    tokenizer (PreTrainedTokenizerFast): Its tokenizer, which must put a BOS before a text.
    texts (Iterable[str]): The texts.
    window (int): Subtokens per window.
    context (int): Subtokens of a later window that are not scored, from 1 to below the window.
    RETURNS (float): Bits per byte. Raises ValueError if there is nothing to score.
    """
    if not 1 <= context < window:
        raise ValueError(
            "Expected a context of at least 1 and less than the window, but got a context of "
            f"{context} and a window of {window}."
        )
    if any(decoder.unmasked):
        raise ValueError(
            "Bits per byte are for decoders whose layers are all causal: an unmasked layer sees "
            "the subtoken it has to predict."
        )
    prefix, _ = special_subtokens(tokenizer)
    if not len(prefix):
        raise ValueError(
            "The tokenizer puts no BOS before a text, so the first subtoken has no score: use a "
            "tokenizer that does."
        )
    windows, scored, n_bytes = [], [], 0
    for text in texts:
        ids = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        ids = numpy.concatenate([prefix, numpy.array(ids, dtype="int32")])
        n_bytes += len(text.encode("utf8"))
        for start in range(0, len(ids), window - context):
            piece = ids[start : start + window]
            n_new = len(piece) - (context if start else len(prefix))
            if n_new <= 0:
                break
            windows.append(piece)
            scored.append(n_new)
    if not n_bytes:
        raise ValueError("There is no text to score: expected at least one that is not empty.")
    nats = 0.0
    for start in range(0, len(windows), max(1, _PASS // window)):
        members = slice(start, start + max(1, _PASS // window))
        lengths = numpy.array([len(w) for w in windows[members]])
        n_scored = numpy.array(scored[members])
        rows = list_rows(lengths.cumsum() - n_scored, n_scored)
        ids = numpy.concatenate(windows[members])
        packed = PackedBatch.pack(ids, lengths, device=decoder.device)
        targets = packed.ids[0, torch.from_numpy(rows).to(decoder.device)]
        predicting = torch.from_numpy(rows - 1).to(decoder.device)
        for logits, wanted in _logits(decoder, head, packed, predicting, targets):
            nats += torch.nn.functional.cross_entropy(logits, wanted, reduction="sum").item()
    return nats / math.log(2) / n_bytes


@torch.no_grad()
def prediction_scores(
    decoder: LGUDecoder,
    head: torch.Tensor,
    objective: Objective,
    batches: Sequence[PackedBatch],
) -> tuple[float, float]:
    """Loss and accuracy on masked subtokens, the same ones at every call.

    decoder (LGUDecoder): Any pattern.
    head (Tensor): The LM head. Shape: (vocab, width).
    objective (Objective): Masks and says which rows predict.
    batches (Sequence[PackedBatch]): Whole sequences.
    RETURNS (tuple[float, float]): Nats per masked subtoken, share predicted right. Raises
        ValueError if nothing was masked.
    """
    rng = numpy.random.default_rng(0)
    nats, n_right, n = 0.0, 0, 0
    for packed in batches:
        task = objective.task(packed, rng)
        for logits, wanted in _logits(decoder, head, task.packed, task.rows, task.targets):
            nats += torch.nn.functional.cross_entropy(logits, wanted, reduction="sum").item()
            n_right += int((logits.argmax(-1) == wanted).sum())
        n += len(task.targets)
    if not n:
        raise ValueError(
            f"None of the {sum(packed.n_subtokens for packed in batches)} subtokens to validate on "
            f"was chosen for prediction: use a larger mask rate (it is {objective.mask_rate}), "
            "larger batches or longer texts."
        )
    return nats / n, n_right / n


def _logits(
    decoder: LGUDecoder,
    head: torch.Tensor,
    packed: PackedBatch,
    rows: torch.Tensor,
    targets: torch.Tensor,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Logits and their targets, a few rows at a time: see LinearCrossEntropy."""
    computing = TORCH_DTYPES[decoder.dtype]
    hidden, weight = decoder(packed)[rows].to(computing), head.to(computing).T
    n = LinearCrossEntropy.ROWS
    for some, wanted in zip(hidden.split(n), targets.split(n), strict=True):
        yield (some @ weight).float(), wanted
