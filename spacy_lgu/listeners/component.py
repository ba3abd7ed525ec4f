"""A transformer component: it writes vectors on Docs, and trains through the pipes that listen."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer, set_dropout_rate

from .annotation_setters import null_annotation_setter
from .stock import (
    ComponentBase,
    FullTransformerBatch,
    PackedTransformerBatch,
    TransformerData,
    TransformerListener,
)
from .waiting import WaitingBatch, sum_squares

EXTENSION = "trf_data"
TransformerT = Model[list[Doc], FullTransformerBatch]


def install_extensions() -> None:
    """Let Docs have the attribute doc._.trf_data."""
    if not Doc.has_extension(EXTENSION):
        Doc.set_extension(EXTENSION, default=None)


class Transformer(ComponentBase):
    """A layer from Docs to their vectors that other pipes share, by listeners in their models.

    Where spacy-transformers is in use, this is one of its components, for whoever asks by type;
    nothing of theirs runs.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: TransformerT,
        set_extra_annotations: Callable = null_annotation_setter,
        *,
        name: str = "transformer",
        max_batch_items: int | str = 4096,
    ) -> None:
        """
        vocab (Vocab): The pipeline's.
        model (Model[list[Doc], FullTransformerBatch]): The layer.
        set_extra_annotations (Callable): Gets the Docs and the FullTransformerBatch of each batch.
        name (str): Of the component, for the listeners.
        max_batch_items (int | str): Stored for the layer.
        """
        if not isinstance(model, Model):
            raise ValueError(f"The model of {name!r} is a {type(model)}: expected a thinc Model.")
        # The two base classes take other arguments, and set no more than this.
        self.vocab, self.model, self.name = vocab, model, name
        self.set_extra_annotations = set_extra_annotations
        self.cfg: dict[str, Any] = {"max_batch_items": max_batch_items}
        self.listener_map: dict[str, list[TransformerListener]] = {}
        self._batch: WaitingBatch | None = None
        install_extensions()

    @property
    def listening_components(self) -> list[str]:
        """RETURNS (list[str]): Names of the pipes that listen."""
        return list(self.listener_map)

    @property
    def listeners(self) -> list[TransformerListener]:
        """RETURNS (list[TransformerListener]): The layers that listen."""
        return [listener for found in self.listener_map.values() for listener in found]

    def add_listener(self, listener: TransformerListener, component_name: str) -> None:
        """Note a layer that listens, and tell it the width of the vectors.

        listener (TransformerListener): The layer.
        component_name (str): Name of the pipe it is in.
        """
        listeners = self.listener_map.setdefault(component_name, [])
        if listener not in listeners:
            listeners.append(listener)
        if self.model.has_dim("nO") and listener.has_dim("nO") is None:
            listener.set_dim("nO", self.model.get_dim("nO"))

    def remove_listener(self, listener: TransformerListener, component_name: str) -> bool:
        """Forget a layer that listens.

        listener (TransformerListener): The layer.
        component_name (str): Name of the pipe it is in.
        RETURNS (bool): Whether it was known.
        """
        listeners = self.listener_map.get(component_name, [])
        if listener not in listeners:
            return False
        listeners.remove(listener)
        if not listeners:
            del self.listener_map[component_name]
        return True

    def find_listeners(self, component: Any) -> None:
        """Note the listeners of a pipe. spaCy calls this whenever the pipeline changes.

        component (Any): The pipe.
        """
        model = getattr(component, "model", None)
        for node in model.walk() if isinstance(model, Model) else ():
            if isinstance(node, TransformerListener) and node.upstream_name in ("*", self.name):
                self.add_listener(node, component.name)

    def initialize(
        self, get_examples: Callable[[], Iterable[Example]], *, nlp: Language | None = None
    ) -> None:
        """Initialize the layer, and note the listeners after this component.

        get_examples (Callable): Not called.
        nlp (Language | None): The pipeline.
        """
        self.model.initialize(X=[Doc(Vocab(), words=["hello"])])
        after = False
        for _, pipe in [] if nlp is None else nlp.pipeline:
            after = after or pipe is self
            if after:
                self.find_listeners(pipe)

    def __call__(self, doc: Doc) -> Doc:
        """Write the vectors of a Doc.

        doc (Doc): The Doc.
        RETURNS (Doc): The same.
        """
        install_extensions()
        self.set_annotations([doc], self.predict([doc]))
        return doc

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Apply the component to a stream of Docs.

        stream (Iterable[Doc]): The Docs.
        batch_size (int): Docs to buffer; max_batch_items bounds what is computed at once.
        YIELDS (Doc): The Docs in order.
        """
        install_extensions()
        # Not that of spacy-transformers, which forms batches of its own and keeps errors from the
        # error handler.
        yield from TrainablePipe.pipe(self, stream, batch_size=batch_size)

    def predict(self, docs: Iterable[Doc]) -> FullTransformerBatch:
        """Compute vectors, and write nothing.

        docs (Iterable[Doc]): The Docs.
        RETURNS (FullTransformerBatch): Their batch.
        """
        docs = list(docs)
        if not any(len(doc) for doc in docs):
            return PackedTransformerBatch.empty(len(docs))
        return self.model.predict(docs)

    def set_annotations(self, docs: Iterable[Doc], predictions: FullTransformerBatch) -> None:
        """Write vectors to doc._.trf_data, and call set_extra_annotations.

        docs (Iterable[Doc]): The Docs.
        predictions (FullTransformerBatch): Of predict.
        """
        docs = list(docs)
        for doc, data in zip(docs, predictions.doc_data, strict=True):
            doc._.trf_data = data
        self.set_extra_annotations(docs, predictions)

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Run the layer for the pipes that listen. Its backward pass follows once all have given
        their gradients, or else at finish_update or the next update, with those that were given:
        a pipe may be frozen, or find nothing to learn in a batch.

        examples (Iterable[Example]): The batch.
        drop (float): The dropout rate.
        sgd (Optimizer | None): Steps the layer after the backward pass.
        losses (dict[str, float] | None): Gets the sum of the squared gradients.
        RETURNS (dict[str, float]): The losses.
        """
        validate_examples(examples, "Transformer.update")
        losses = {} if losses is None else losses
        self._backprop_batch()
        docs = [example.predicted for example in examples]
        if not any(len(doc) for doc in docs):
            return losses
        set_dropout_rate(self.model, drop)
        output, backprop = self.model.begin_update(docs)
        batch_id = TransformerListener.get_batch_id(docs)
        batch = self._batch = WaitingBatch(batch_id, output, backprop, len(self.listeners), sgd)
        losses.setdefault(self.name, 0.0)

        def receive(outputs: list[TransformerData]) -> list[Doc]:
            gradients: list[list[Any]] = [list(data.tensors) for data in outputs]
            losses[self.name] += sum_squares(gradients)
            batch.add(gradients)
            if not batch.n_waiting:
                self._backprop_batch()
            return docs

        for listener in self.listeners:
            listener.receive(batch_id, output.doc_data, receive)
        return losses

    def finish_update(self, sgd: Optimizer) -> None:
        """Step the layer's weights. nlp.update with an optimizer calls this before the pipes
        after it have given any gradient: another step follows the backward pass. After such
        updates, if a pipe that listens gave none, call this once more for the last of them.

        sgd (Optimizer): The optimizer.
        """
        if self._batch is not None:
            if self._batch.gradients:
                self._backprop_batch()
            else:
                self._batch.optimizer = sgd
        self.model.finish_update(sgd)

    def _backprop_batch(self) -> None:
        batch, self._batch = self._batch, None
        if batch is None:
            return
        batch.run_backward()
        for listener in self.listeners:
            # One that was skipped would take the next batch for this one, and holds its Docs.
            if listener._batch_id == batch.batch_id:
                listener._batch_id, listener._outputs, listener._backprop = None, [], None
        if batch.optimizer is not None:
            self.model.finish_update(batch.optimizer)

    def get_loss(self, examples: Iterable[Example], scores: Any) -> None:
        """There is no loss but that of the pipes that listen."""
