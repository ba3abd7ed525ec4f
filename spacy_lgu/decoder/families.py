"""Which decoder families packed attention is right for.

The families listed here are compared with a brute-force reference in the tests. Any other is
accepted only if a tiny random decoder of it, layer by layer, passes a check of its directions.
"""

import copy
from typing import Any

import numpy
import torch
from transformers import AutoModel, PretrainedConfig

from .attention import ATTENTION, register_attention
from .packing import PackedBatch

TESTED_FAMILIES = (
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "phi3",
    "gemma3_text",
    "gpt_neox",
    "olmo2",
    "smollm3",
)

# Refused by name: the reason is known, and the layer check alone could miss it.
_REFUSED = {
    "gpt2": "its model file builds a mask of (total, total) for every packed batch",
    "gemma2": "its attention caps the logits, which packed attention does not compute",
    "gemma3": "it is a vision-language model; use a text-only decoder (gemma3_text)",
    "gpt_oss": "its attention has sinks, which packed attention does not compute",
    "bloom": "its attention uses ALiBi, which packed attention does not compute",
    "mpt": "its attention uses ALiBi, which packed attention does not compute",
    "mamba": "it has state-space layers, which have no causal mask to remove",
    "mamba2": "it has state-space layers, which have no causal mask to remove",
    "jamba": "it has state-space layers, which have no causal mask to remove",
    "bamba": "it has state-space layers, which have no causal mask to remove",
    "falcon_h1": "it has state-space layers, which have no causal mask to remove",
    "zamba2": "it has state-space layers, which have no causal mask to remove",
    "recurrent_gemma": "it has recurrent layers, which have no causal mask to remove",
}

# Sizes of the tiny decoder that an untested family is checked on.
_TINY = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 64,
    "pad_token_id": None,
}


def check_family(config: PretrainedConfig) -> None:
    """Refuse, by name, a decoder whose layers packed attention would compute wrongly.

    config (PretrainedConfig): The decoder's config; no weight is needed.
    RETURNS (None): Raises ValueError naming the family and the reason.
    """
    family = config.model_type
    if family in _REFUSED:
        raise _refusal(family, _REFUSED[family])
    rope = getattr(config, "rope_scaling", None) or {}
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    if rope_type in ("dynamic", "longrope"):
        raise _refusal(
            family,
            f"its {rope_type!r} rotary embeddings depend on the longest position in the batch, "
            "so that a text's vectors would depend on its neighbours",
        )
    if getattr(config, "attn_logit_softcapping", None) is not None:
        raise _refusal(family, _REFUSED["gemma2"])
    if family not in TESTED_FAMILIES:
        check_layers(config)


def check_layers(config: PretrainedConfig) -> None:
    """Check every layer of a tiny random decoder of this family by itself.

    Each layer runs on fixed hidden states of one sequence, then again with the first or the
    last position changed. A causal layer must pass a change of the first position on to all
    positions and a change of the last one to the last only; a bidirectional layer must pass
    both on to all.

    config (PretrainedConfig): The decoder's config; sizes are replaced by tiny ones.
    RETURNS (None): Raises ValueError naming the family and the layer.
    """
    family = config.model_type
    decoder = _build_tiny(config)
    layers = find_layers(decoder)
    n_layers, n_positions, width = len(layers), 6, _TINY["hidden_size"]
    packed = PackedBatch.pack(
        numpy.arange(n_positions) + 2, [n_positions], device=torch.device("cpu")
    )
    X = torch.randn(
        1, n_positions, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    every = torch.ones(n_positions, dtype=torch.bool)
    last = torch.arange(n_positions) == n_positions - 1
    for unmasked in (False, True):
        calls = _record_layer_calls(decoder, layers, packed, (unmasked,) * n_layers)
        for i, layer in enumerate(layers):
            for position, expected in ((0, every), (-1, every if unmasked else last)):
                X_changed = X.clone()
                X_changed[0, position] += 1.0
                before = _run_layer(layer, X, calls[i])
                after = _run_layer(layer, X_changed, calls[i])
                moved = (before - after).abs().amax(-1)[0] > 1e-9
                if not torch.equal(moved, expected):
                    direction = "bidirectional" if unmasked else "causal"
                    raise _refusal(
                        family,
                        f"in layer {i}, run as {direction} on 6 positions, a change of position "
                        f"{position % n_positions} moved positions {moved.nonzero()[:, 0].tolist()}"
                        f" instead of {expected.nonzero()[:, 0].tolist()}",
                    )


def find_layers(decoder: torch.nn.Module) -> torch.nn.ModuleList:
    """The list of decoder layers: "layers" in most families, "h" in older ones."""
    for name in ("layers", "h"):
        layers = getattr(decoder, name, None)
        if isinstance(layers, torch.nn.ModuleList):
            return layers
    raise _refusal(decoder.config.model_type, "its decoder layers were not found")


def _build_tiny(config: PretrainedConfig) -> torch.nn.Module:
    register_attention()
    family = config.model_type
    if getattr(config, "is_encoder_decoder", False):
        raise _refusal(family, "it is an encoder-decoder")
    values = copy.deepcopy(config.to_dict())
    values.update({k: v for k, v in _TINY.items() if hasattr(config, k) or k in values})
    if isinstance(values.get("layer_types"), list):
        values["layer_types"] = values["layer_types"][: _TINY["num_hidden_layers"]]
    values.pop("quantization_config", None)
    values.pop("rope_scaling", None)
    tiny = type(config).from_dict(values)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            decoder = AutoModel.from_config(tiny, attn_implementation=ATTENTION)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _refusal(
                family, f"a tiny decoder of it with packed attention cannot be built ({error})"
            ) from error
    return decoder.double().eval()


def _record_layer_calls(
    decoder: torch.nn.Module,
    layers: torch.nn.ModuleList,
    packed: PackedBatch,
    unmasked: tuple[bool, ...],
) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """What the decoder passes to each of its layers besides the hidden states."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def record(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append((args, kwargs))

    hooks = [layer.register_forward_pre_hook(record, with_kwargs=True) for layer in layers]
    try:
        with torch.no_grad():
            decoder(
                input_ids=packed.ids,
                position_ids=packed.positions,
                use_cache=False,
                packed=packed,
                unmasked=unmasked,
            )
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise _refusal(
            decoder.config.model_type, f"it does not run on packed batches ({error})"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _run_layer(
    layer: torch.nn.Module, X: torch.Tensor, call: tuple[tuple[Any, ...], dict[str, Any]]
) -> torch.Tensor:
    args, kwargs = call
    with torch.no_grad():
        if args:
            output = layer(X, *args[1:], **kwargs)
        else:
            output = layer(**{**kwargs, "hidden_states": X})
    return output[0] if isinstance(output, tuple) else output


def _refusal(family: str, reason: str) -> ValueError:
    return ValueError(
        f"Decoders of the family {family!r} cannot be unmasked: {reason}. Families that are "
        f"tested: {', '.join(TESTED_FAMILIES)}."
    )
