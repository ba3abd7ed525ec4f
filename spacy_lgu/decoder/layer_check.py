"""Check packed attention on a tiny random decoder of a family that is not among the tested."""

from typing import Any

import numpy
import torch
from transformers import MODEL_MAPPING, PretrainedConfig

from ..unmasking import LayerKind
from .attention import ATTENTION, MaskError
from .config import MODEL_ERRORS
from .mixers import layer_kinds, run_on_rectangles
from .packing import PackedBatch
from .refusals import FamilyError, refusal
from .tiny import build_tiny, find_layers

# Attention that looks back only so far shows it on sequences longer than this.
_TINY_WINDOW = 3
_TINY_LENGTHS = (6, 4)
# What packed attention may differ by from eager attention, relative to the vectors.
_MAX_ERROR = 1e-4
# What a position moves by if it saw a change. Experts that get another number of rows round them
# differently.
_MIN_SHIFT = 1e-5

LayerCallT = tuple[tuple[Any, ...], dict[str, Any]]


def check_layers(config: PretrainedConfig) -> None:
    """Check packed attention on a tiny random decoder of this family.

    With every layer causal, two packed sequences must get the vectors that the family's own
    eager attention gives each of them alone: its masks, windows, positions and scores are
    then all accounted for. Then each layer by itself, between neighbours of the other
    direction, must pass a change of a sequence's first position on to all its positions, a
    change of the last one to all if it is unmasked and to no other if it is causal, and nothing
    to the other sequence. Layers without softmax attention are causal whatever they are given, and
    may forget.

    config (PretrainedConfig): The decoder's config; sizes are replaced by tiny ones.
    RETURNS (None): Raises ValueError naming the family and the layer.
    """
    known: Any = MODEL_MAPPING.get(type(config), None)
    # transformers does not say so of decoders with a recurrent state.
    is_plain = set(layer_kinds(config)) == {LayerKind.ATTENTION}
    if known is None or (is_plain and not known._supports_attention_backend):
        raise refusal(
            config.model_type,
            "its model file computes attention itself instead of through transformers' attention "
            "interface",
        )
    try:
        _compare_with_eager(config)
        _check_directions(config)
    except MaskError as error:
        raise refusal(
            config.model_type,
            "its model file builds a mask of (total, total) for every packed batch",
        ) from error
    except MODEL_ERRORS as error:
        if isinstance(error, FamilyError):
            raise
        raise refusal(
            config.model_type,
            "a tiny decoder of it does not run on packed batches "
            f"({type(error).__name__}: {error})",
        ) from error


def _compare_with_eager(config: PretrainedConfig) -> None:
    reference, packed = build_tiny(config, "eager", window=_TINY_WINDOW), _tiny_batch()
    decoder = build_tiny(config, ATTENTION, window=_TINY_WINDOW)
    run_on_rectangles(decoder)
    unmasked = (False,) * len(find_layers(decoder))
    with torch.no_grad():
        Y = _run(decoder, packed, packed=packed, unmasked=unmasked)
        ids = packed.ids[0].split(_TINY_LENGTHS)
        for ids_alone, Y_packed in zip(ids, Y.split(_TINY_LENGTHS), strict=True):
            alone = PackedBatch.pack(ids_alone.numpy(), [len(ids_alone)], device=packed.ids.device)
            # Some model files of 4.53 need a mask for three-dimensional positions.
            Y_alone = _run(reference, alone, attention_mask=torch.ones_like(alone.ids))
            error = _measure_error(Y_packed, Y_alone)
            if not error < _MAX_ERROR:  # NaN fails too
                raise refusal(
                    config.model_type,
                    "causal packed attention differs from the family's own attention by "
                    f"{error:.1e} of the vectors' size",
                )


def _measure_error(Y: torch.Tensor, expected: torch.Tensor) -> float:
    return float((Y - expected).norm() / expected.norm())


def _check_directions(config: PretrainedConfig) -> None:
    decoder, packed = build_tiny(config, ATTENTION, window=max(_TINY_LENGTHS)), _tiny_batch()
    run_on_rectangles(decoder)
    layers, kinds = find_layers(decoder), layer_kinds(decoder.config)
    X = torch.randn(
        1,
        packed.n_subtokens,
        decoder.config.hidden_size,
        generator=torch.Generator().manual_seed(0),
    )
    n_first = _TINY_LENGTHS[0]  # the first or the last position of the first sequence changes
    every = list(range(n_first))
    for first in (False, True):
        unmasked = tuple(first != bool(i % 2) for i in range(len(layers)))
        calls = _record_layer_calls(decoder, layers, packed, unmasked)
        for i, layer in enumerate(layers):
            kind = kinds[i]
            is_open = unmasked[i] and kind.has_mask
            first_moves = [0] if kind is LayerKind.FEED_FORWARD else every
            last_moves = every if is_open else [n_first - 1]
            for changed, expected in ((0, first_moves), (n_first - 1, last_moves)):
                X_changed = X.clone()
                X_changed[0, changed] += torch.linspace(-1, 1, X.shape[-1], dtype=X.dtype)
                before, after = (_run_layer(layer, values, calls[i]) for values in (X, X_changed))
                moved = _find_moved(before[0], after[0])
                if kind is LayerKind.RECURRENT and moved[:1] == [changed]:
                    # A convolution is short, and a state may forget.
                    expected = [position for position in expected if position in moved]
                if moved != expected:
                    raise refusal(
                        config.model_type,
                        f"in layer {i}, run as {'bidirectional' if is_open else 'causal'} on "
                        f"sequences of {_TINY_LENGTHS} positions, a change of position {changed} "
                        f"moved positions {moved} instead of {expected}",
                    )


def _find_moved(before: torch.Tensor, after: torch.Tensor) -> list[int]:
    shifts = (after - before).norm(dim=-1) / before.norm(dim=-1)
    return (shifts > _MIN_SHIFT).nonzero()[:, 0].tolist()


def _tiny_batch() -> PackedBatch:
    n_subtokens = sum(_TINY_LENGTHS)
    return PackedBatch.pack(
        numpy.arange(n_subtokens) + 2, _TINY_LENGTHS, device=torch.device("cpu")
    )


def _run(decoder: Any, batch: PackedBatch, **kwargs: Any) -> torch.Tensor:
    output = decoder(input_ids=batch.ids, position_ids=batch.positions, use_cache=False, **kwargs)
    return output.last_hidden_state[0]  # (total_subtokens, width)


def _record_layer_calls(
    decoder: Any,
    layers: torch.nn.ModuleList,
    packed: PackedBatch,
    unmasked: tuple[bool, ...],
) -> list[LayerCallT]:
    """What the decoder passes to each of its layers besides the hidden states."""
    calls: list[LayerCallT] = []

    def record(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append((args, kwargs))

    hooks = [layer.register_forward_pre_hook(record, with_kwargs=True) for layer in layers]
    try:
        with torch.no_grad():
            _run(decoder, packed, packed=packed, unmasked=unmasked)
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _run_layer(layer: torch.nn.Module, X: torch.Tensor, call: LayerCallT) -> torch.Tensor:
    args, kwargs = call
    with torch.no_grad():
        output = layer(X, *args[1:], **kwargs)
    return output[0] if isinstance(output, tuple) else output
