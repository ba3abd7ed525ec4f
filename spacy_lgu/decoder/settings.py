"""The values a user chooses for a decoder, checked when they are put together.

Nothing here touches the disk or the network: spaCy builds a pipeline from its config before it
knows where the weights are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from ..unmasking import group_sizes, normalize_pattern

QUANTIZATIONS = ("none", "nf4", "int8")
DTYPES = ("auto", "float32", "bfloat16", "float16")
# Which arithmetic the products of a frozen base have where a saved pipeline is served.
PRODUCTS = ("exact", "int8", "auto")
TUNINGS = ("lora", "full", "frozen")
# What happens to a subtoken that spans two tokens: it is split, or both tokens share it.
SUBTOKENS = ("split", "shared")
LORA_MODULES = ("attention", "all-linear")
LORA_VARIANTS = ("lora", "rslora", "dora")


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """Trainable low-rank weights on the frozen base (PEFT LoRA), `spacy-lgu.lora.v1` in configs.

    variant (str): "lora", "rslora" (the scale is alpha / sqrt(rank): Kalajdzievski, 2023, arXiv
        2312.03732) or "dora" (a trained magnitude for each output: Liu et al., 2024, arXiv
        2402.09353).
    rank (int): Rank of each update, at least 1.
    alpha (float): Scale of the update is alpha / rank.
    dropout (float): Share of the inputs of the update dropped in training, in [0, 1).
    modules (str | list[str]): "attention" (query and value projections, as in the paper, or
        the fused projection where the family has one), "all-linear", or names of modules.
    parameters (list[str]): Names of weights that hold one matrix per expert and belong to no
        linear module, such as "mlp.experts.down_proj". They need dropout = 0.
    path (str | None): Folder of a saved adapter to start from; training continues it, with the
        variant, rank, alpha, dropout, modules and parameters that it has.
    """

    variant: str = "lora"
    rank: int = 64
    alpha: float = 16
    dropout: float = 0.1
    # A list in a config; kept as a tuple.
    modules: str | Sequence[str] = "attention"
    parameters: Sequence[str] = ()
    path: str | None = None

    def __post_init__(self) -> None:
        _check_choice("LoRA variant", self.variant, LORA_VARIANTS)
        if self.rank < 1:
            raise ValueError(f"LoRA rank must be at least 1, but is {self.rank}.")
        if self.alpha <= 0:
            raise ValueError(f"LoRA alpha must be positive, but is {self.alpha}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"LoRA dropout must lie in [0, 1), but is {self.dropout}.")
        self._check_parameters()
        if isinstance(self.modules, str):
            _check_choice("LoRA modules", self.modules, LORA_MODULES, "or a list of module names")
            return
        object.__setattr__(self, "modules", tuple(self.modules))
        is_empty = not self.modules and not self.parameters
        if is_empty or not all(isinstance(m, str) and m for m in self.modules):
            raise ValueError(
                f"LoRA modules are {list(self.modules)!r}: expected 'attention', 'all-linear' or "
                "a non-empty list of module names such as ['q_proj', 'v_proj']."
            )

    def _check_parameters(self) -> None:
        if isinstance(self.parameters, str) or not all(
            isinstance(name, str) and name for name in self.parameters
        ):
            raise ValueError(
                f"LoRA parameters are {self.parameters!r}: expected a list of names such as "
                "['mlp.experts.gate_up_proj', 'mlp.experts.down_proj']."
            )
        object.__setattr__(self, "parameters", tuple(self.parameters))
        if not self.parameters:
            return
        # The update is added to the weights, so that there is no input of its own to drop, and
        # PEFT has no magnitudes for them.
        if self.dropout > 0:
            raise ValueError(
                f"LoRA parameters {list(self.parameters)} cannot have dropout, which is "
                f"{self.dropout}. Set dropout = 0.0."
            )
        if self.variant == "dora":
            raise ValueError(
                f"LoRA parameters {list(self.parameters)} cannot have variant = 'dora'. Set "
                "variant = 'lora' or 'rslora', or parameters = []."
            )


@dataclass(frozen=True, kw_only=True)
class AdamWSettings:
    """AdamW over all trained weights of the decoder together, `spacy-lgu.adamw.v1` in configs; the
    defaults are the paper's.

    learn_rate_factor (float): The rate is that of the training's optimizer, schedule included,
        times this factor.
    beta1 (float): Decay of the first moment, in [0, 1).
    beta2 (float): Decay of the second moment, in [0, 1).
    eps (float): Added to the root of the second moment.
    weight_decay (float): For matrices; biases and norms are not decayed.
    grad_clip (float): Largest norm of the gradient of all weights together; 0: no limit.
    lora_plus_ratio (float): LoRA+: the rate of the LoRA matrices B, which start at zero, is that of
        all other weights times this ratio, at least 1 (Hayou et al., 2024, arXiv 2402.12354).
    paged_8bit (bool): Moments in 8 bits, paged to the CPU when the GPU's memory is full
        (bitsandbytes). CUDA only.
    """

    learn_rate_factor: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-5
    weight_decay: float = 0.1
    grad_clip: float = 1.0
    lora_plus_ratio: float = 1.0
    paged_8bit: bool = False

    def __post_init__(self) -> None:
        for name in ("learn_rate_factor", "eps"):
            if getattr(self, name) <= 0:
                raise ValueError(f"AdamW {name} must be positive, but is {getattr(self, name)}.")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"AdamW {name} must lie in [0, 1), but is {getattr(self, name)}.")
        for name in ("weight_decay", "grad_clip"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"AdamW {name} must not be negative, but is {getattr(self, name)}. Use 0 for "
                    "none."
                )
        if self.lora_plus_ratio < 1:
            raise ValueError(
                f"AdamW lora_plus_ratio must be at least 1, but is {self.lora_plus_ratio}. Use 1 "
                "for one rate for all weights."
            )


@dataclass(frozen=True, kw_only=True)
class DecoderSettings:
    """Which decoder, which of its layer groups are unmasked, and how it is stored and trained.

    name (str): Name on the Hugging Face hub, or a folder.
    revision (str | None): Branch, tag or commit on the hub. None: the default branch.
    unmasking (str): The unmasking pattern, in letters; the paper's digits are converted.
    n_layers (int | None): How many of its layers are used, input side first; the pattern covers
        these. None: all.
    repeat (int): How many more times each sequence is run, end to end with itself; the vectors are
        those of the last copy.
    read_previous (bool): Whether the vector of a subtoken is that of the one before it.
    quantization (str): "none", "nf4" (4 bit, double quantization) or "int8" (LLM.int8(), which
        keeps columns with outliers in float16 and looks for them in the whole batch: where there
        are any, a text's vectors depend on its neighbours: by up to 6 % in tiny decoders, and more
        in mixtures of experts, where other experts may be picked).
    dtype (str): Computing dtype: "auto", "float32", "bfloat16" or "float16".
    products (str): How a saved decoder multiplies once it is loaded: "exact", as dtype and
        quantization say; "int8", on CPUs, for vectors near those; "auto": int8 on a CPU that does
        it fast, where quantization and tuning allow it. A new decoder computes exactly.
    tuning (str): "lora", "full" or "frozen".
    gradient_checkpointing (bool): Recompute activations in the backward pass to save memory.
    lora (LoraSettings): Read when tuning is "lora".
    optimizer (AdamWSettings | None): Steps the trained weights. None: thinc's optimizer does,
        array by array.
    self_test (bool): Whether a decoder proves its directions and its adapter once it is loaded.
    """

    name: str
    revision: str | None = None
    unmasking: str
    n_layers: int | None = None
    repeat: int = 0
    read_previous: bool = False
    quantization: str = "none"
    dtype: str = "auto"
    products: str = "exact"
    tuning: str = "lora"
    gradient_checkpointing: bool = False
    lora: LoraSettings = field(default_factory=LoraSettings)
    optimizer: AdamWSettings | None = None
    self_test: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise ValueError(
                f"The decoder's name is {self.name!r}: expected a name on the Hugging Face hub, "
                "such as 'mistralai/Mistral-7B-v0.3', or a folder."
            )
        object.__setattr__(self, "unmasking", normalize_pattern(self.unmasking))
        if self.n_layers is not None:
            _check_count("n_layers", self.n_layers, 1, ", or null for all of the decoder's")
            group_sizes(self.n_layers, len(self.unmasking))
        _check_count("repeat", self.repeat, 0, ", which runs each sequence once")
        _check_choice("quantization", self.quantization, QUANTIZATIONS)
        _check_choice("dtype", self.dtype, DTYPES)
        _check_choice("products", self.products, PRODUCTS)
        _check_choice("tuning", self.tuning, TUNINGS)
        if self.tuning == "full" and self.quantization != "none":
            raise ValueError(
                f"tuning = 'full' cannot train weights quantized with {self.quantization!r}. Use "
                "quantization = 'none', or tuning = 'lora', which trains on a quantized base."
            )
        if self.products == "int8" and (self.tuning == "full" or self.quantization == "int8"):
            raise ValueError(
                "products = 'int8' needs a frozen base that is not in LLM.int8() already, but "
                f"tuning = {self.tuning!r} and quantization = {self.quantization!r}. Use products "
                "= 'exact'."
            )
        ratio = 1.0 if self.optimizer is None else self.optimizer.lora_plus_ratio
        if ratio != 1 and self.tuning != "lora":
            raise ValueError(
                f"The optimizer's lora_plus_ratio is {ratio}, but tuning = {self.tuning!r} has no "
                "LoRA weights. Use lora_plus_ratio = 1.0, or tuning = 'lora'."
            )


def _check_count(what: str, value: Any, lowest: int, more: str) -> None:
    if type(value) is not int or value < lowest:
        raise ValueError(f"{what} is {value!r}: expected a whole number from {lowest}{more}.")


def _check_choice(what: str, value: Any, choices: tuple[str, ...], more: str = "") -> None:
    if value in choices:
        return
    close = get_close_matches(str(value), choices, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    expected = ", ".join(repr(choice) for choice in choices) + (f" {more}" if more else "")
    raise ValueError(f"{what} is {value!r}: expected one of {expected}.{hint}")
