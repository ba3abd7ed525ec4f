"""Compares a model that was exported, as transformers alone runs it, with the pipeline."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from transformers import AutoModel, AutoModelForTokenClassification, AutoTokenizer

from ..decoder.building import BuiltDecoder
from ..decoder.loading import TORCH_DTYPES
from ..decoder.locking import LOADING
from ..decoder.versions import dtype_option, without_class_warning
from .directions import Direction, open_mask
from .token_classes import TokenClasses

_TEXTS = (
    "Ann Lee ate naan in New York on 3 May 2021, and paid $12.50 for it.",
    "Nothing is said here that the first word could know.",
    "Zürich, Łódź, 東京 and São Paulo are cities; 😀 is not.",
)
# Longer than the windows of most families with short ones.
_LONG = 1100
# How far rows may lie apart, as shares of their length. Half precision rounds at each step, and
# int8 rounds what each layer reads.
_LIMITS = {"float32": 1e-2, "float16": 2e-2, "bfloat16": 1e-1, "int8": 1e-1}


@dataclass(frozen=True)
class Agreement:
    """How near a model comes to the pipeline.

    difference (float): The largest distance of two vectors of a subtoken, as a share of the length
        of the pipeline's.
    limit (float): The largest that is accepted.
    n_subtokens (int): How many were compared.
    """

    difference: float
    limit: float
    n_subtokens: int


@torch.no_grad()
def check_agreement(
    built: BuiltDecoder,
    folder: Path,
    direction: Direction,
    classes: TokenClasses | None,
    dtype: str,
) -> Agreement:
    """Run both on a few texts.

    built (BuiltDecoder): The pipeline's decoder.
    folder (Path): The model.
    direction (Direction): How it is called.
    classes (TokenClasses | None): The head that it should have.
    dtype (str): Of its weights.
    RETURNS (Agreement): Raises ValueError beyond the limit, and for another tokenizer.
    """
    decoder, tokenizer = built.decoder, built.tokenizer
    with without_class_warning():
        written: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    sequences = []
    for text in _TEXTS:
        sequences.append(_encode(tokenizer, text))
        if sequences[-1] != _encode(written, text):
            raise ValueError(
                "The tokenizer that was written splits text otherwise than the pipeline's when "
                "transformers reads it: this decoder cannot be exported. Please report its name "
                f"({built.base.name!r})."
            )
    context = min(_LONG, decoder.base.config.max_position_embeddings)
    long = [i for _ in range(context) for ids in sequences for i in ids][:context]
    sequences = [*(ids[:context] for ids in sequences), long]
    kind: Any = AutoModel if classes is None else AutoModelForTokenClassification
    with LOADING:
        model: Any = kind.from_pretrained(
            folder,
            use_safetensors=True,
            trust_remote_code=False,
            **dtype_option(TORCH_DTYPES[dtype]),
        ).eval()
    base = model if classes is None else model.base_model
    worst = 0.0
    for sequence in sequences:
        ids = torch.tensor([sequence])
        mask = open_mask(ids, base.dtype) if direction.by_mask else torch.ones_like(ids)
        expected = decoder.predict(numpy.array(sequence), numpy.array([len(sequence)]), len(ids[0]))
        expected = expected.cpu()
        found = base(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state[0]
        worst = max(worst, _distance(found, expected))
        if classes is not None:
            scores = expected @ torch.tensor(classes.weight).T + torch.tensor(classes.bias)
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[0]
            worst = max(worst, _distance(logits, scores))
    parts = {dtype, decoder.dtype, built.settings.quantization} & _LIMITS.keys()
    limit = max(_LIMITS[part] for part in parts)
    if not worst <= limit:
        raise ValueError(
            f"The model that was written computes other vectors than the pipeline: they lie "
            f"{worst:.2g} of their length apart, more than the {limit:g} that "
            f"{', '.join(sorted(parts))} may cost. Nothing was kept. Try --dtype float32; if that "
            "changes nothing, transformers does not run this decoder as the pipeline does: please "
            f"report its name ({built.base.name!r})."
        )
    return Agreement(worst, limit, sum(map(len, sequences)))


def _encode(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text)["input_ids"]
    return ids


def _distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    """RETURNS (float): The largest of the rows, as a share of the length of that expected."""
    lengths = expected.norm(dim=1).clamp_min(1e-6)
    return float(((found.float() - expected).norm(dim=1) / lengths).max())
