"""Tiny random decoders of any family, to check a family without its weights."""

import copy
from typing import Any

import torch
from transformers import AutoModel, PretrainedConfig

from .attention import register_attention
from .experts import EXPERTS
from .locking import LOADING
from .refusals import refusal
from .versions import without_rotary_scaling

# Sizes of the tiny decoder that an untested family is checked on. It keeps the number of layers,
# because families mix kinds of layers.
_TINY = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    # Multi-head latent attention: the width of a query or key is the sum of two.
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "qk_head_dim": 16,
    "v_head_dim": 8,
    "vocab_size": 64,
    "pad_token_id": None,
    # Mixtures of experts, by the names that families give them.
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
}
_TINY_WINDOWS = ("sliding_window", "attention_chunk_size")


def tiny_config(config: PretrainedConfig, *, window: int = 64) -> PretrainedConfig:
    """The config of a tiny decoder of the same family, with as many layers.

    config (PretrainedConfig): Its sizes are replaced.
    window (int): Subtokens that layers with limited attention look back.
    RETURNS (PretrainedConfig): A config of its own.
    """
    values = copy.deepcopy(config.to_dict())
    for name, value in _TINY.items():
        if name in values or (hasattr(config, name) and not hasattr(type(config), name)):
            values[name] = value
    values.update({k: window for k in _TINY_WINDOWS if values.get(k) is not None})
    values.pop("quantization_config", None)
    return type(config).from_dict(without_rotary_scaling(values))


def build_tiny(config: PretrainedConfig, attention: str, *, window: int) -> Any:
    """A tiny random decoder, the same at each call; the random state stays as it is.

    config (PretrainedConfig): As for tiny_config.
    attention (str): Name of transformers' attention function.
    window (int): As for tiny_config.
    RETURNS (PreTrainedModel): Without LM head, in evaluation mode.
    """
    register_attention()
    tiny = tiny_config(config, window=window)
    with LOADING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        decoder = AutoModel.from_config(tiny, attn_implementation=attention, **EXPERTS)
    return decoder.eval()


def find_layers(decoder: Any) -> torch.nn.ModuleList:
    """The list of decoder layers: "layers" in most families, "h" in older ones.

    decoder (PreTrainedModel): A decoder without LM head.
    RETURNS (ModuleList): Input side first. Raises ValueError when there is none.
    """
    for name in ("layers", "h"):
        layers = getattr(decoder, name, None)
        if isinstance(layers, torch.nn.ModuleList):
            return layers
    raise refusal(decoder.config.model_type, "its decoder layers were not found")
