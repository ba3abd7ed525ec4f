"""How a plain model of transformers is told what its layers may see: nothing, if all are causal, or
a field of its config or a mask in each call, if all are bidirectional.

                                    transformers 4.53     transformers 5
    all causal                      as it is              as it is
    all bidirectional               by a mask             is_causal = false in the config, which
                                                          most families heed; else by a mask
    some of both                    -                     -

Whether a family heeds the config is not looked up but tried, on a tiny random decoder.
"""

import copy
from dataclasses import dataclass

import torch
from transformers import PretrainedConfig

from ..decoder.mixers import layer_kinds
from ..decoder.tiny import build_tiny
from ..decoder.versions import TRANSFORMERS
from ..unmasking import unmask_layers

_FIELD = "is_causal"
# In the order of transformers: what a family limits the view of its layers by.
_WINDOWS = ("sliding_window", "attention_chunk_size")


@dataclass(frozen=True)
class Direction:
    """What all layers of a decoder may see.

    is_causal (bool): The past alone; otherwise everything.
    by_mask (bool): Whether each call has to bring a mask that says so.
    """

    is_causal: bool
    by_mask: bool = False


def find_direction(unmasking: str, config: PretrainedConfig, *, by_mask: bool) -> Direction:
    """Find how transformers alone runs a decoder under a pattern; no weight is read.

    unmasking (str): The pattern.
    config (PretrainedConfig): The decoder's config.
    by_mask (bool): Whether calls may have to bring a mask.
    RETURNS (Direction): Raises ValueError for a pattern with both directions, and where a mask is
        needed but not allowed, or allowed but not needed.
    """
    kinds = layer_kinds(config)
    unmasked = unmask_layers(unmasking, config.num_hidden_layers, kinds)
    masked = [flag for flag, kind in zip(unmasked, kinds, strict=True) if kind.has_mask]
    if any(masked) and not all(masked):
        raise ValueError(
            f"The pattern is {unmasking!r}, under which {sum(masked)} layers see everything and "
            f"{len(masked) - sum(masked)} only the past. transformers has one direction for a "
            "whole model, so that it would compute other vectors. Use the pipeline itself, or "
            "train one under a pattern of one letter, such as 'cccc' or 'bbbb'."
        )
    if not any(masked):
        if by_mask:
            raise ValueError(
                f"--by-mask was given, but under the pattern {unmasking!r} no layer needs a mask. "
                "Leave it out."
            )
        return Direction(is_causal=True)
    if by_mask:
        return Direction(is_causal=False, by_mask=True)
    if not _heeds_config(config):
        raise ValueError(
            f"The pattern is {unmasking!r}, under which all layers see everything, but "
            f"transformers {TRANSFORMERS} has no field of a config that tells decoders of the "
            f"family {config.model_type!r} so. Use transformers>=5, which has one for most, or "
            "give --by-mask: calls of the model must then bring a mask, as its README.md says."
        )
    return Direction(is_causal=False)


def direct(config: PretrainedConfig, direction: Direction) -> PretrainedConfig:
    """A config that says what layers may see.

    config (PretrainedConfig): A decoder's config.
    direction (Direction): From find_direction.
    RETURNS (PretrainedConfig): One of its own.
    """
    config = copy.deepcopy(config)
    if direction.is_causal:
        return config
    if not direction.by_mask:
        setattr(config, _FIELD, False)
    for name in _WINDOWS:
        if getattr(config, name, None):
            # An unmasked layer has no window. The kinds of layers stay as they are, since other
            # settings go by them; one family halves the field when it is read.
            setattr(config, name, 2 * config.max_position_embeddings + 2)
    return config


def open_mask(ids: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The mask that a call brings along under `by_mask`.

    ids (Tensor): Shape: (1, subtokens).
    dtype (dtype): That of the model.
    RETURNS (Tensor): Zeros, which are added to the scores. Shape: (1, 1, subtokens, subtokens).
    """
    n = ids.shape[1]
    return torch.zeros(1, 1, n, n, dtype=dtype)


@torch.no_grad()
def _heeds_config(config: PretrainedConfig) -> bool:
    """Whether the first of some subtokens sees the last, if the config says so."""
    # With the attention that transformers chooses by itself, as users of the model will.
    decoder = build_tiny(direct(config, Direction(is_causal=False)), None, window=64)
    ids = torch.tensor([[2, 3, 4, 5], [2, 3, 4, 6]])
    first = decoder(input_ids=ids, use_cache=False).last_hidden_state[:, 0]  # (2, width)
    return not torch.allclose(first[0], first[1], rtol=1e-4)
