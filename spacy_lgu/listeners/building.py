"""The builder of a listener, as configs name it."""

from spacy.tokens import Doc
from thinc.api import Model, chain
from thinc.types import Floats2d

from .pooling import PoolingT
from .stock import TransformerListener, trfs2arrays


def transformer_listener_v1(
    pooling: PoolingT, grad_factor: float = 1.0, upstream: str = "*"
) -> Model[list[Doc], list[Floats2d]]:
    """The vectors of a transformer component before this pipe, as its tok2vec layer.

    pooling (Model[Ragged, Floats2d]): Subtoken vectors -> token vector, e.g. reduce_mean.v1.
    grad_factor (float): Factor on the gradients that go into the transformer; 0: none.
    upstream (str): Name of the component; "*": any.
    RETURNS (Model): Docs -> one array of shape (tokens, width) per Doc.
    """
    listener = TransformerListener(upstream)
    model: Model[list[Doc], list[Floats2d]] = chain(listener, trfs2arrays(pooling, grad_factor))
    model.set_ref("listener", listener)
    return model
