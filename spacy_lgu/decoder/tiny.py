"""Tiny random decoders of any family, to check a family without its weights."""

import copy
from typing import Any

import torch
from transformers import AutoModel, PretrainedConfig

from .attention import register_attention
from .experts import EXPERTS
from .locking import LOADING
from .refusals import refusal
from .versions import dtype_option, without_rotary_scaling

# Sizes of the tiny decoder that an untested family is checked on, where its config has them. It
# keeps the number of layers, because families mix kinds of layers.
_TINY = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "head_dim": 8,
    "global_head_dim": 16,
    # Multi-head latent attention: the width of a query or key is the sum of two.
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "qk_head_dim": 16,
    "v_head_dim": 8,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "rotary_dim": 4,
    "vocab_size": 64,
    "vocab_size_per_layer_input": 64,
    "hidden_size_per_layer_input": 8,
    "pad_token_id": 0,
    # Mixtures of experts, by the names that families give them.
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "moe_num_experts": 4,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "top_k_experts": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    # Linear attention and state spaces; these have twice the hidden size inside.
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_heads": 4,
    "linear_head_dim": 8,
    "mamba_expand": 2,
    "mamba_chunk_size": 4,
    "chunk_size": 4,
    "mamba_d_ssm": 64,
    "mamba_n_heads": 8,
    "mamba_num_heads": 8,
    "mamba_d_head": 8,
    "mamba_head_dim": 8,
    "mamba_d_state": 8,
    "ssm_state_size": 8,
    "mamba_n_groups": 1,
    "n_groups": 1,
}
_HEADS = "num_attention_heads"
_KEY_HEADS = ("num_key_value_heads", "num_global_key_value_heads")
_CHOSEN = ("num_experts_per_tok", "top_k_experts")
# Sizes without which some families cannot be built, though their configs begin with none.
_NEEDED = (
    "head_dim", "num_key_value_heads", "num_experts_per_tok", "n_routed_experts",
    "n_shared_experts",
)  # fmt: skip
_OPTIONAL = ("hidden_size_per_layer_input",)
# Windows by name, in units of what a causal position sees: the last one counts both its sides.
_WINDOWS = {"sliding_window": 1, "attention_chunk_size": 1, "local_attention": 2}
# A family whose sizes have other names must not fill the memory with its real ones.
_MAX_PARAMETERS = 50_000_000
# So large that every part of a layer moves its output: what is computed wrongly must be seen.
_STD = 0.2


def tiny_config(config: PretrainedConfig, *, window: int = 64) -> PretrainedConfig:
    """The config of a tiny decoder of the same family, with as many layers.

    config (PretrainedConfig): Its sizes are replaced.
    window (int): Subtokens that layers with limited attention look back.
    RETURNS (PretrainedConfig): A config of its own.
    """
    values = copy.deepcopy(config.to_dict())

    def find(name: str) -> Any:
        return values.get(config.attribute_map.get(name, name))

    sizes = {**_TINY, **{name: times * window for name, times in _WINDOWS.items()}}
    for name in _KEY_HEADS:
        # As many as heads of queries, one, or in between, as in the config.
        as_many = find(name) in (find(_HEADS), None)
        sizes[name] = _TINY[_HEADS] if as_many else min(2, find(name))
    # Some families repeat sizes for single layers.
    for kind in (values, *values.get("per_layer_config", {}).values()):
        for name, size in sizes.items():
            name = config.attribute_map.get(name, name)
            found = kind.get(name)
            if isinstance(found, list):  # one size per layer
                kind[name] = [size] * len(found)
            elif found == 0 and name in _OPTIONAL:
                continue  # a part that the decoder does not have
            elif found is not None or (name in kind and name in _NEEDED):
                kind[name] = min(size, found or size) if name in _CHOSEN else size
    values.pop("quantization_config", None)
    return type(config).from_dict(without_rotary_scaling(values))


def build_tiny(config: PretrainedConfig, attention: str | None, *, window: int) -> Any:
    """A tiny random decoder, the same at each call; the random state stays as it is.

    config (PretrainedConfig): As for tiny_config.
    attention (str | None): Name of transformers' attention function. None: its own choice.
    window (int): As for tiny_config.
    RETURNS (PreTrainedModel): Without LM head, in float32 and evaluation mode. Raises ValueError if
        it is not tiny.
    """
    register_attention()
    tiny = tiny_config(config, window=window)
    with LOADING:
        with torch.device("meta"):
            # from_config of transformers 5 writes into the config.
            empty = AutoModel.from_config(copy.deepcopy(tiny))
        n_parameters = sum(parameter.numel() for parameter in empty.parameters())
        if n_parameters > _MAX_PARAMETERS:
            raise refusal(
                config.model_type,
                f"the decoder that it is checked on has {n_parameters:,} parameters, because its "
                "sizes have names that are not known here",
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            # Checkpoints in half precision are checked in float32, which tells errors from
            # rounding.
            decoder = AutoModel.from_config(
                tiny,
                attn_implementation=attention,
                **EXPERTS,
                **dtype_option(torch.float32),
            )
    _draw_weights(decoder)
    return decoder.eval()


@torch.no_grad()
def _draw_weights(decoder: torch.nn.Module) -> None:
    """Matrices anew; scales and biases from where they begin.

    Scales are halved: those of queries and keys would let a row see little more than one other.
    """
    generator = torch.Generator().manual_seed(0)
    for parameter in decoder.parameters():
        noise = _STD * torch.randn(parameter.shape, generator=generator)
        if parameter.dim() > 1:
            parameter.copy_(noise)
        else:
            size = float(parameter.abs().mean())
            parameter.copy_(parameter / 2 + noise * (size or 1.0))


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
