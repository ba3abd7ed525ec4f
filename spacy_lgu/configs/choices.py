"""The values of a config that depend on the decoder, the machine and what is wanted, with reasons.

Sources: Dukić & Šnajder, 2024 (arXiv 2401.14556), for large decoders; docs/results.md for small
ones. Where neither says anything, the reason is arithmetic.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..unmasking import LayerKind, normalize_pattern, unmask_layers
from .heads import HEADS

OPTIMIZE = ("efficiency", "accuracy")
# Parameters. Training all weights holds 16 bytes of each: value, gradient and two moments of AdamW
# in float32, which are 16 GB at a billion.
LARGE = 1_000_000_000
# Up to here the learning rate of the study of docs/results.md (8.4 million) is taken.
_TINY = 50_000_000


@dataclass(frozen=True, kw_only=True)
class Size:
    """What is known of a decoder before it is loaded.

    n_parameters (int): Weights, without an LM head.
    n_layers (int): Decoder layers.
    kinds (Sequence[LayerKind] | None): What each of them has. None: attention.
    """

    n_parameters: int
    n_layers: int
    kinds: Sequence[LayerKind] | None = None


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Values of the config, and the reasons that stand above them there.

    unmasking, quantization, tuning (str): As in DecoderSettings.
    rank (int): Of the adapter.
    learn_rate (float): The highest one.
    n_steps (int): Updates.
    batch_size (int): Subtokens per update.
    ensemble (bool): Whether text categorizers read a bag of words as well.
    reasons (dict[str, str]): By name of the value; lines without "# ".
    """

    unmasking: str
    quantization: str
    tuning: str
    rank: int
    learn_rate: float
    n_steps: int
    batch_size: int
    ensemble: bool
    reasons: dict[str, str]


def choose(
    *,
    size: Size | None,
    heads: Sequence[str],
    optimize: str,
    gpu: bool,
    unmasking: str | None,
) -> Choices:
    """Choose values.

    size (Size | None): The decoder's. None: not known.
    heads (Sequence[str]): Names in HEADS.
    optimize (str): One of OPTIMIZE.
    gpu (bool): Whether a GPU trains.
    unmasking (str | None): The pattern, if the user has chosen one.
    RETURNS (Choices): Raises ValueError for another `optimize`, for what is not a pattern, and for
        a pattern with more letters than the decoder has layers.
    """
    if optimize not in OPTIMIZE:
        raise ValueError(f"optimize is {optimize!r}: expected one of {', '.join(OPTIMIZE)}.")
    pattern = _choose_pattern(size, unmasking)
    if size is not None:
        unmask_layers(pattern, size.n_layers, size.kinds)
    is_large = size is None or size.n_parameters >= LARGE
    is_accurate = optimize == "accuracy"
    on_documents = any(HEADS[name].on_documents for name in heads)
    learn_rate, why_rate = _choose_rate(size, is_large)
    reasons = {
        "decoder": _describe(size),
        "tuning": (
            "lora (adapter on the frozen decoder), full (all weights) or frozen. " + _why(size, gpu)
        ),
        "rank": (
            "64 as in the paper."
            if is_accurate
            else "16, as in the same authors' next study (arXiv 2601.17585): a quarter of what the "
            "paper has, in saves and in the optimizer. 64 for accuracy."
        )
        + ("" if is_large else " Read when tuning is lora."),
        "learn_rate": why_rate,
        "n_steps": "At about 16 sentences each: 5 epochs over the 14,041 sentences of CoNLL-2003."
        if is_accurate
        else "At about 16 sentences each: one epoch over 16,000 of them. More for accuracy.",
        "batch_size": "About 16 sentences, as in the paper."
        if not on_documents
        else "For texts of some hundred subtokens; about 16 sentences are 512.",
    }
    return Choices(
        unmasking=pattern,
        quantization="nf4" if is_large else "none",
        tuning="lora" if is_large else "full",
        rank=64 if is_accurate else 16,
        learn_rate=learn_rate,
        n_steps=4400 if is_accurate else 1000,
        batch_size=2048 if on_documents else 512,
        ensemble=is_accurate,
        reasons=reasons,
    )


def _choose_pattern(size: Size | None, unmasking: str | None) -> str:
    if unmasking is not None:
        return normalize_pattern(unmasking)
    # The upper half, in four groups if there are layers enough.
    return "ccbb" if size is None or size.n_layers >= 4 else "cb" if size.n_layers > 1 else "b"


def _choose_rate(size: Size | None, is_large: bool) -> tuple[float, str]:
    if is_large:
        return 2e-4, "As in the paper, for LoRA."
    if size is not None and size.n_parameters > _TINY:
        return 5e-5, "As spaCy has it for transformers of which all weights are trained."
    return 5e-4, "For decoders of some million parameters, as in docs/results.md."


def _why(size: Size | None, gpu: bool) -> str:
    if size is None:
        return "LoRA on 4 bits fits decoders of any size, and this one's is not known."
    if size.n_parameters >= LARGE:
        place = "GPU" if gpu else "machine"
        n_full, n_lora = 16 * size.n_parameters / 1e9, 0.6 * size.n_parameters / 1e9
        return (
            f"Training all weights would take {n_full:,.0f} GB of the {place}'s memory beside the "
            f"activations, the 4 bits of nf4 under an adapter take about {n_lora:,.1f} GB."
        )
    return (
        f"All weights of a decoder of this size fit: {16 * size.n_parameters / 1e9:.2g} GB beside "
        "the activations. They need quantization = none."
    )


def _describe(size: Size | None) -> str:
    if size is None:
        return (
            "Neither a folder here nor in the local cache: its size was not known when this file "
            "was written, nor whether it can be unmasked. `spacy lgu fetch` tells."
        )
    layers = "1 layer" if size.n_layers == 1 else f"{size.n_layers} layers"
    return f"{size.n_parameters:,} parameters in {layers}."
