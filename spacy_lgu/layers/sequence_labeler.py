"""The head of a sequence labeler: dropout and a linear layer on the vectors of all tokens, and its
loss."""

from functools import partial
from typing import Any

import numpy
from spacy.tokens import Doc
from thinc.api import (
    Dropout,
    Linear,
    Model,
    Ops,
    chain,
    get_torch_default_device,
    list2array,
    resizable,
)
from thinc.layers.resizable import resize_linear_weighted, resize_model
from thinc.types import Floats2d

from ..decoder.memory import Halving
from ..decoder.packing import micro_batches
from ..labeling.tags import MISSING

SequenceLabelerT = Model[list[Doc], Floats2d]

# The bias of a tag that was added after training. The logits of a trained layer lie around zero,
# and the best is positive: the new tag is improbable, but within reach of a few updates.
_NEW_BIAS = -10.0


def sequence_labeler(tok2vec: Model[list[Doc], list[Floats2d]]) -> SequenceLabelerT:
    """Logits of the tags of all tokens of a batch, in one matrix.

    Softmax is left to what comes after: the loss, and decoding at a temperature.

    tok2vec (Model): Docs -> one array of shape (tokens, width) per Doc.
    RETURNS (Model): Docs -> logits. Shape: (tokens of all Docs, tags).
    """
    output = Linear(nI=tok2vec.maybe_get_dim("nO"))
    fill = {"W": 0.0, "b": _NEW_BIAS}
    resizing: Model[Floats2d, Floats2d] = resizable(
        output, partial(resize_linear_weighted, fill_defaults=fill)
    )
    model: SequenceLabelerT = chain(tok2vec, list2array(), Dropout(), resizing)
    model.set_ref("tok2vec", tok2vec)
    model.set_ref("output_layer", output)
    model.attrs["resize_output"] = resize_output
    return model


def resize_output(model: SequenceLabelerT, n_tags: int) -> SequenceLabelerT:
    """Make room for more tags, which come last; the rows of the earlier ones stay as they are.

    model (Model): From sequence_labeler, changed in place.
    n_tags (int): Number of tags, the earlier ones included.
    RETURNS (Model): The model.
    """
    resizing = model.layers[-1]
    resize_model(resizing, n_tags)
    model.set_ref("output_layer", resizing.layers[0])
    for node in (resizing, model):
        node.set_dim("nO", n_tags, force=True)
    return model


def halve_docs(name: str) -> Halving:
    """RETURNS (Halving): For run_head, in a component of this name."""
    return Halving(
        what=f"for {{n}} tokens in {name!r}",
        item="Doc",
        advice="Set nlp.batch_size, or the batch_size of nlp.pipe, lower.",
        advice_for_one="Shorten the text.",
    )


def run_head(model: SequenceLabelerT, docs: list[Doc], halving: Halving) -> numpy.ndarray:
    """Logits of Docs, as many at once as the memory allows.

    model (Model): From sequence_labeler.
    docs (list[Doc]): The Docs; one of them has tokens.
    halving (Halving): From halve_docs; knows what went well before.
    RETURNS (ndarray): Shape: (tokens of all Docs, tags). Raises torch.OutOfMemoryError for a Doc
        that is too long.
    """
    lengths = numpy.array([len(doc) for doc in docs], dtype="int64")
    order = numpy.flatnonzero(lengths)  # a group of Docs without tokens would have no width
    most = halving.most
    groups = [order] if most is None else micro_batches(lengths, most, order=order)

    def run(chosen: numpy.ndarray) -> numpy.ndarray:
        X: numpy.ndarray = model.ops.to_numpy(model.predict([docs[i] for i in chosen]))
        return X

    results = halving.run(lengths, groups, run, get_torch_default_device())
    return results[0] if len(results) == 1 else numpy.concatenate(results)


def cross_entropy(ops: Ops, scores: Floats2d, tags: numpy.ndarray) -> tuple[float, Floats2d]:
    """Cross-entropy, the mean over the annotated tokens of a batch.

    ops (Ops): The layer's.
    scores (Floats2d): Logits. Shape: (tokens, tags).
    tags (ndarray): The right tags, MISSING where not known. Shape: (tokens,).
    RETURNS (tuple[float, Floats2d]): The loss, and its gradient.
    """
    known = numpy.flatnonzero(tags != MISSING)
    # thinc's array types lack what all arrays have in common.
    d_scores: Any = ops.alloc2f(*scores.shape)
    if not len(known):
        return 0.0, d_scores
    xp: Any = ops.xp
    rows, columns = xp.asarray(known), xp.asarray(tags[known])
    X: Any = scores[rows]
    X -= X.max(axis=1, keepdims=True)
    X -= xp.log(xp.exp(X).sum(axis=1, keepdims=True))
    each = xp.arange(len(known))
    d_X = xp.exp(X)
    d_X[each, columns] -= 1.0
    d_scores[rows] = d_X / len(known)
    return -float(X[each, columns].mean()), d_scores
