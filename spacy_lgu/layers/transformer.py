"""The thinc layer: Docs in, one TransformerData per Doc out."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy
import torch
from spacy.tokens import Doc
from spacy_transformers.data_classes import FullTransformerBatch, TransformerData, WordpieceBatch
from spacy_transformers.layers.split_trf import split_trf_batch
from spacy_transformers.span_getters import SpannerT
from thinc.api import Model, chain, get_array_module, torch2xp, xp2torch
from thinc.types import Floats3d, Ints1d, Ragged
from transformers.file_utils import ModelOutput

from ..decoder.settings import DecoderSettings
from .alignment import EncodedDocs, encode_docs
from .shim import DecoderShim
from .windows import Windows, window_capacity

logger = logging.getLogger("spacy_lgu")

LGUTransformerT = Model[list[Doc], FullTransformerBatch]


@dataclass
class LGUTransformerBatch(FullTransformerBatch):
    """Output for a batch of Docs, whose subtokens lie in one row instead of a padded rectangle.

    doc_lengths (ndarray): Subtokens of each Doc. Shape: (docs,).
    token_lengths (ndarray): Tokens of each Doc. Shape: (docs,).
    """

    doc_lengths: numpy.ndarray = field(default_factory=lambda: numpy.zeros(0, dtype="int64"))
    token_lengths: numpy.ndarray = field(default_factory=lambda: numpy.zeros(0, dtype="int64"))

    def split_by_doc(self) -> list[TransformerData]:
        """RETURNS (list[TransformerData]): One per Doc; its last_hidden_state has the shape
        (1, subtokens of the Doc, width)."""
        Y = cast(Any, torch2xp(_hidden(self)))  # thinc types no indexing along two axes
        ids = cast(numpy.ndarray, self.wordpieces.input_ids)
        strings = self.wordpieces.strings[0]
        n_aligned = cast(numpy.ndarray, self.align.lengths)
        token_ends = self.token_lengths.cumsum()
        aligned_ends = numpy.append(0, n_aligned.cumsum())
        outputs = []
        end = 0
        for length, n_tokens, token_end in zip(
            self.doc_lengths.tolist(), self.token_lengths.tolist(), token_ends.tolist(), strict=True
        ):
            if not length:
                outputs.append(TransformerData.empty())
                continue
            start, end = end, end + length
            token_start = token_end - n_tokens
            aligned = slice(aligned_ends[token_start], aligned_ends[token_end])
            outputs.append(
                TransformerData(
                    wordpieces=_wordpieces(strings[start:end], ids[:, start:end]),
                    model_output=ModelOutput(last_hidden_state=Y[:, start:end]),
                    align=_ragged(
                        cast(Any, self.align.dataXd[aligned]) - start,
                        n_aligned[token_start:token_end],
                    ),
                )
            )
        return outputs

    def unsplit_by_doc(self, arrays: list[list[Floats3d]]) -> "LGUTransformerBatch":
        """The gradient of the batch from those of its Docs, empty Docs left out.

        arrays (list): Per Doc, one array of shape (1, subtokens of the Doc, width).
        RETURNS (LGUTransformerBatch): last_hidden_state has the shape (1, subtokens, width).
        """
        gradients = [doc_arrays[0] for doc_arrays in arrays]
        xp = get_array_module(gradients[0])
        dY = xp.concatenate(gradients, axis=1)
        if dY.shape[1] != self.doc_lengths.sum():
            raise ValueError(
                f"Expected gradients for {self.doc_lengths.sum()} subtokens of "
                f"{len(self.doc_lengths)} Docs, but got {dY.shape[1]}."
            )
        return LGUTransformerBatch(
            spans=self.spans,
            wordpieces=self.wordpieces,
            model_output=ModelOutput(last_hidden_state=xp2torch(dY)),
            align=self.align,
            doc_lengths=self.doc_lengths,
            token_lengths=self.token_lengths,
        )


def lgu_transformer(
    settings: DecoderSettings,
    *,
    get_spans: SpannerT,
    tokenizer_config: dict[str, Any],
    windows: Windows,
) -> LGUTransformerT:
    """A decoder under layer group unmasking as a thinc layer.

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


def forward(
    model: LGUTransformerT, docs: list[Doc], is_train: bool
) -> tuple[FullTransformerBatch, Callable[[FullTransformerBatch], list[Doc]]]:
    shim: DecoderShim = model.shims[0]  # type: ignore[assignment]
    built = shim.ready
    spans = model.attrs["get_spans"](docs)
    encoded = encode_docs(
        docs,
        spans,
        cast(Any, built.tokenizer),  # transformers types it as a stub without attributes
        window=shim.find_window(built.decoder.base.config),
        stride=shim.windows.stride,
        causal=not any(built.decoder.unmasked),
        split=built.subtokens == "split",
    )
    if not len(encoded.ids):
        return LGUTransformerBatch.empty(len(docs)), _backprop_nothing
    hidden, backprop_hidden = shim((encoded.ids, encoded.lengths), is_train)
    rows = None
    if encoded.rows is not None:
        rows = torch.from_numpy(encoded.rows).to(hidden.device)
    Y = hidden if rows is None else hidden[rows]  # (rows, width) -> (subtokens, width)
    output = _as_batch(docs, spans, encoded, Y)

    def backprop(d_output: FullTransformerBatch) -> list[Doc]:
        dY = _hidden(d_output)[0].to(hidden.device)
        if rows is None:
            d_hidden = dY
        else:
            d_hidden = torch.zeros_like(hidden)
            d_hidden[rows] = dY  # no row is read twice
        backprop_hidden(d_hidden)
        return docs

    return output, backprop


def init(model: LGUTransformerT, X: Any = None, Y: Any = None) -> None:
    shim: DecoderShim = model.shims[0]  # type: ignore[assignment]
    if shim.built is not None:
        return

    def check(config: Any, tokenizer: Any) -> None:
        n_special = tokenizer.num_special_tokens_to_add()
        window_capacity(shim.find_window(config), shim.windows.stride, n_special=n_special)

    built = shim.initialize(check)
    model.set_dim("nO", built.decoder.width)
    for line in built.describe():
        logger.info(line)


def replace_listener(model: LGUTransformerT) -> Model[list[Doc], list[TransformerData]]:
    """What spaCy puts in the place of a listener."""
    return chain(model, split_trf_batch())


def replace_listener_config(
    transformer: dict[str, Any], listener: dict[str, Any], **options: Any
) -> dict[str, Any]:
    """The config of what spaCy puts in the place of a listener.

    transformer (dict): Config of the transformer's model.
    listener (dict): Config of the listener.
    options (Any): Of the component, which the model's config does not have.
    """
    result = {**transformer, **options}
    result["@architectures"] = "spacy-lgu.Tok2VecLGU.v1"
    result["pooling"] = listener["pooling"]
    result["grad_factor"] = listener["grad_factor"]
    return result


def _as_batch(
    docs: list[Doc], spans: list[list[Any]], encoded: EncodedDocs, Y: torch.Tensor
) -> LGUTransformerBatch:
    ids = encoded.ids if encoded.rows is None else encoded.ids[encoded.rows]
    return LGUTransformerBatch(
        spans=spans,
        wordpieces=_wordpieces(encoded.strings, ids[None]),
        model_output=ModelOutput(last_hidden_state=Y[None]),
        align=_ragged(encoded.indices.astype("int32"), encoded.token_lengths.astype("int32")),
        doc_lengths=encoded.doc_lengths,
        token_lengths=numpy.array([len(doc) for doc in docs], dtype="int64"),
    )


def _hidden(batch: FullTransformerBatch) -> torch.Tensor:
    return cast(Any, batch.model_output).last_hidden_state


def _ragged(data: numpy.ndarray, lengths: numpy.ndarray) -> Ragged:
    return Ragged(cast(Ints1d, data), cast(Ints1d, lengths))


def _wordpieces(strings: list[str], ids: numpy.ndarray) -> WordpieceBatch:
    return WordpieceBatch(
        strings=[strings],
        input_ids=cast(Any, ids),
        attention_mask=cast(Any, numpy.ones(ids.shape, dtype="float32")),
        lengths=[len(strings)],
        token_type_ids=None,
    )


def _backprop_nothing(d_output: FullTransformerBatch) -> list[Doc]:
    return []
