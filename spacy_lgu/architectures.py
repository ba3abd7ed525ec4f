"""Registered builders: values from a config in, thinc models out. Nothing is read or loaded."""

from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any, TypeVar

from spacy.tokens import Doc
from thinc.api import Model, chain
from thinc.types import Floats2d, Ragged

from .decoder.pack_size import AUTO
from .decoder.settings import AdamWSettings, DecoderSettings, LoraSettings
from .layers.sequence_labeler import SequenceLabelerT, sequence_labeler
from .layers.shim import DecoderShim
from .layers.transformer import LGUTransformerT, lgu_transformer
from .layers.windows import Windows
from .listeners.span_getters import SpanGetterT
from .listeners.stock import split_trf_batch, trfs2arrays

# Registered as they are: a config's values are checked against the fields and their types.
build_lora_v1 = LoraSettings
build_adamw_v1 = AdamWSettings

BuilderT = TypeVar("BuilderT", bound=Callable[..., Any])


def build_lgu_transformer_v1(
    name: str,
    get_spans: SpanGetterT,
    unmasking: Any,
    n_layers: int | None = None,
    repeat: int = 0,
    read_previous: bool = False,
    revision: str | None = None,
    quantization: str = "none",
    dtype: str = "auto",
    products: str = "exact",
    tuning: str = "lora",
    gradient_checkpointing: bool = False,
    window: int | None = None,
    stride: int | None = None,
    tokenizer_config: dict[str, Any] = {},  # noqa: B006  spaCy fills configs from defaults
    lora: LoraSettings | None = None,
    optimizer: AdamWSettings | None = None,
    self_test: bool = True,
) -> LGUTransformerT:
    """A decoder-only language model with the causal mask removed from some of its layer groups.

    name (str): Name on the Hugging Face hub, or a folder.
    get_spans (Callable): Docs -> for each Doc, the spans to run as sequences.
    unmasking (str): One letter per layer group, leftmost = layers nearest the input: c keeps
        the causal mask, b removes it. Source: Dukić & Šnajder, 2024 (arXiv 2401.14556).
    n_layers (int | None): How many layers of the decoder are used, input side first: the pattern
        covers these, and the others are neither read nor saved. None: all.
    repeat (int): How many more times each sequence is run, end to end with itself: even a causal
        decoder has seen all of it in the last copy, whose vectors are read. Windows get shorter,
        so that all copies fit. Source: Kukić et al., 2026 (arXiv 2601.17585).
    read_previous (bool): Whether the vector of a subtoken is the one before it in its sequence,
        which masked-next adaptation has taught to tell what stands here; the first has its own.
        Source: BehnamGhader et al., "LLM2Vec", 2024 (arXiv 2404.05961), D.1.3.
    revision (str | None): Branch, tag or commit on the hub.
    quantization (str): "none", "nf4" or "int8". A config that names this architecture but
        no quantization gets "none"; the default config of lgu_transformer says "nf4".
    dtype (str): Computing dtype: "auto", "float32", "bfloat16" or "float16".
    products (str): How a saved pipeline multiplies where it is loaded: "exact"; "int8", on CPUs,
        faster, for vectors near the exact ones; "auto": int8 where a CPU does it fast and the base
        is frozen. In training they are exact.
    tuning (str): "lora", "full" or "frozen".
    gradient_checkpointing (bool): Trade time for memory in training.
    window (int | None): Subtokens per window, each counted once. None: the decoder's context, but
        at most max_batch_items, and 4,096 if that is "auto", divided among the copies if there is
        a repeat.
    stride (int | None): Subtokens between windows. None: half a window.
    tokenizer_config (dict): Passed to AutoTokenizer.
    lora (LoraSettings | None): Read when tuning is "lora". None: its defaults.
    optimizer (AdamWSettings | None): Steps all trained weights of the decoder together. None:
        the training's optimizer steps them, array by array.
    self_test (bool): Check, with a few subtokens, that a loaded decoder does what its pattern
        and adapter say.
    RETURNS (Model): Docs -> FullTransformerBatch. Raises ValueError for a bad value.
    """
    # `unmasking` is not annotated as str: pydantic would turn the integer 11 into "11".
    windows = Windows(window, stride)
    settings = DecoderSettings(
        name=name,
        revision=revision,
        unmasking=unmasking,
        n_layers=n_layers,
        repeat=repeat,
        read_previous=read_previous,
        quantization=quantization,
        dtype=dtype,
        products=products,
        tuning=tuning,
        gradient_checkpointing=gradient_checkpointing,
        lora=lora or LoraSettings(),
        optimizer=optimizer,
        self_test=self_test,
    )
    return lgu_transformer(
        settings,
        get_spans=get_spans,
        tokenizer_config=dict(tokenizer_config),
        windows=windows,
    )


def _with_arguments_of(inner: Callable[..., Any]) -> Callable[[BuilderT], BuilderT]:
    """Put the arguments that a builder passes on to another one into its signature, with names and
    types: configs are filled from signatures and checked against them.

    inner (Callable): The other builder, whose arguments the decorated one takes as `**arguments`.
    """

    def decorate(builder: BuilderT) -> BuilderT:
        own = [p for p in signature(builder).parameters.values() if p.kind is not p.VAR_KEYWORD]
        parameters = [
            parameter.replace(kind=Parameter.KEYWORD_ONLY)
            for parameter in (*signature(inner).parameters.values(), *own)
        ]
        merged = signature(builder).replace(parameters=parameters)
        builder.__signature__ = merged  # type: ignore[attr-defined]
        return builder

    return decorate


@_with_arguments_of(build_lgu_transformer_v1)
def build_tok2vec_lgu_v1(
    *,
    pooling: Model[Ragged, Floats2d],
    grad_factor: float = 1.0,
    max_batch_items: int | str = AUTO,
    base_weights: str = "auto",
    **transformer_arguments: Any,
) -> Model[list[Doc], list[Floats2d]]:
    """The decoder inside one pipe, as its tok2vec layer.

    pooling (Model[Ragged, Floats2d]): Subtoken vectors -> token vector, e.g. reduce_mean.v1.
    grad_factor (float): Factor on the gradients that go into the decoder.
    max_batch_items (int | str): Real subtokens per forward pass at inference, each copy of those
        that are repeated; may split one Doc. On a CPU at most 1,024 count, where more are
        slower. "auto": those; on a GPU up to 16,384, as its free memory allows at the first text.
    base_weights (str): What a save holds of the frozen base, as in the component lgu_transformer.
    transformer_arguments: The arguments of build_lgu_transformer_v1, each by its name.
    RETURNS (Model): Docs -> one array of shape (tokens, width) per Doc.
    """
    transformer = build_lgu_transformer_v1(**transformer_arguments)
    shim: DecoderShim = transformer.shims[0]  # type: ignore[assignment]
    shim.set_options(max_batch_items=max_batch_items, base_weights=base_weights)
    # A chain in a chain, the structure that replacing a listener leaves.
    return chain(chain(transformer, split_trf_batch()), trfs2arrays(pooling, grad_factor))


def build_sequence_labeler_v1(tok2vec: Model[list[Doc], list[Floats2d]]) -> SequenceLabelerT:
    """Dropout and a linear layer on the vectors of tokens; the dropout rate is that of training.

    tok2vec (Model): Docs -> one array of shape (tokens, width) per Doc, for example a listener.
    RETURNS (Model): Docs -> logits. Shape: (tokens of all Docs, tags).
    """
    return sequence_labeler(tok2vec)
