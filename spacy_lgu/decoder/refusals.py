"""Families of decoders that are tested, those that are refused by name, and how it is said."""

from .versions import PACKS_STATE_SPACES

# Compared with the reference in the tests, under the versions of transformers that have them.
TESTED_FAMILIES = (
    "llama", "mistral", "qwen2", "qwen3", "phi3", "gemma3_text", "gpt_neox", "olmo2", "smollm3",
    "apertus", "arcee", "cohere", "cohere2", "deepseek_v3", "ernie4_5", "exaone4", "gemma",
    "gemma2", "gemma4_text", "glm", "glm4", "glm4_moe", "glm4_moe_lite", "gpt_oss", "granite",
    "granite_swa", "helium", "mimo_v2_flash", "minicpm3", "ministral", "ministral3", "mixtral",
    "modernbert-decoder", "olmo", "olmo3", "phi", "qwen3_moe", "seed_oss",
    "starcoder2", "vaultgemma",
)  # fmt: skip

# Refused by name: the reason is known, and the layer check alone could miss it.
REFUSED = {
    "gemma3n_text": "its upper layers read the keys and values of lower ones",
    "bloom": "its attention uses ALiBi, which packed attention does not compute",
    "mpt": "its attention uses ALiBi, which packed attention does not compute",
    "mamba": "it has state-space layers, which have no causal mask to remove",
    "mamba2": "it has state-space layers, which have no causal mask to remove",
    "jamba": "it does not tell its state-space layers where the sequences of a packed batch begin",
    "zamba": "its layers share an attention block, which cannot have a direction for each of them",
    "zamba2": "its layers share an attention block, which cannot have a direction for each of them",
    "llama4_text": "its attention is cut into chunks, which packed attention does not compute",
    "longcat_flash": "its layers attend twice, and its directions are one per layer",
    "zaya": "a convolution mixes neighbouring queries and keys, across sequences of a packed batch",
    "phi4_multimodal": "it reads more than text; use a text-only decoder (phi3)",
    "recurrent_gemma": "its recurrent layers keep their state where threads would share it",
}
if not PACKS_STATE_SPACES:
    REFUSED |= dict.fromkeys(
        ("bamba", "falcon_h1", "granitemoehybrid"),
        "its model file takes packed batches from transformers 5 on",
    )

_INDEXER = "an indexer picks what each of its positions sees, which packed attention does not do"

# Refused in any family, where a config has them.
REFUSED_SETTINGS = {
    "num_kv_shared_layers": "its upper layers read the keys and values of lower ones",
    "index_topk": _INDEXER,
    "index_topk_blocks": _INDEXER,
    "indexer_compress_ratio": _INDEXER,
}


class FamilyError(ValueError):
    """Decoders of a family cannot be used.

    reason (str): Why, as the rest of a sentence that begins with the family.
    """

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


def refusal(family: str, reason: str) -> FamilyError:
    """The error to raise for a family.

    family (str): The config's model_type.
    reason (str): Why, as the rest of a sentence.
    RETURNS (FamilyError): With the families that are tested.
    """
    return FamilyError(
        f"Decoders of the family {family!r} cannot be unmasked: {reason}. Tested "
        f"families: {', '.join(TESTED_FAMILIES)}.",
        reason=reason,
    )


def depth_refusal(family: str, n_layers: int, reason: str) -> FamilyError:
    """The error to raise for a family whose decoders cannot do with their first layers alone.

    family (str): The config's model_type.
    n_layers (int): How many layers were to be used.
    reason (str): Why not, as the rest of a sentence.
    RETURNS (FamilyError): With what to do.
    """
    return FamilyError(
        f"Decoders of the family {family!r} cannot be cut to n_layers = {n_layers}: {reason}. Use "
        "another number of layers, or null for all.",
        reason=reason,
    )
