"""What single parts of inference bring, each with it and without it in turns."""

import statistics
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import spacy

from spacy_lgu.pipeline.transformer import LGUTransformer

from .clock import DEVICE
from .inference import make_pipeline, time_pass
from .training import LORA, make_examples

_PARTS = ("LoRA in half precision", "the next batch prepared meanwhile")


def measure_options(decoder: Path, sentences: int, rounds: int) -> dict[str, Any]:
    """Subtokens per second of LoRA on NF4 with the sequence labeler after it, on new sentences in
    each round.

    decoder (Path): The decoder's folder.
    sentences (int): Of a pass.
    rounds (int): Passes of each kind, after one to warm up.
    RETURNS (dict): By part, the medians "with" and "without" it.
    """
    if DEVICE.type == "cuda":
        spacy.require_gpu()
    nlp = make_pipeline(decoder, {"quantization": "nf4", "lora": LORA})
    nlp.add_pipe("sequence_labeler")
    nlp.initialize(lambda: make_examples(nlp, 32, 0))
    speeds: dict[str, dict[str, list[float]]] = {
        part: {"with": [], "without": []} for part in _PARTS
    }
    for seed in range(rounds + 1):
        for part, found in speeds.items():
            # In turns, since the second pass finds the texts in the caches.
            for kind in ("with", "without") if seed % 2 else ("without", "with"):
                with _without(part) if kind == "without" else nullcontext():
                    found[kind].append(time_pass(nlp, "sentences", sentences, seed))
    return {
        part: {kind: statistics.median(values[1:]) for kind, values in found.items()}
        for part, found in speeds.items()
    }


@contextmanager
def _without(part: str) -> Iterator[None]:
    from spacy_lgu.decoder.adapter_half import HalfLora  # imports PEFT

    if part == _PARTS[0]:
        with mock.patch.object(HalfLora, "_is_plain", return_value=False):
            yield
    else:
        with mock.patch.object(LGUTransformer, "_is_apart", False):
            yield
