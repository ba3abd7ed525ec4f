"""The layer that gets the vectors of a Doc from the transformer component before it."""

from collections.abc import Callable
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model

from .data import TransformerData, check_tokens

BackpropT = Callable[[list[TransformerData]], Any]
ListenerT = Model[list[Doc], list[TransformerData]]


class TransformerListener(Model):
    """Docs -> their TransformerData, from the component that it listens to.

    In training, the component hands over each batch with the way back for the gradients (receive).
    Otherwise, and where the component only annotates, it is what the Docs carry.
    """

    name = "transformer-listener"

    _batch_id: int | None
    _outputs: list[TransformerData]
    _backprop: BackpropT | None

    def __init__(self, upstream_name: str) -> None:
        """upstream_name (str): Name of the component; "*": any."""
        super().__init__(self.name, forward, dims={"nO": None})
        self.upstream_name = upstream_name
        self._clear()

    @classmethod
    def get_batch_id(cls, inputs: list[Doc]) -> int:
        """What tells one batch from another.

        inputs (list[Doc]): The Docs.
        RETURNS (int): The same for the same tokens in the same order, in one process. Docs without
            tokens do not count, as in spacy-transformers: a pipe may leave them out.
        """
        return hash(tuple(doc.to_array("ORTH").tobytes() for doc in inputs if len(doc)))

    def receive(self, batch_id: int, outputs: list[TransformerData], backprop: BackpropT) -> None:
        """Take a batch in training. The component calls this.

        batch_id (int): From get_batch_id.
        outputs (list[TransformerData]): One per Doc.
        backprop (Callable): Takes the gradients.
        """
        self._batch_id = batch_id
        self._outputs = outputs
        self._backprop = backprop

    def backprop_and_clear(self, gradients: list[TransformerData]) -> Any:
        """Hand the gradients back, and forget the batch, which holds the whole graph.

        gradients (list[TransformerData]): Of the Docs with tokens.
        RETURNS (Any): What the component's callback returns.
        """
        backprop = self._backprop
        self._clear()
        return None if backprop is None else backprop(gradients)

    def verify_inputs(self, inputs: list[Doc]) -> bool:
        """Check that Docs are the ones received.

        inputs (list[Doc]): The Docs.
        RETURNS (bool): True. Raises ValueError for others, or if nothing was received.
        """
        if self._batch_id is None:
            raise ValueError("The listener has received no batch from the transformer.")
        if self.get_batch_id(inputs) != self._batch_id:
            raise ValueError(
                f"Mismatched IDs: the listener got {len(inputs)} Docs that are not those of the "
                "batch that the transformer handed over. Both must be updated with the same "
                "examples."
            )
        return True

    def _clear(self) -> None:
        self._batch_id = None
        self._outputs = []
        self._backprop = None

    def __reduce_ex__(self, protocol: Any) -> Any:
        # Copies, in this process or another, have no part in a batch that is under way. The state
        # of a class whose parents have slots is a pair.
        reduced: Any = super().__reduce_ex__(protocol)
        make, arguments, (values, slots), *others = reduced
        nothing: dict[str, Any] = {"_batch_id": None, "_outputs": [], "_backprop": None}
        return make, arguments, ({**values, **nothing}, slots), *others


def forward(
    model: TransformerListener, docs: list[Doc], is_train: bool
) -> tuple[list[TransformerData], BackpropT]:
    if is_train and model._batch_id is not None:
        is_same = model.get_batch_id(docs) == model._batch_id
        if is_same or any(len(doc) and doc._.trf_data is None for doc in docs):
            model.verify_inputs(docs)
            return model._outputs, model.backprop_and_clear
        # The component annotated these and was not updated: what waits is an earlier batch, from
        # whose update this pipe was excluded.
        model._clear()
    found = [doc._.trf_data for doc in docs]
    missing = [i for i, data in enumerate(found) if data is None]
    if missing and is_train:
        raise ValueError(
            f"{len(missing)} of {len(docs)} Docs have no vectors of the transformer that a pipe "
            f"listens to (upstream = {model.upstream_name!r}): if it is in [training] "
            "frozen_components, put it into annotating_components as well."
        )
    for i in missing:
        width = model.get_dim("nO")
        found[i] = TransformerData.zeros(len(docs[i]), width, xp=model.ops.xp)
    check_tokens(docs)
    return found, _backprop_nothing


def _backprop_nothing(gradients: list[TransformerData]) -> list[Doc]:
    return []
