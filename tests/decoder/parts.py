"""Tiny random models that read more than text, each with a decoder inside."""

import copy
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForImageTextToText

from ..conftest import IS_5, make_tokenizer

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
SIGHT = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}
QWEN_SIGHT = {
    "depth": 2,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_heads": 2,
    "out_hidden_size": 32,
    "patch_size": 4,
    "fullatt_block_indexes": [1],
    "num_position_embeddings": 16,
    "deepstack_visual_indexes": [0, 1],
}
MIXED = ["sliding_attention"] * 3 + ["full_attention"]


def _rope(*sections: int, **more: Any) -> dict[str, Any]:
    values = {"type": "mrope", "rope_type": "default", "mrope_section": list(sections), **more}
    return {"rope_scaling": values}


# What their configs hold besides the sizes above, which belong in "text_config".
PARTS: dict[str, dict[str, Any]] = {
    "gemma3": {
        "text_config": {
            "model_type": "gemma3_text",
            "query_pre_attn_scalar": 8,
            "sliding_window": 3,
            "layer_types": MIXED,
        },
        "vision_config": {**SIGHT, "model_type": "siglip_vision_model"},
        "mm_tokens_per_image": 4,
        "image_token_index": 9,
    },
    "mistral3": {
        "text_config": {"model_type": "mistral", "sliding_window": None},
        "vision_config": {**SIGHT, "model_type": "pixtral", "head_dim": 8},
        "image_token_index": 9,
    },
    "llava": {
        "text_config": {"model_type": "llama"},
        "vision_config": {**SIGHT, "model_type": "clip_vision_model"},
        "image_token_index": 9,
    },
    "smolvlm": {
        "text_config": {"model_type": "llama"},
        "vision_config": {**SIGHT, "model_type": "smolvlm_vision"},
        "image_token_id": 9,
        "scale_factor": 1,
        "pad_token_id": 0,
    },
    "internvl": {
        "text_config": {"model_type": "qwen2"},
        "vision_config": {
            **SIGHT,
            "model_type": "internvl_vision",
            "image_size": [8, 8],
            "patch_size": [4, 4],
        },
        "image_token_id": 9,
    },
    "qwen2_vl": {
        "text_config": {"model_type": "qwen2_vl_text", **_rope(2, 1, 1)},
        "vision_config": {
            "depth": 2,
            "embed_dim": 16,
            "hidden_size": 32,
            "num_heads": 2,
            "patch_size": 4,
        },
        "image_token_id": 9,
        "video_token_id": 8,
        "vision_start_token_id": 7,
    },
    "qwen2_5_vl": {
        "text_config": {"model_type": "qwen2_5_vl_text", **_rope(2, 1, 1)},
        "vision_config": QWEN_SIGHT,
        "image_token_id": 9,
        "video_token_id": 8,
        "vision_start_token_id": 7,
    },
}
if IS_5:
    PARTS |= {
        "mistral3-ministral3": {
            "text_config": {
                "model_type": "ministral3",
                "rope_parameters": {
                    "rope_type": "yarn",
                    "rope_theta": 1e6,
                    "factor": 4.0,
                    "original_max_position_embeddings": 16,
                    "llama_4_scaling_beta": 0.1,
                },
            },
            "vision_config": {**SIGHT, "model_type": "pixtral", "head_dim": 8},
            "image_token_index": 9,
        },
        "glm4v": {
            "text_config": {
                "model_type": "glm4v_text",
                "rope_scaling": {"rope_type": "default", "mrope_section": [2, 1, 1]},
            },
            "vision_config": {**QWEN_SIGHT, "image_size": 8},
            "image_token_id": 9,
            "video_token_id": 8,
            "vision_start_token_id": 7,
        },
        "qwen3_vl": {
            "text_config": {
                "model_type": "qwen3_vl_text",
                **_rope(2, 1, 1, mrope_interleaved=True),
            },
            "vision_config": QWEN_SIGHT,
            "image_token_id": 9,
            "video_token_id": 8,
            "vision_start_token_id": 7,
        },
        "gemma4": {
            "text_config": {
                "model_type": "gemma4_text",
                "num_kv_shared_layers": 0,
                "global_head_dim": 8,
                "hidden_size_per_layer_input": 0,
                "sliding_window": 3,
                "layer_types": MIXED,
            },
            "vision_config": {
                "model_type": "gemma4_vision",
                "hidden_size": 16,
                "intermediate_size": 24,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "head_dim": 8,
                "patch_size": 4,
            },
            "audio_config": None,
        },
    }


def make_whole(name: str, **text: Any) -> Any:
    """A model that reads more than text, in evaluation mode.

    name (str): One of PARTS. text: More values of its text_config.
    """
    kind, values = name.split("-")[0], copy.deepcopy(PARTS[name])
    sizes = {**TEXT, "vocab_size": len(make_tokenizer())}
    values["text_config"] = {**sizes, **values["text_config"], **text}
    config = CONFIG_MAPPING[kind].from_dict({"model_type": kind, **values})
    torch.manual_seed(0)
    return AutoModelForImageTextToText.from_config(config, attn_implementation="eager").eval()


def save_whole(whole: Any, folder: Path, *, shard_size: str = "5GB") -> Path:
    """Save a model with its tokenizer, over what the folder held."""
    shutil.rmtree(folder, ignore_errors=True)
    whole.save_pretrained(folder, max_shard_size=shard_size)
    make_tokenizer().save_pretrained(folder)
    return folder


def decoder_of(whole: Any) -> Any:
    """The decoder in a model that reads more than text."""
    inner = whole.model
    return inner.language_model if hasattr(inner, "language_model") else inner.text_model


def files_of_sight(folder: Path, whole: Any) -> list[Path]:
    """The files of a sharded save in which no weight of the decoder is."""
    from safetensors import safe_open

    sizes = {tuple(t.shape): t for t in decoder_of(whole).state_dict().values()}
    found = []
    for file in sorted(folder.glob("model-*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            tensors = [opened.get_tensor(n) for n in opened.keys()]  # noqa: SIM118
        held = [t for t in tensors if tuple(t.shape) in sizes]
        own = decoder_of(whole).state_dict().values()
        if not any(t.shape == o.shape and torch.equal(t, o) for t in held for o in own):
            found.append(file)
    return found
