"""Tiny decoders of the families that are compared with the reference, one list per version."""

from dataclasses import dataclass
from typing import Any

from transformers import CONFIG_MAPPING, PretrainedConfig

from ..conftest import IS_5

N_LAYERS = 4
WIDTH = 32
VOCAB = 64


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


_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
_LATENT = {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
    "n_routed_experts": 4,
    "n_group": 2,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    **_EXPERTS,
}
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
    Family("arcee", "arcee", {}),
    Family("cohere", "cohere", {}),
    Family("cohere2", "cohere2", {"sliding_window": 3, "layer_types": _SLIDING}, (3, 3, None, 3)),
    Family("deepseek_v3", "deepseek_v3", _LATENT),
    Family("gemma", "gemma", {"head_dim": 16}),
    Family(
        "gemma2",
        "gemma2",
        {
            "head_dim": 16,
            "sliding_window": 3,
            "layer_types": _SLIDING,
            "query_pre_attn_scalar": 16,
            "attn_logit_softcapping": 1.0,
        },
        (3, 3, None, 3),
    ),
    Family("glm", "glm", {"head_dim": 16}),
    Family("glm4", "glm4", {"head_dim": 16}),
    Family("granite", "granite", {"attention_multiplier": 0.5}),
    Family("helium", "helium", {"head_dim": 8}),
    Family("mixtral", "mixtral", {"num_local_experts": 4}),
    Family("mixtral-sliding", "mixtral", {"num_local_experts": 4, "sliding_window": 3}, (3,) * 4),
    Family("olmo", "olmo", {}),
    Family("phi", "phi", {}),
    Family("qwen3_moe", "qwen3_moe", {"head_dim": 16, "num_experts": 4, **_EXPERTS}),
    Family("starcoder2", "starcoder2", {}),
    Family("starcoder2-sliding", "starcoder2", {"sliding_window": 3}, (3,) * 4),
]
_MIXED = {"sliding_window": 3, "layer_types": _SLIDING}
_SINKS = {"head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2}
_YARN = {"rope_type": "yarn", "rope_theta": 10000.0}

# 4.53 does not have these, or computes attention in their model files.
_FAMILIES_5 = [
    Family("apertus", "apertus", {}),
    Family("ernie4_5", "ernie4_5", {"head_dim": 8}),
    Family("exaone4", "exaone4", {"sliding_window": 3, "layer_types": _SLIDING}, (3, 3, None, 3)),
    Family(
        "gemma4",
        "gemma4_text",
        {
            "head_dim": 8,
            "global_head_dim": 16,
            "sliding_window": 3,
            "layer_types": [*_SLIDING[:2], "sliding_attention", "full_attention"],
            "vocab_size_per_layer_input": VOCAB,
            "hidden_size_per_layer_input": 8,
        },
        (3, 3, 3, None),
    ),
    Family("glm4_moe", "glm4_moe", {"head_dim": 8, "n_routed_experts": 4, **_EXPERTS}),
    Family("glm4_moe_lite", "glm4_moe_lite", _LATENT),
    Family(
        "gpt_oss",
        "gpt_oss",
        {
            **_SINKS,
            **_MIXED,
            "rope_parameters": {
                **_YARN,
                "factor": 32.0,
                "original_max_position_embeddings": 64,
                "truncate": False,
            },
        },
        (3, 3, None, 3),
    ),
    Family("granite_swa", "granite_swa", {"attention_multiplier": 0.3, **_MIXED}, (3, 3, None, 3)),
    Family(
        "mimo_v2_flash",
        "mimo_v2_flash",
        {"head_dim": 12, "v_head_dim": 8, "n_routed_experts": 4, **_EXPERTS, **_MIXED},
        (3, 3, None, 3),
    ),
    Family("minicpm3", "minicpm3", _LATENT),
    Family("ministral", "ministral", {"head_dim": 8, **_MIXED}, (3, 3, None, 3)),
    Family(
        "ministral3",
        "ministral3",
        {
            "head_dim": 8,
            "rope_parameters": {
                **_YARN,
                "factor": 512.0,
                "original_max_position_embeddings": 4,
                # Queries are scaled from the fifth position on.
                "llama_4_scaling_beta": 0.1,
            },
        },
    ),
    Family(
        "modernbert-decoder",
        "modernbert-decoder",
        {"local_attention": 6, "layer_types": _SLIDING, "pad_token_id": 0},
        (3, 3, None, 3),
    ),
    Family("olmo3", "olmo3", _MIXED, (3, 3, None, 3)),
    Family("seed_oss", "seed_oss", {"head_dim": 8}),
    Family(
        "vaultgemma",
        "vaultgemma",
        {"head_dim": 16, "attn_logit_softcapping": 1.0, **_MIXED},
        (3, 3, None, 3),
    ),
]
if IS_5:
    FAMILIES += _FAMILIES_5
