"""The component `sequence_labeler`: the paper's own head, with valid spans and probabilities."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy
from spacy.errors import Errors
from spacy.language import Language
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.util import ensure_path, minibatch
from spacy.vocab import Vocab
from thinc.types import Floats2d

from ..labeling.predicting import DECODINGS, PredictedT, predict_spans
from ..labeling.tags import tag_names
from ..layers.sequence_labeler import SequenceLabelerT, cross_entropy, halve_docs, run_head
from ..replacing import finished_folder, read_folder, replace_folder
from .gold_tags import find_labels, gold_tags, say_no_labels
from .isolating import pipe_batches, tell_handler
from .listening import check_training, check_vectors, remember_pipeline
from .scoring import ScorerT, sequence_labeler_score
from .writing import mark_spaces, write_ents, write_spans

logger = logging.getLogger("spacy_lgu")


class SequenceLabeler(TrainablePipe):
    """Labels spans that do not overlap, by IOB2 tags.

    The head of Dukić & Šnajder, 2024 (arXiv 2401.14556): dropout, a linear layer and softmax on
    the vector of each token, trained by cross-entropy. Two things are added. Only valid tag
    sequences are predicted, and doc.spans[spans_key].attrs["scores"] holds for each span the
    probability that exactly these tokens are a span with this label: its marginal under the
    model's distribution of valid tag sequences (see labeling/probabilities.py).

    The options are those of the config; labels and temperature are what is saved.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: SequenceLabelerT,
        name: str = "sequence_labeler",
        *,
        annotate_ents: bool = True,
        spans_key: str = "sequence_labeler",
        overwrite: bool = False,
        decoding: str = "viterbi",
        scorer: ScorerT | None = sequence_labeler_score,
    ) -> None:
        if decoding not in DECODINGS:
            raise ValueError(f"decoding is {decoding!r}: expected 'viterbi' or 'greedy'.")
        if not spans_key:
            raise ValueError(
                "spans_key is empty: expected a key for doc.spans, such as 'sequence_labeler'. "
                "Spans and probabilities are written there even where doc.ents is written too."
            )
        self.vocab = vocab
        self.model = model
        self.name = name
        self.annotate_ents = annotate_ents
        self.spans_key = spans_key
        self.overwrite = overwrite
        self.decoding = decoding
        self.scorer = scorer
        self.cfg: dict[str, Any] = {"labels": [], "temperature": 1.0}
        self._halving = halve_docs(name)

    @property
    def labels(self) -> tuple[str, ...]:
        """RETURNS (tuple[str, ...]): The labels, in the order of their tags."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> list[str]:
        """RETURNS (list[str]): What `spacy init labels` saves and `initialize` reads."""
        return list(self.labels)

    @property
    def temperature(self) -> float:
        """RETURNS (float): Logits are divided by it for probabilities; 1 unless calibrated. Which
        spans are found does not depend on it."""
        return self.cfg["temperature"]

    @property
    def gold_key(self) -> str | None:
        """RETURNS (str | None): Key in doc.spans that it learns from. None: from doc.ents."""
        return None if self.annotate_ents else self.spans_key

    def gold_tags(self, examples: Sequence[Example]) -> numpy.ndarray:
        """The tags of examples, on the tokens of their predicted Docs; see gold_tags.gold_tags.

        examples (Sequence[Example]): The examples.
        RETURNS (ndarray): MISSING where there is no annotation. Shape: (tokens of all Docs,).
        """
        numbers = {tag: number for number, tag in enumerate(tag_names(self.labels))}
        return gold_tags(examples, numbers, self.gold_key)

    def add_label(self, label: str) -> int:
        """Add a label, before or after training; what was learned about others stays.

        label (str): The label.
        RETURNS (int): 0 if it was there already, otherwise 1. Raises ValueError for an empty one.
        """
        if not isinstance(label, str):
            raise ValueError(Errors.E187)
        if not label:
            raise ValueError("The label is empty: expected a name such as 'PERSON'.")
        if label in self.labels:
            return 0
        self.cfg["labels"].append(label)
        self.vocab.strings.add(label)
        if self.model.get_ref("output_layer").has_dim("nO"):
            self.set_output(self._n_tags)
        return 1

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: Iterable[str] | None = None,
    ) -> None:
        """Find the labels and make the output layer.

        get_examples (Callable): Returns the training examples.
        nlp (Language | None): The pipeline, in which vectors must be able to reach this pipe.
        labels (Iterable[str] | None): The labels, for example from `spacy init labels`. None:
            those of all examples. Raises ValueError if there are none.
        """
        validate_get_examples(get_examples, "SequenceLabeler.initialize")
        if nlp is not None:
            remember_pipeline(self, nlp)
            check_training(nlp, self)
            self._check_keys(nlp)
        for label in find_labels(get_examples(), self.gold_key) if labels is None else labels:
            self.add_label(label)
        if not self.labels:
            raise ValueError(say_no_labels(self.name, get_examples(), self.gold_key))
        self.cfg["temperature"] = 1.0
        with_tokens = (example.x for example in get_examples() if len(example.x))
        docs = list(islice(with_tokens, 10))
        if not docs:
            raise ValueError(Errors.E923.format(name=self.name))
        n_tokens = sum(len(doc) for doc in docs)
        self.model.initialize(X=docs, Y=self.model.ops.alloc2f(n_tokens, self._n_tags))

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Apply the component to a stream of Docs. Where a Doc makes a batch fail, the error
        handler gets it alone.

        stream (Iterable[Doc]): The Docs.
        batch_size (int): Docs of a batch.
        YIELDS (Doc): The Docs in order.
        """

        def annotate(docs: list[Doc]) -> None:
            self.set_annotations(docs, self.predict(docs))

        yield from pipe_batches(minibatch(stream, batch_size), annotate, tell_handler(self))

    def predict(self, docs: Iterable[Doc]) -> PredictedT:
        """The spans of a batch of Docs and their probabilities; the Docs stay as they are.

        docs (Iterable[Doc]): The Docs.
        RETURNS (tuple[TokenSpans, ndarray]): The spans, and a probability for each. Raises
            ValueError when the Docs lack the vectors that the pipe listens for.
        """
        docs = list(docs)
        return predict_spans(
            self._logits(docs),
            numpy.array([len(doc) for doc in docs], dtype="int64"),
            mark_spaces(docs),
            temperature=self.temperature,
            decoding=self.decoding,
        )

    def set_annotations(self, docs: Iterable[Doc], predicted: PredictedT) -> None:
        """Write spans and probabilities into doc.spans, and perhaps the spans into doc.ents.

        docs (Iterable[Doc]): The Docs.
        predicted (tuple[TokenSpans, ndarray]): From predict, for the same Docs.
        """
        docs = list(docs)
        found = write_spans(docs, *predicted, labels=self.labels, spans_key=self.spans_key)
        if self.annotate_ents:
            for doc, spans in zip(docs, found, strict=True):
                write_ents(doc, spans, overwrite=self.overwrite)

    def get_loss(self, examples: Iterable[Example], scores: Floats2d) -> tuple[float, Floats2d]:
        """Cross-entropy, the mean over the annotated tokens of a batch.

        examples (Iterable[Example]): The batch.
        scores (Floats2d): Logits. Shape: (tokens of all Docs, tags).
        RETURNS (tuple[float, Floats2d]): The loss, and its gradient.
        """
        validate_examples(examples, "SequenceLabeler.get_loss")
        loss, d_scores = cross_entropy(self.model.ops, scores, self.gold_tags(list(examples)))
        if numpy.isnan(loss):
            raise ValueError(Errors.E910.format(name=self.name))
        return loss, d_scores

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """Score examples; see sequence_labeler_score.

        examples (Iterable[Example]): The examples.
        RETURNS (dict[str, Any]): The scores.
        """
        # Last, because `spacy evaluate` gives every component a key.
        own = {"annotate_ents": self.annotate_ents, "spans_key": self.spans_key}
        return super().score(examples, **{**kwargs, **own})

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Save the component. A save that fails leaves an earlier one intact; without the model or
        the settings, the rest is written beside what is there.

        path (str / Path): The component's folder.
        exclude (Iterable[str]): "vocab", "model" or "cfg".
        """
        folder, excluded = ensure_path(path), set(exclude)

        def write(place: Path) -> None:
            TrainablePipe.to_disk(self, place, exclude=excluded)

        if excluded - {"vocab"}:
            write(finished_folder(folder))
        else:
            replace_folder(folder, write)

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "SequenceLabeler":
        """Load the component.

        path (str / Path): The component's folder.
        exclude (Iterable[str]): "vocab", "model" or "cfg".
        RETURNS (SequenceLabeler): Itself.
        """

        def read(place: Path) -> Any:
            return TrainablePipe.from_disk(self, place, exclude=set(exclude))

        return read_folder(ensure_path(path), read)

    def _check_keys(self, nlp: Language) -> None:
        """Warn when another labeler overwrites the spans, or nothing scores them: a factory's score
        weights are those for its default options."""
        for name, pipe in nlp.pipeline:
            if not isinstance(pipe, SequenceLabeler) or pipe is self:
                continue
            if pipe.spans_key == self.spans_key:
                logger.warning(
                    "%r and %r both write doc.spans[%r]: only the spans and probabilities of the "
                    "last remain. Give each a spans_key of its own.",
                    name, self.name, self.spans_key,
                )  # fmt: skip
        key = f"spans_{self.spans_key}_f"
        is_default = self.scorer is sequence_labeler_score and not self.annotate_ents
        if is_default and key not in nlp.config.interpolate()["training"]["score_weights"]:
            logger.warning(
                "What %r learns is scored as %r, which is not in [training.score_weights]: it "
                "counts for nothing in the score that model-best and patience go by. Add to that "
                "section: %s = 1.0",
                self.name, key, key,
            )  # fmt: skip

    @property
    def _n_tags(self) -> int:
        return 1 + 2 * len(self.labels)

    def _logits(self, docs: list[Doc]) -> numpy.ndarray:
        """Shape: (tokens of all Docs, tags)."""
        if not any(len(doc) for doc in docs):
            return numpy.zeros((0, self._n_tags), dtype="float32")
        check_vectors(self, docs)
        logits = run_head(self.model, docs, self._halving)
        n_broken = int((~numpy.isfinite(logits).all(axis=1)).sum())
        if n_broken:
            raise ValueError(
                f"The scores of {n_broken} of {len(logits)} tokens are not finite in "
                f"{self.name!r}: its weights or the vectors it reads are not. If the decoder "
                "computes in float16, use dtype = 'bfloat16' or 'float32'; otherwise training "
                "has diverged: use a lower learning rate."
            )
        return logits
