"""Which tensors of a checkpoint are quantized by bitsandbytes, told by the names beside theirs.

4 bits                                    8 bits
q_proj.weight                             q_proj.weight
q_proj.weight.absmax                      q_proj.SCB
q_proj.weight.quant_state.bits...nf4      q_proj.weight_format
"""

import re
from collections.abc import Collection

_STATES_4BIT = "quant_state.bitsandbytes__"
_STATES_8BIT = ("SCB", "weight_format")
_EXPERT = re.compile(r"\.experts\.\d+\.\w+\.weight$")


def is_quantized(name: str, stored: Collection[str]) -> bool:
    """RETURNS (bool): Whether the weight of a name is quantized, among those stored."""
    return is_4bit(name, stored) or name.removesuffix("weight") + "SCB" in stored


def is_4bit(name: str, stored: Collection[str]) -> bool:
    """RETURNS (bool): Whether it is quantized in 4 bits."""
    return any(f"{name}.{_STATES_4BIT}{kind}" in stored for kind in ("nf4", "fp4"))


def is_quantization_state(name: str, stored: Collection[str]) -> bool:
    """RETURNS (bool): Whether a tensor belongs to a quantized weight."""
    module, _, last = name.rpartition(".")
    if last in _STATES_8BIT:
        return f"{module}.weight" in stored
    weight, separator, _ = name.partition(".weight.")
    return bool(separator) and is_4bit(f"{weight}.weight", stored)


def holds_quantized_experts(stored: Collection[str]) -> bool:
    """RETURNS (bool): Whether experts are stored one by one, and quantized."""
    return any(_EXPERT.search(name) and is_quantized(name, stored) for name in stored)
