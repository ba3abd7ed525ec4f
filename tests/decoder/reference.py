"""Attention by brute force: each sequence alone, eager, an explicit mask for each layer."""

from functools import cache
from typing import Any

import numpy
import torch
from transformers import AutoModel

from spacy_lgu.decoder.attention import ATTENTION, register_attention
from spacy_lgu.decoder.decoder import LGUDecoder

from .reference_families import FAMILIES, VOCAB, Family

CPU = torch.device("cpu")


BY_NAME = {family.name: family for family in FAMILIES}


def make_pair(family: Family, **more: Any) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The same random weights twice: with packed and with eager attention."""
    register_attention()
    torch.manual_seed(0)
    packed = AutoModel.from_config(family.config(**more), attn_implementation=ATTENTION)
    for name, parameter in packed.named_parameters():
        if name.endswith("sinks"):  # which begin at 0 in some families
            torch.nn.init.normal_(parameter)
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
