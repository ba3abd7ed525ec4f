"""Tiny decoders with other layers than softmax attention: their configs, and a reference."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy
import torch
from transformers import CONFIG_MAPPING, AutoModel, PretrainedConfig

from spacy_lgu.decoder.attention import ATTENTION, register_attention
from spacy_lgu.decoder.decoder import LGUDecoder

from ..conftest import IS_5, make_tokenizer
from .reference import Family, layer_mask, make_lgu

_DELTA = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
_EXPERTS = {
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
}
_LATENT = {
    "num_key_value_heads": 4,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
    "kv_lora_rank": 8,
    "n_group": 1,
    "topk_group": 1,
}
_STATE_SPACE = {
    "mamba_expand": 2,
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_d_state": 8,
    "mamba_n_groups": 1,
    "mamba_d_ssm": 64,
    "mamba_chunk_size": 16,
}
_LINEAR = ["linear_attention", "full_attention", "linear_attention", "full_attention"]
_CONV = ["conv", "full_attention", "conv", "full_attention"]


@dataclass(frozen=True)
class Hybrid:
    """A tiny decoder with a few layers that no pattern opens.

    kinds (str): A letter per layer: a attention, p attention beside something recurrent,
        r recurrent, f feed-forward.
    windows (tuple): The window of each layer's attention when it is causal.
    """

    model_type: str
    kinds: str
    values: dict[str, Any]
    windows: tuple[int | None, ...] = (None,) * 4

    def config(self, **more: Any) -> PretrainedConfig:
        values = {"head_dim": 8, "bos_token_id": 0, "eos_token_id": 1, **self.values, **more}
        return Family(self.model_type, self.model_type, values).config()

    def patterns(self) -> list[tuple[bool, ...]]:
        """Every choice of directions for the layers that have one."""
        choices = [(False, True) if kind in "ap" else (False,) for kind in self.kinds]
        return list(product(*choices))


_ALL = [
    Hybrid("lfm2", "rara", {"layer_types": _CONV}),
    Hybrid("lfm2_moe", "rara", {"layer_types": _CONV, "num_dense_layers": 1, **_EXPERTS}),
    Hybrid(
        "lfm3",
        "rara",
        {"layer_types": [*_CONV[:3], "sliding_attention"], "sliding_window": 3},
        (None, None, None, 3),
    ),
    Hybrid("qwen3_5_text", "rara", {"layer_types": _LINEAR, **_DELTA}),
    Hybrid("qwen3_5_moe_text", "rara", {"layer_types": _LINEAR, **_DELTA, **_EXPERTS}),
    Hybrid("qwen3_next", "rara", {"layer_types": _LINEAR, **_DELTA, **_EXPERTS}),
    Hybrid("olmo_hybrid", "rara", {"layer_types": _LINEAR, **_DELTA}),
    Hybrid(
        "lara_mini",
        "raaa",
        {
            "layer_types": [*_LINEAR[:2], "sliding_attention", "full_attention"],
            "sliding_window": 3,
            **_DELTA,
            **_EXPERTS,
        },
        (None, None, 3, None),
    ),
    Hybrid("minimax", "rara", {"layer_types": _LINEAR, "block_size": 16, **_EXPERTS}),
    Hybrid(
        "kimi_linear",
        "rara",
        {
            "layer_types": _LINEAR,
            "linear_head_dim": 8,
            "linear_num_heads": 4,
            **_LATENT,
            **_EXPERTS,
        },
    ),
    Hybrid(
        "bailing_hybrid",
        "rara",
        {"layer_types": _LINEAR, "qk_head_dim": 16, "q_lora_rank": 8, **_LATENT, **_EXPERTS},
    ),
    Hybrid("bamba", "rara", {"attn_layer_indices": [1, 3], **_STATE_SPACE}),
    Hybrid(
        "granitemoehybrid",
        "rara",
        {"layer_types": _LINEAR, "shared_intermediate_size": 16, **_EXPERTS, **_STATE_SPACE},
    ),
    Hybrid("falcon_h1", "pppp", _STATE_SPACE),
    Hybrid(
        "nemotron_h",
        "rafa",
        {
            "layer_types": ["linear_attention", "full_attention", "mlp", "full_attention"],
            "mamba_num_heads": 8,
            "mamba_head_dim": 8,
            "ssm_state_size": 8,
            "n_groups": 1,
            "chunk_size": 16,
        },
    ),
]
# The others came with transformers 5, or take packed batches from then on.
_IN_4 = ("minimax",)
HYBRIDS = [hybrid for hybrid in _ALL if IS_5 or hybrid.model_type in _IN_4]
BY_TYPE = {hybrid.model_type: hybrid for hybrid in HYBRIDS}
# One convolution, one linear attention, one state space.
THREE = [BY_TYPE[name] for name in ("lfm2", "qwen3_5_text", "bamba") if IS_5] or HYBRIDS


def make_pair(hybrid: Hybrid, **more: Any) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The same random weights twice: with packed and with eager attention."""
    register_attention()
    torch.manual_seed(0)
    packed = AutoModel.from_config(hybrid.config(**more), attn_implementation=ATTENTION)
    eager = AutoModel.from_config(hybrid.config(**more), attn_implementation="eager")
    eager.load_state_dict(packed.state_dict())
    return packed.eval(), eager.eval()


def make_decoder(hybrid: Hybrid, unmasked: Sequence[bool], **more: Any) -> LGUDecoder:
    packed, _ = make_pair(hybrid)
    return make_lgu(packed, tuple(unmasked), **more)


def run_alone(
    eager: Any, hybrid: Hybrid, ids: numpy.ndarray, lengths: list[int], unmasked: Sequence[bool]
) -> torch.Tensor:
    """Vectors of each sequence by itself, under explicit masks. Shape: (total, width)."""
    Ys = []
    for sequence in numpy.split(ids, numpy.cumsum(lengths)[:-1]):
        hooks = []
        for i, layer in enumerate(eager.layers):
            if hybrid.kinds[i] in "ap":
                mask = layer_mask(len(sequence), hybrid.windows[i], unmasked=unmasked[i])

                def give_mask(_: Any, args: Any, kwargs: Any, mask: torch.Tensor = mask) -> Any:
                    if "attention_mask" not in kwargs:
                        raise KeyError("attention_mask")
                    return args, {**kwargs, "attention_mask": mask}

                hooks.append(layer.register_forward_pre_hook(give_mask, with_kwargs=True))
        output = eager(input_ids=torch.from_numpy(sequence)[None], use_cache=False)
        Ys.append(output.last_hidden_state[0])
        for hook in hooks:
            hook.remove()
    return torch.cat(Ys)


def save_hybrid(folder: Path, hybrid: Hybrid) -> Path:
    """The decoder and a tokenizer, as from_pretrained expects them."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    config = hybrid.config(vocab_size=len(tokenizer), max_position_embeddings=64)
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def config_class(model_type: str) -> Any:
    return CONFIG_MAPPING[model_type]
