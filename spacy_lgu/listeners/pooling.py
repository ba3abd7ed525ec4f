"""The layer that makes one vector per token out of those of its subtokens."""

from collections.abc import Callable
from typing import Any, cast

import numpy
from thinc.api import Model, to_numpy
from thinc.types import Floats2d, Ragged

from .data import ModelOutput, TransformerData

PoolingT = Model[Ragged, Floats2d]


def trfs2arrays(
    pooling: PoolingT, grad_factor: float
) -> Model[list[TransformerData], list[Floats2d]]:
    """Pool subtokens into tokens.

    pooling (Model[Ragged, Floats2d]): Subtoken vectors -> token vector, e.g. reduce_mean.v1.
    grad_factor (float): Factor on the gradients.
    RETURNS (Model): TransformerData -> one array of shape (tokens, width) per Doc.
    """
    return Model("trfs2arrays", forward, layers=[pooling], attrs={"grad_factor": grad_factor})


def forward(
    model: Model, datas: list[TransformerData], is_train: bool
) -> tuple[list[Floats2d], Callable[[list[Floats2d]], list[TransformerData]]]:
    pooling: PoolingT = model.layers[0]
    xp = model.ops.xp
    for data in datas:
        if not isinstance(data, TransformerData):
            raise ValueError(
                f"Expected {TransformerData.__module__}.TransformerData, but got a "
                f"{type(data).__module__}.{type(data).__name__}: is the component that is listened "
                "to a transformer?"
            )
    # Docs without tokens have no vectors.
    kept = [i for i, data in enumerate(datas) if _has_vectors(data)]
    if not kept:
        return [model.ops.alloc2f(0, 0) for _ in datas], _backprop_nothing
    hidden = [datas[i].model_output.last_hidden_state for i in kept]  # (1, subtokens, width) each
    flat = [array.reshape(-1, array.shape[-1]) for array in hidden]
    ends = numpy.cumsum([len(x) for x in flat])
    aligned = [datas[i].align for i in kept]
    # Joined on the CPU: a GPU waits for every array that is sent to it, and Docs are many.
    rows, lengths = (
        model.ops.asarray1i(cast(Any, numpy.concatenate(arrays)))
        for arrays in (
            [
                to_numpy(align.dataXd) + (end - len(x))
                for align, end, x in zip(aligned, ends, flat, strict=True)
            ],
            [to_numpy(align.lengths) for align in aligned],
        )
    )
    # (subtokens, width) -> (alignments, width), of all Docs
    pooled, backprop_pooling = pooling(Ragged(xp.concatenate(flat)[rows], lengths), is_train)
    by_doc = xp.split(pooled, numpy.cumsum([len(align.lengths) for align in aligned])[:-1])
    Y = [model.ops.alloc2f(0, pooled.shape[1]) for _ in datas]
    for i, array in zip(kept, by_doc, strict=True):
        Y[i] = array

    def backprop(dY: list[Floats2d]) -> list[TransformerData]:
        dX = backprop_pooling(xp.concatenate([dY[i] for i in kept])).dataXd
        d_flat = model.ops.alloc2f(int(ends[-1]), flat[0].shape[1])
        # Added: several tokens may read a subtoken.
        model.ops.scatter_add(d_flat, rows, dX)
        d_flat *= model.attrs["grad_factor"]
        gradients = []
        for i, array, d_hidden in zip(kept, hidden, xp.split(d_flat, ends[:-1]), strict=True):
            output = ModelOutput(last_hidden_state=d_hidden.reshape(array.shape))
            gradients.append(TransformerData(datas[i].wordpieces, output, datas[i].align))
        return gradients

    return Y, backprop


def _has_vectors(data: TransformerData) -> bool:
    vectors = data.model_output.get("last_hidden_state")
    return vectors is not None and vectors.size > 0


def _backprop_nothing(dY: list[Floats2d]) -> list[TransformerData]:
    return []
