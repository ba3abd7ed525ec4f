"""Gives a decoder that is in memory another pattern and depth: nothing is built or loaded anew."""

from ..decoder.decoder import LGUDecoder
from ..decoder.mixers import layer_kinds
from ..unmasking import unmask_layers
from .space import Candidate


def set_directions(decoder: LGUDecoder, candidate: Candidate) -> None:
    """Let a decoder run as a candidate says, from its next call on.

    Its weights, and what a save or an optimizer takes of it, stay those of all its layers.

    decoder (LGUDecoder): The decoder, with at least as many layers.
    candidate (Candidate): The candidate.
    """
    kinds = layer_kinds(decoder.base.config)
    n_layers = candidate.n_layers or len(kinds)
    flags = unmask_layers(candidate.pattern, n_layers)
    # Not by the kinds: a drawn pattern may open nothing that has a mask, and is all-causal then.
    unmasked = tuple(flag and kind.has_mask for flag, kind in zip(flags, kinds, strict=False))
    vars(decoder).pop("forward", None)
    decoder.unmasked = (*unmasked, *[False] * (len(kinds) - n_layers))
    if candidate.repeat is not None:
        decoder.repeat = candidate.repeat
    if n_layers < len(kinds):
        shorter = decoder.under("c", n_layers)
        shorter.unmasked = unmasked
        # The optimizer must find all weights in this object, whichever of them a step trains.
        vars(decoder)["forward"] = shorter.forward
