"""The thinc layer: Docs in, one TransformerData per Doc out."""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from spacy.tokens import Doc
from thinc.api import Model, chain

from ..decoder.settings import DecoderSettings
from ..decoder.transfers import to_device
from ..listeners.span_getters import SpanGetterT
from ..listeners.stock import (
    FullTransformerBatch,
    PackedTransformerBatch,
    TransformerData,
    split_trf_batch,
)
from .alignment import EncodedDocs, encode_docs
from .batch import as_batch, hidden_states
from .shim import DecoderShim
from .windows import Windows

logger = logging.getLogger("spacy_lgu")

LGUTransformerT = Model[list[Doc], FullTransformerBatch]
BackpropT = Callable[[FullTransformerBatch], list[Doc]]


def lgu_transformer(
    settings: DecoderSettings,
    *,
    get_spans: SpanGetterT,
    tokenizer_config: dict[str, Any],
    windows: Windows,
) -> LGUTransformerT:
    """A decoder with layer group unmasking as a thinc layer.

    settings (DecoderSettings): The decoder.
    get_spans (Callable): Docs -> for each Doc, the spans to run as sequences.
    tokenizer_config (dict): Passed to AutoTokenizer.
    windows (Windows): How longer spans are cut.
    RETURNS (Model): Docs -> FullTransformerBatch.
    """
    return Model(
        "lgu-transformer",
        forward,
        init=init,
        dims={"nO": None},
        shims=[DecoderShim(settings, tokenizer_config, windows=windows)],
        attrs={
            "get_spans": get_spans,
            "replace_listener": replace_listener,
            "replace_listener_cfg": replace_listener_config,
        },
    )


class Prepared(NamedTuple):
    """A batch of Docs that the decoder can run on.

    spans (list[list[Span]]): As the span getter gave them.
    encoded (EncodedDocs): Their subtokens.
    """

    spans: list[list[Any]]
    encoded: EncodedDocs


def forward(
    model: LGUTransformerT, docs: list[Doc], is_train: bool
) -> tuple[FullTransformerBatch, BackpropT]:
    return run(model, docs, prepare(model, docs), is_train)


def prepare(model: LGUTransformerT, docs: list[Doc]) -> Prepared:
    """All that is done before the decoder runs, without its device.

    model (Model): The layer, with a decoder.
    docs (list[Doc]): The batch.
    RETURNS (Prepared): Raises ValueError as encode_docs does.
    """
    shim: DecoderShim = model.shims[0]  # type: ignore[assignment]
    built = shim.ready
    spans = model.attrs["get_spans"](docs)
    encoded = encode_docs(
        docs,
        spans,
        cast(Any, built.tokenizer),  # transformers types it as a stub without attributes
        window=shim.find_window(built.decoder.base.config),
        stride=shim.windows.stride,
        # A causal decoder has seen all of a sequence when it reads the last copy.
        causal=not any(built.decoder.unmasked) and not built.decoder.repeat,
        split=built.subtokens == "split",
    )
    return Prepared(spans, encoded)


def run(
    model: LGUTransformerT, docs: list[Doc], prepared: Prepared, is_train: bool
) -> tuple[FullTransformerBatch, BackpropT]:
    """Run the decoder.

    model (Model): The layer.
    docs (list[Doc]): The batch.
    prepared (Prepared): From prepare, for these Docs.
    is_train (bool): Whether gradients will come.
    RETURNS (tuple): The output, and what takes its gradient.
    """
    shim: DecoderShim = model.shims[0]  # type: ignore[assignment]
    encoded = prepared.encoded
    if not len(encoded.ids):
        return PackedTransformerBatch.empty(len(docs)), _backprop_nothing
    hidden, backprop_hidden = shim((encoded.ids, encoded.lengths), is_train)
    output, rows = as_output(docs, prepared, hidden)

    def backprop(d_output: FullTransformerBatch) -> list[Doc]:
        dY = hidden_states(d_output)[0].to(hidden.device)
        if rows is None:
            d_hidden = dY
        else:
            d_hidden = torch.zeros_like(hidden)
            d_hidden[rows] = dY  # no row is read twice
        backprop_hidden(d_hidden)
        return docs

    return output, backprop


def as_output(
    docs: list[Doc], prepared: Prepared, hidden: torch.Tensor
) -> tuple[FullTransformerBatch, torch.Tensor | None]:
    """What the layer returns for the decoder's vectors, wherever these were computed.

    docs (list[Doc]): The batch.
    prepared (Prepared): From prepare, for these Docs.
    hidden (Tensor): The vectors. Shape: (rows, width).
    RETURNS (tuple): The output, and which rows are in it; None: all in their order.
    """
    spans, encoded = prepared
    rows = None
    if encoded.rows is not None:
        (rows,) = to_device([encoded.rows], hidden.device)
    Y = hidden if rows is None else hidden[rows]  # (rows, width) -> (subtokens, width)
    return as_batch(docs, spans, encoded, Y), rows


def init(model: LGUTransformerT, X: Any = None, Y: Any = None) -> None:
    shim: DecoderShim = model.shims[0]  # type: ignore[assignment]
    if shim.built is not None:
        if shim.is_trained:
            logger.warning(
                "The decoder keeps what it has learned: initializing again resets the other pipes, "
                "but not a decoder. To begin anew, for another fold of a cross-validation for "
                "instance, make the pipeline anew."
            )
        return
    built = shim.initialize()
    model.set_dim("nO", built.decoder.width)
    for line in built.describe():
        logger.info(line)


def replace_listener(model: LGUTransformerT) -> Model[list[Doc], list[TransformerData]]:
    """RETURNS (Model): What spaCy puts in the place of a listener."""
    return chain(model, split_trf_batch())


def replace_listener_config(
    transformer: dict[str, Any], listener: dict[str, Any], **options: Any
) -> dict[str, Any]:
    """The config of what spaCy puts in the place of a listener.

    transformer (dict): Config of the transformer's model.
    listener (dict): Config of the listener.
    options (Any): The component's options, which are not in the model's config.
    RETURNS (dict): A config of the architecture spacy-lgu.Tok2VecLGU.v1.
    """
    result = {**transformer, **options}
    result["@architectures"] = "spacy-lgu.Tok2VecLGU.v1"
    result["pooling"] = listener["pooling"]
    result["grad_factor"] = listener["grad_factor"]
    return result


def _backprop_nothing(d_output: FullTransformerBatch) -> list[Doc]:
    return []
