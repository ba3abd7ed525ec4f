"""Families of decoders that are tested, those that are refused by name, and how it is said."""

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
REFUSED = {
    "gpt2": "its model file builds a mask of (total, total) for every packed batch",
    "gemma2": "its attention caps the logits, which packed attention does not compute",
    "gemma3n_text": "its upper layers read the keys and values of lower ones",
    "gpt_oss": "its attention has sinks, which packed attention does not compute",
    "bloom": "its attention uses ALiBi, which packed attention does not compute",
    "mpt": "its attention uses ALiBi, which packed attention does not compute",
    "mamba": "it has state-space layers, which have no causal mask to remove",
    "mamba2": "it has state-space layers, which have no causal mask to remove",
    "jamba": "it has state-space layers, which have no causal mask to remove",
    "granitemoehybrid": "it has state-space layers, which have no causal mask to remove",
    "bamba": "it has state-space layers, which have no causal mask to remove",
    "falcon_h1": "it has state-space layers, which have no causal mask to remove",
    "zamba2": "it has state-space layers, which have no causal mask to remove",
    "minimax": "it has linear attention layers, which have no causal mask to remove",
    "llama4_text": "its attention is cut into chunks, which packed attention does not compute",
    "phi4_multimodal": "it reads more than text; use a text-only decoder (phi3)",
    "recurrent_gemma": "it has recurrent layers, which have no causal mask to remove",
}


class FamilyError(ValueError):
    """Decoders of a family cannot be unmasked."""


def refusal(family: str, reason: str) -> FamilyError:
    """The error to raise for a family.

    family (str): The config's model_type.
    reason (str): Why, as the rest of a sentence.
    RETURNS (FamilyError): With the families that are tested.
    """
    return FamilyError(
        f"Decoders of the family {family!r} cannot be unmasked: {reason}. Tested "
        f"families: {', '.join(TESTED_FAMILIES)}."
    )
