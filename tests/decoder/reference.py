"""Attention by brute force: each sequence alone, eager, an explicit mask for each layer."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy
import torch
from transformers import CONFIG_MAPPING, AutoModel, PretrainedConfig

from spacy_lgu.decoder.attention import ATTENTION, register_attention
from spacy_lgu.decoder.decoder import LGUDecoder

N_LAYERS = 4
WIDTH = 32
VOCAB = 64
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Family:
    """A tiny decoder: its config's values and the window of each of its causal layers."""

    name: str
    model_type: str
    values: dict[str, Any]
    windows: tuple[int | None, ...] = (None,) * N_LAYERS

    def config(self, **more: Any) -> PretrainedConfig:
        values: dict[str, Any] = {
            "hidden_size": WIDTH,
            "intermediate_size": 48,
            "num_hidden_layers": N_LAYERS,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": VOCAB,
            "max_position_embeddings": 2048,
            "initializer_range": 0.2,
            "pad_token_id": None,
        }
        return CONFIG_MAPPING[self.model_type](**{**values, **self.values, **more})


_SLIDING = ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"]
_TWO_SLIDING = {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 2}

FAMILIES = [
    Family("llama", "llama", {}),
    Family("mistral", "mistral", {"sliding_window": None}),
    Family("mistral-sliding", "mistral", {"sliding_window": 3}, (3, 3, 3, 3)),
    Family("qwen2", "qwen2", {}),
    Family("qwen2-sliding", "qwen2", _TWO_SLIDING, (None, None, 3, 3)),
    Family("qwen3", "qwen3", {"head_dim": 16}),
    Family("qwen3-sliding", "qwen3", {"head_dim": 16, **_TWO_SLIDING}, (None, None, 3, 3)),
    Family("phi3", "phi3", {}),
    Family("phi3-sliding", "phi3", {"sliding_window": 3}, (3, 3, 3, 3)),
    Family(
        "gemma3",
        "gemma3_text",
        {"head_dim": 16, "sliding_window": 3, "layer_types": _SLIDING},
        (3, 3, None, 3),
    ),
    Family("gpt_neox", "gpt_neox", {}),
    Family("olmo2", "olmo2", {}),
    Family("smollm3", "smollm3", {"no_rope_layers": [1, 1, 1, 0]}),
    Family(
        "smollm3-sliding",
        "smollm3",
        {"use_sliding_window": True, "sliding_window": 3, "layer_types": _SLIDING},
        (3, 3, None, 3),
    ),
]
BY_NAME = {family.name: family for family in FAMILIES}


def make_pair(family: Family, **more: Any) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The same random weights twice: with packed and with eager attention."""
    register_attention()
    torch.manual_seed(0)
    packed = AutoModel.from_config(family.config(**more), attn_implementation=ATTENTION)
    eager = AutoModel.from_config(family.config(**more), attn_implementation="eager")
    eager.load_state_dict(packed.state_dict())
    return packed.eval(), eager.eval()


def random_ids(lengths: list[int], *, seed: int = 0) -> numpy.ndarray:
    return numpy.random.default_rng(seed).integers(2, VOCAB, sum(lengths))


@cache
def layer_mask(length: int, window: int | None, *, unmasked: bool) -> torch.Tensor:
    """0 where a row may look, the lowest number elsewhere. Shape: (1, 1, length, length)."""
    mask = torch.zeros(1, 1, length, length)
    for row in range(length):
        for column in range(length):
            future = column > row
            too_far = window is not None and row - column >= window
            if not unmasked and (future or too_far):
                mask[0, 0, row, column] = torch.finfo(torch.float32).min
    return mask


def run_reference(
    eager: torch.nn.Module,
    windows: tuple[int | None, ...],
    ids: numpy.ndarray,
    lengths: list[int],
    unmasked: tuple[bool, ...],
) -> torch.Tensor:
    """Vectors of each sequence, computed alone. Shape: (total, width)."""
    Ys = []
    for sequence in numpy.split(ids, numpy.cumsum(lengths)[:-1]):
        hooks = []
        for layer, window, flag in zip(eager.layers, windows, unmasked, strict=True):
            mask = layer_mask(len(sequence), window, unmasked=flag)
            hooks.append(layer.register_forward_pre_hook(_MaskHook(mask), with_kwargs=True))
        output = eager(input_ids=torch.from_numpy(sequence)[None], use_cache=False)
        Ys.append(output.last_hidden_state[0])
        for hook in hooks:
            hook.remove()
    return torch.cat(Ys)


class _MaskHook:
    def __init__(self, mask: torch.Tensor) -> None:
        self.mask = mask

    def __call__(self, layer: torch.nn.Module, args: Any, kwargs: Any) -> Any:
        if "attention_mask" not in kwargs:
            raise KeyError("attention_mask")
        return args, {**kwargs, "attention_mask": self.mask}


def make_lgu(
    packed: torch.nn.Module, unmasked: tuple[bool, ...], *, dtype: str = "float32", **more: Any
) -> LGUDecoder:
    return LGUDecoder(packed, unmasked=unmasked, dtype=dtype, **more)


def relative_error(Y: torch.Tensor, expected: torch.Tensor) -> float:
    return float((Y - expected).norm() / expected.norm())
