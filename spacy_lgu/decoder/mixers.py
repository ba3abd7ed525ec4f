"""Layers in which something else than softmax attention mixes the positions of a sequence.

Linear attention, state-space and convolution layers read a sequence from left to right. They have
no mask that could be removed: they stay causal under every pattern. And they take what lies in a
row for one sequence, so that packed sequences would run into each other. Such a mixer, and nothing
else of the decoder, therefore runs on rectangles of one sequence per row:

    packed row       a b c d e           three sequences: [a b] [c d] [e]
    rectangles       a b     c d
                     e e                 padding on the right, where a causal mixer never looks
    packed again     a b c d e

Lengths travel with the call, as the keyword argument `packed`, which the layers of transformers
pass on to their mixers as they do to attention.
"""

from typing import Any

import torch
from transformers import PretrainedConfig

from ..inputs import shorten
from ..unmasking import LayerKind
from .kinds import put_before
from .packing import Bucket, PackedBatch
from .refusals import refusal
from .tiny import find_layers

# What transformers calls the kinds of layers in a config; all others attend with a softmax.
_KINDS = {
    "hybrid": LayerKind.PARALLEL,
    "linear_attention": LayerKind.RECURRENT,
    "conv": LayerKind.RECURRENT,
    "mlp": LayerKind.FEED_FORWARD,
    "moe": LayerKind.FEED_FORWARD,
}
_WITH_MIXER = (LayerKind.RECURRENT, LayerKind.PARALLEL)


def layer_kinds(config: PretrainedConfig) -> tuple[LayerKind, ...]:
    """What each layer of a decoder has, as its config says; check_layers proves it.

    config (PretrainedConfig): The decoder's config.
    RETURNS (tuple[LayerKind, ...]): One per decoder layer, input side first. Raises ValueError if
        there are kinds for fewer layers than it has.
    """
    n_layers = getattr(config, "num_hidden_layers", None)
    if n_layers is None:
        raise refusal(config.model_type, "its decoder layers were not found")
    names = getattr(config, "layer_types", None) or ["full_attention"] * n_layers
    is_list = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    if not is_list or len(names) < n_layers:
        raise ValueError(
            f"The decoder's config has {n_layers} layers (num_hidden_layers), but layer_types is "
            f"{shorten(names)}: expected a kind of layer for each of them. Copy config.json again "
            "from where it was published."
        )
    return tuple(_KINDS.get(name, LayerKind.ATTENTION) for name in names[:n_layers])


def run_on_rectangles(decoder: torch.nn.Module) -> None:
    """Let the mixers of a decoder take packed batches. Calling it again changes nothing.

    decoder (Module): Changed in place: each mixer becomes an instance of a subclass of its class,
        with the same weights and submodules.
    """
    for mixer in find_mixers(decoder):
        if not isinstance(mixer, RectangleMixer):
            mixer.__class__ = put_before(RectangleMixer, type(mixer))
            mixer.train(mixer.training)


def find_mixers(decoder: Any) -> list[torch.nn.Module]:
    """The modules of a decoder that mix positions without softmax attention.

    decoder (PreTrainedModel): A decoder.
    RETURNS (list[Module]): Input side first. Like attention, mixers know the index of their layer,
        under which a cache would keep their state; unlike attention, whether they are causal is
        not a setting.
    """
    kinds = layer_kinds(decoder.config)
    if not set(_WITH_MIXER) & set(kinds):
        return []
    mixers = []
    for kind, layer in zip(kinds, find_layers(decoder), strict=True):
        if kind in _WITH_MIXER:
            indexed = [m for m in list(layer.modules())[1:] if hasattr(m, "layer_idx")]
            mixers += [
                m
                for m in indexed
                if not hasattr(m, "is_causal")
                and not any(hasattr(child, "layer_idx") for child in list(m.modules())[1:])
            ]
    return mixers


class RectangleMixer(torch.nn.Module):
    """The part of a mixer's class that turns packed batches into rectangles, and back."""

    def forward(
        self,
        hidden_states: torch.Tensor,
        *args: Any,
        packed: PackedBatch | None = None,
        unmasked: tuple[bool, ...] | None = None,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run the mixer on each bucket of sequences.

        hidden_states (Tensor): Shape: (1, total, width).
        packed (PackedBatch): The batch, with its lengths.
        unmasked (tuple[bool, ...]): For the softmax layers; a mixer has nothing to unmask.
        attention_mask (Tensor | None): Must be None: lengths say what a mask would.
        RETURNS (Tensor | tuple): As the mixer does; the first tensor's shape: (1, total, width).
            Raises ValueError when the decoder was called without a packed batch or with a mask.
        """
        if packed is None or attention_mask is not None:
            raise ValueError(
                f"{type(self).__name__} runs on packed batches only: call the decoder with "
                "packed=PackedBatch, unmasked=one flag per layer, and without an attention mask."
            )
        total = packed.n_subtokens
        outputs = []
        for bucket in packed.buckets.groups:
            X, *more = (_take(value, bucket, total) for value in (hidden_states, *args))
            others = {name: _take(value, bucket, total) for name, value in kwargs.items()}
            Y = super().forward(X, *more, attention_mask=None, **others)
            outputs.append(Y[0] if isinstance(Y, tuple) else Y)  # (sequences, longest, width)
        cells = torch.cat([Y.flatten(0, 1) for Y in outputs])
        mixed = cells[packed.buckets.source][None]  # (1, total, width)
        return (mixed, None) if isinstance(Y, tuple) else mixed

    def train(self, mode: bool = True) -> "RectangleMixer":
        """Only what is below a mixer has a training mode: adapters with dropout.

        In training, some state-space mixers hand the weight of their last linear module to one
        fused kernel, past its adapter and its quantization.
        """
        super().train(mode)
        self.training = False
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        """For copies and pickles: the class is made when it is needed, so no module has it."""
        return _new_mixer, (type(self).__bases__[1],), self.__dict__


def _new_mixer(kind: type[torch.nn.Module]) -> torch.nn.Module:
    made = put_before(RectangleMixer, kind)
    return made.__new__(made)


def _take(value: Any, bucket: Bucket, total: int) -> Any:
    """The part of an argument that belongs to a bucket: rows of what has one per subtoken."""
    if isinstance(value, tuple):  # sines and cosines
        return tuple(_take(part, bucket, total) for part in value)
    if isinstance(value, torch.Tensor) and value.shape[:2] == (1, total):
        return value[0][bucket.rows]  # (1, total, ...) -> (sequences, longest, ...)
    return value
