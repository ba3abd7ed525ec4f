"""Mixtures of experts in which each expert has linear layers of its own, as bitsandbytes and LoRA
need them.

    in a decoder of transformers 5             here, and in published files
    mlp.experts.gate_up_proj (n, 2I, W)        mlp.experts.0.gate_proj.weight (I, W)
                                               mlp.experts.0.up_proj.weight (I, W)
    mlp.experts.down_proj (n, W, I)            mlp.experts.0.down_proj.weight (W, I)

Where published files have other names, such as w1, w3 and w2, these are taken.
"""

import copy
import re
from typing import Any, NamedTuple

import torch

GATE_UP, DOWN = "gate_up_proj", "down_proj"


class ExpertNames(NamedTuple):
    """How the linear layers of an expert are called."""

    gate: str = "gate_proj"
    up: str = "up_proj"
    down: str = "down_proj"


class SeparateExperts(torch.nn.Module):
    """The experts of one layer, as numbered modules of three linear layers.

    joined (Module): The experts in two weights; see is_separable. It is left as it is.
    names (ExpertNames): Of the linear layers.
    """

    def __init__(self, joined: Any, names: ExpertNames) -> None:
        super().__init__()
        self.names = names
        n_experts, width, inner_width = joined.down_proj.shape
        options = {"bias": False, "device": joined.down_proj.device}
        options["dtype"] = joined.down_proj.dtype
        for i in range(n_experts):
            expert = torch.nn.Module()
            for name in (names.gate, names.up):
                expert.add_module(name, torch.nn.Linear(width, inner_width, **options))
            expert.add_module(names.down, torch.nn.Linear(inner_width, width, **options))
            self.add_module(str(i), expert)
        self.n_experts = n_experts
        # What families do between the layers, with settings of their own. In a tuple it is no
        # module of the decoder, whose weights transformers would initialize.
        without_weights = copy.copy(joined)
        without_weights.__dict__["_parameters"] = {}
        self._gating = (without_weights,)

    def forward(
        self, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
    ) -> torch.Tensor:
        """The weighted sum of what the chosen experts compute.

        hidden_states (Tensor): Shape: (rows, width).
        top_k_index (Tensor): The chosen experts; n_experts stands for none. Shape: (rows, k).
        top_k_weights (Tensor): Shape: (rows, k).
        RETURNS (Tensor): Shape: (rows, width).
        """
        chosen = top_k_index.flatten()
        order = chosen.argsort(stable=True)
        rows = order // top_k_index.shape[-1]
        weights = top_k_weights.flatten()[order, None]
        # The only copy to the host: how many rows each expert gets.
        counts = chosen.bincount(minlength=self.n_experts).tolist()
        Y = torch.zeros_like(hidden_states)
        start, (gating,) = 0, self._gating
        for i, count in enumerate(counts[: self.n_experts]):
            if not count:
                continue
            end = start + count
            expert = self._modules[str(i)]
            gate, up, down = (getattr(expert, name) for name in self.names)
            X = hidden_states[rows[start:end]]
            inner = gating._apply_gate(torch.cat([gate(X), up(X)], dim=-1))
            Y.index_add_(0, rows[start:end], (down(inner) * weights[start:end]).to(Y.dtype))
            start = end
        return Y

    def expect_joined(self) -> None:
        """Have the two joined weights as well, empty, so that they are looked for in the files."""
        expert = self.get_submodule("0")
        gate, down = getattr(expert, self.names.gate), getattr(expert, self.names.down)
        for name, rows, layer in (
            (GATE_UP, 2 * gate.out_features, gate),
            (DOWN, down.out_features, down),
        ):
            shape = (self.n_experts, rows, layer.in_features)
            empty = torch.empty(shape, device="meta")
            self.register_parameter(name, torch.nn.Parameter(empty, requires_grad=False))

    def forget_joined(self, name: str) -> None:
        """Undo expect_joined for one of the two."""
        del self._parameters[name]

    def split(self, name: str, joined: torch.Tensor) -> dict[str, torch.Tensor]:
        """The weights of all experts in one of the two joined weights.

        name (str): GATE_UP or DOWN.
        joined (Tensor): As in a decoder of transformers 5.
        RETURNS (dict[str, Tensor]): Views of it, by name within this module.
        """
        kinds = (self.names.gate, self.names.up) if name == GATE_UP else (self.names.down,)
        return {
            f"{i}.{kind}.weight": part
            for i, expert in enumerate(joined)
            for kind, part in zip(kinds, expert.chunk(len(kinds)), strict=True)
        }


def is_separable(module: Any) -> bool:
    """Whether a module holds experts as in the table above: gate, then up, without biases. How
    transformers 5 marks what differs: gpt-oss has biases, and the two interleaved."""
    return (
        {name for name, _ in module.named_parameters()} == {GATE_UP, DOWN}
        and hasattr(module, "_apply_gate")
        and getattr(module, "has_gate", False)
        and getattr(module, "is_concatenated", False)
        and not (module.has_bias or module.is_transposed or module.has_post_expert_norm)
    )


def separate_experts(decoder: Any) -> dict[str, SeparateExperts]:
    """Give each expert linear layers of its own, where the family allows it.

    decoder (PreTrainedModel): Of transformers 5. Changed in place; its experts' weights are lost.
    RETURNS (dict[str, SeparateExperts]): By name. Empty for a decoder without such experts.
    """
    joined = {name: m for name, m in decoder.named_modules() if is_separable(m)}
    if not joined:
        return {}
    names = _published_names(decoder)
    separate = {name: SeparateExperts(module, names) for name, module in joined.items()}
    for name, module in separate.items():
        decoder.set_submodule(name, module)
    return separate


def leads_to_experts(conversion: Any) -> bool:
    """Whether one of transformers' conversions joins weights of experts."""
    targets = conversion._original_target_patterns
    return any(target.endswith((f"experts.{GATE_UP}", f"experts.{DOWN}")) for target in targets)


def _published_names(decoder: Any) -> ExpertNames:
    from transformers.conversion_mapping import get_model_conversion_mapping

    found = {}
    for conversion in get_model_conversion_mapping(decoder, add_legacy=False):
        sources = [
            re.search(r"\.(\w+)\.weight\$?$", source)
            for source in conversion._original_source_patterns
        ]
        if leads_to_experts(conversion) and all(sources):
            found[len(sources)] = [source[1] for source in sources if source]
    return ExpertNames(*found[2], *found[1]) if found.keys() == {1, 2} else ExpertNames()
