"""Gives a decoder that is in memory another pattern and depth: nothing is built or loaded anew."""

from ..decoder.decoder import LGUDecoder
from ..decoder.mixers import layer_kinds
from ..unmasking import group_sizes, unmask_layers
from .space import Candidate


def set_directions(decoder: LGUDecoder, candidate: Candidate) -> None:
    """Let a decoder run as a candidate says, from its next call.

    decoder (LGUDecoder): The decoder.
    candidate (Candidate): The candidate.
    """
    n_layers = len(decoder.unmasked)
    decoder.unmasked = unmask_layers(candidate.pattern, n_layers, layer_kinds(decoder.base.config))


def find_groups(n_layers: int, n_groups: int) -> list[range]:
    """The layers of each group."""
    groups, start = [], 0
    for size in group_sizes(n_layers, n_groups):
        groups.append(range(start, start + size))
        start += size
    return groups
