"""The sizes of a decoder, on which all estimates depend. Needs neither torch nor transformers."""

from dataclasses import dataclass, field

from ..unmasking import LayerKind


@dataclass(frozen=True, kw_only=True)
class DecoderShape:
    """The sizes of a decoder.

    family (str): transformers' model_type.
    n_layers (int): Decoder layers.
    n_parameters (int): Weights, without an LM head.
    width (int): Width of a vector.
    inner_width (int): Width of the MLP's hidden layer; of the experts that a subtoken is sent to,
        all together.
    n_experts (float): Experts that a subtoken is sent to, on average over the layers.
    n_heads, n_key_value_heads, head_width (int): The heads of attention, and their width.
    vocab_size (int): Rows of the embedding table.
    context (int): Most subtokens of a sequence.
    kinds (tuple[LayerKind, ...]): What each layer has, input side first.
    linear (dict[str, tuple[int, int]]): Input and output width of every linear module, by name.
    experts (dict[str, tuple[int, int, int]]): Number of matrices, input and output width of every
        parameter that holds one for each expert, by name.
    """

    family: str
    n_layers: int
    n_parameters: int
    width: int
    inner_width: int
    n_heads: int
    n_key_value_heads: int
    head_width: int
    vocab_size: int
    context: int
    kinds: tuple[LayerKind, ...]
    n_experts: float = 0.0
    linear: dict[str, tuple[int, int]]
    experts: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    @property
    def n_joined(self) -> int:
        """RETURNS (int): Weights of experts that are not in linear modules."""
        return sum(n * inputs * outputs for n, inputs, outputs in self.experts.values())
