"""The component `sequence_labeler`: the paper's own head, with valid spans and probabilities."""

import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy
from spacy.attrs import IS_SPACE
from spacy.errors import Errors
from spacy.language import Language
from spacy.pipeline.spancat import spancat_score
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.scorer import get_ner_prf
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.util import ensure_path, minibatch
from spacy.vocab import Vocab
from thinc.api import Config
from thinc.types import Floats2d

from ..labeling.calibration import (
    HIGHEST,
    LOWEST,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
)
from ..labeling.decoding import decode_greedy, decode_viterbi
from ..labeling.probabilities import log_softmax, span_probabilities
from ..labeling.tags import MISSING, OUTSIDE, TokenSpans, find_spans, tag_names
from ..layers.sequence_labeler import SequenceLabelerT
from ..replacing import finished_folder, read_folder, replace_folder
from .gold_tags import gold_spans, gold_tags
from .listening import check_training, check_vectors, remember_pipeline

logger = logging.getLogger("spacy_lgu")

# A negative log-likelihood per token below which there is nothing to calibrate.
_CERTAIN = 1e-9

PredictedT = tuple[TokenSpans, numpy.ndarray]
ScorerT = Callable[..., dict[str, Any]]

DECODINGS = {"viterbi": decode_viterbi, "greedy": decode_greedy}

DEFAULT_CONFIG = Config().from_str(
    """
[sequence_labeler]
annotate_ents = true
spans_key = "sequence_labeler"
overwrite = false
decoding = "viterbi"

[sequence_labeler.scorer]
@scorers = "spacy-lgu.sequence_labeler_scorer.v1"

[sequence_labeler.model]
@architectures = "spacy-lgu.SequenceLabeler.v1"

[sequence_labeler.model.tok2vec]
@architectures = "spacy-transformers.TransformerListener.v1"
grad_factor = 1.0
upstream = "*"

[sequence_labeler.model.tok2vec.pooling]
@layers = "reduce_first.v1"
"""
)


def sequence_labeler_score(
    examples: Iterable[Example], *, annotate_ents: bool, spans_key: str, **kwargs: Any
) -> dict[str, Any]:
    """Precision, recall and F1 of exact spans, by micro average and per label.

    annotate_ents (bool): Score doc.ents, as spaCy's entity recognizer is scored ("ents_f" ...),
        rather than doc.spans, as spaCy's span categorizer is ("spans_KEY_f" ...).
    spans_key (str): Key in doc.spans.
    """
    if annotate_ents:
        return get_ner_prf(examples)
    return spancat_score(examples, spans_key=spans_key)


def make_sequence_labeler_scorer() -> ScorerT:
    return sequence_labeler_score


@Language.factory(
    "sequence_labeler",
    assigns=["doc.spans", "doc.ents", "token.ent_iob", "token.ent_type"],
    default_config=DEFAULT_CONFIG["sequence_labeler"],
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None},
)
def make_sequence_labeler(
    nlp: Language,
    name: str,
    model: SequenceLabelerT,
    annotate_ents: bool,
    spans_key: str,
    overwrite: bool,
    decoding: str,
    scorer: ScorerT | None,
) -> "SequenceLabeler":
    """A tag per token, valid by construction, and a probability per span.

    model (Model[List[Doc], Floats2d]): Usually spacy-lgu.SequenceLabeler.v1.
    annotate_ents (bool): Learn from doc.ents and write it. False: learn from doc.spans.
    spans_key (str): Key in doc.spans, which is always written, with a probability per span.
    overwrite (bool): Whether entities that doc.ents has already may be replaced.
    decoding (str): "viterbi" (the best valid tag sequence) or "greedy" (the best tag of each
        token, repaired).
    scorer (Callable | None): The scoring method.
    """
    labeler = SequenceLabeler(
        nlp.vocab,
        model,
        name,
        annotate_ents=annotate_ents,
        spans_key=spans_key,
        overwrite=overwrite,
        decoding=decoding,
        scorer=scorer,
    )
    remember_pipeline(labeler, nlp)
    return labeler


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

    def add_label(self, label: str) -> int:
        """Add a label, before training or after; what was learned about others stays.

        label (str): The label.
        RETURNS (int): 0 if it is there already, otherwise 1.
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
            those of all examples.
        """
        validate_get_examples(get_examples, "SequenceLabeler.initialize")
        if nlp is not None:
            remember_pipeline(self, nlp)
            check_training(nlp, self)
            self._check_keys(nlp)
        if labels is None:
            found: set[str] = set()
            for example in get_examples():
                found.update(span.label_ for span in gold_spans(example, self._gold_key) or ())
            labels = sorted(found)
        for label in labels:
            self.add_label(label)
        if not self.labels:
            keys = {key for example in get_examples() for key in example.reference.spans}
            raise ValueError(self._no_labels(sorted(keys)))
        self.cfg["temperature"] = 1.0
        with_tokens = (example.x for example in get_examples() if len(example.x))
        docs = list(islice(with_tokens, 10))
        if not docs:
            raise ValueError(Errors.E923.format(name=self.name))
        n_tokens = sum(len(doc) for doc in docs)
        self.model.initialize(X=docs, Y=self.model.ops.alloc2f(n_tokens, self._n_tags))

    def predict(self, docs: Iterable[Doc]) -> PredictedT:
        """The spans of a batch of Docs and their probabilities; the Docs stay as they are.

        docs (Iterable[Doc]): The Docs.
        RETURNS (tuple[TokenSpans, ndarray]): The spans, and a probability for each. Raises
            ValueError when the Docs lack the vectors that the pipe listens for.
        """
        docs = list(docs)
        lengths = _lengths(docs)
        log_probs = self._log_probs(self._logits(docs), _is_space(docs))
        spans = find_spans(DECODINGS[self.decoding](log_probs, lengths), lengths)
        return spans, span_probabilities(log_probs, lengths, spans)

    def set_annotations(self, docs: Iterable[Doc], predicted: PredictedT) -> None:
        """Write spans and probabilities into doc.spans, and perhaps the spans into doc.ents.

        docs (Iterable[Doc]): The Docs.
        predicted (tuple[TokenSpans, ndarray]): From predict, for the same Docs.
        """
        spans, probabilities = predicted
        docs = list(docs)
        bounds = numpy.searchsorted(spans.sequences, numpy.arange(len(docs) + 1)).tolist()
        starts, ends = spans.starts.tolist(), spans.ends.tolist()
        names = self.labels
        labels = [names[k] for k in spans.labels.tolist()]
        for i, doc in enumerate(docs):
            found = [
                Span(doc, starts[j], ends[j], label=labels[j])
                for j in range(bounds[i], bounds[i + 1])
            ]
            scores = probabilities[bounds[i] : bounds[i + 1]].copy()
            group = SpanGroup(doc, name=self.spans_key, attrs={"scores": scores}, spans=found)
            doc.spans[self.spans_key] = group
            if self.annotate_ents:
                _set_ents(doc, found, overwrite=self.overwrite)

    def get_loss(self, examples: Iterable[Example], scores: Floats2d) -> tuple[float, Floats2d]:
        """Cross-entropy, the mean over the annotated tokens of a batch.

        examples (Iterable[Example]): The batch.
        scores (Floats2d): Logits. Shape: (tokens of all Docs, tags).
        RETURNS (tuple[float, Floats2d]): The loss, and its gradient.
        """
        validate_examples(examples, "SequenceLabeler.get_loss")
        ops: Any = self.model.ops  # thinc types its arrays without what is common to all
        tags = self._gold_tags(list(examples))
        known = numpy.flatnonzero(tags != MISSING)
        d_scores = ops.alloc2f(*scores.shape)
        if not len(known):
            return 0.0, d_scores
        rows, columns = ops.asarray(known), ops.asarray(tags[known])
        X: Any = scores[rows]
        X -= X.max(axis=1, keepdims=True)
        X -= ops.xp.log(ops.xp.exp(X).sum(axis=1, keepdims=True))
        each = ops.xp.arange(len(known))
        loss = -float(X[each, columns].mean())
        if numpy.isnan(loss):
            raise ValueError(Errors.E910.format(name=self.name))
        d_X = ops.xp.exp(X)
        d_X[each, columns] -= 1.0
        d_scores[rows] = d_X / len(known)
        return loss, d_scores

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """Score examples; see sequence_labeler_score.

        examples (Iterable[Example]): The examples.
        RETURNS (dict[str, Any]): The scores.
        """
        # Last, because `spacy evaluate` gives every component a key.
        own = {"annotate_ents": self.annotate_ents, "spans_key": self.spans_key}
        return super().score(examples, **{**kwargs, **own})

    def calibrate(self, examples: Iterable[Example]) -> dict[str, float | None]:
        """Set the temperature under which the annotation is most probable.

        examples (Iterable[Example]): Annotated examples that were not trained on, their predicted
            Docs as the components before this one leave them. They are read once, in batches.
        RETURNS (dict[str, float | None]): "temperature"; before and after, "nll_..." (minus the
            mean log-probability per token) and "ece_..." (the expected calibration error of the
            spans' probabilities, in 10 bins; None without spans); "n_tokens" and "n_spans", on
            which these were computed.
        """
        arrays = [numpy.zeros((0, self._n_tags), dtype="float32")]
        all_lengths, all_tags, all_spaces = [], [], []
        for batch in minibatch(examples, 128):
            docs = [example.predicted for example in batch]
            arrays.append(self._logits(docs))
            all_lengths += [len(doc) for doc in docs]
            all_tags.append(self._gold_tags(batch))
            all_spaces.append(_is_space(docs))
        logits, lengths = numpy.concatenate(arrays), numpy.array(all_lengths, dtype="int64")
        tags = numpy.concatenate([numpy.zeros(0, dtype="int64"), *all_tags])
        n_tokens = int((tags != MISSING).sum())
        if not n_tokens:
            raise ValueError(
                f"Cannot calibrate {self.name!r}: no token of the {len(lengths)} texts has an "
                f"annotation in {self._gold_place()}. Give annotated data that was not trained on."
            )
        result: dict[str, float | None] = {"n_tokens": n_tokens}
        for when in ("before", "after"):
            if when == "after":
                self.cfg["temperature"] = fit_temperature(logits, lengths, tags)
            result[f"nll_{when}"] = negative_log_likelihood(logits, lengths, tags, self.temperature)
            log_probs = self._log_probs(logits, numpy.concatenate(all_spaces))
            spans = find_spans(DECODINGS[self.decoding](log_probs, lengths), lengths)
            is_known, is_right = _compare(spans, tags, lengths)
            probabilities = span_probabilities(log_probs, lengths, spans)
            result["n_spans"] = int(is_known.sum())
            result[f"ece_{when}"] = expected_calibration_error(
                probabilities[is_known], is_right[is_known]
            )
        result["temperature"] = self.temperature
        at_bound = not 1.01 * LOWEST < self.temperature < 0.99 * HIGHEST
        if at_bound or cast(float, result["nll_after"]) < _CERTAIN:
            logger.warning(
                "The temperature of %r, %.3g, says little: it lies at a bound of the search (%g to "
                "%g), or none of the %d annotated tokens is in doubt. Calibrate on more data, "
                "which was not trained on.",
                self.name, self.temperature, LOWEST, HIGHEST, n_tokens,
            )  # fmt: skip
        return result

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Save the component. A save that fails leaves an earlier one in its place whole; without
        the model or the settings, the rest is written beside what is there.

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
        """Say so where another labeler overwrites the spans, or nothing scores them: a factory's
        score weights are for its default options."""
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
        if is_default and key not in nlp.config["training"]["score_weights"]:
            logger.warning(
                "What %r learns is scored as %r, which [training.score_weights] does not have: it "
                "counts nothing in the score that model-best and patience go by. Add to that "
                "section: %s = 1.0",
                self.name, key, key,
            )  # fmt: skip

    @property
    def _n_tags(self) -> int:
        return 1 + 2 * len(self.labels)

    @property
    def _gold_key(self) -> str | None:
        return None if self.annotate_ents else self.spans_key

    def _gold_place(self) -> str:
        return "doc.ents" if self.annotate_ents else f"doc.spans[{self.spans_key!r}]"

    def _gold_tags(self, examples: Sequence[Example]) -> numpy.ndarray:
        numbers = {tag: number for number, tag in enumerate(tag_names(self.labels))}
        return gold_tags(examples, numbers, self._gold_key)

    def _logits(self, docs: list[Doc]) -> numpy.ndarray:
        """Shape: (tokens of all Docs, tags)."""
        if not any(len(doc) for doc in docs):
            return numpy.zeros((0, self._n_tags), dtype="float32")
        check_vectors(self, docs)
        logits = self.model.ops.to_numpy(self.model.predict(docs))
        n_broken = int((~numpy.isfinite(logits).all(axis=1)).sum())
        if n_broken:
            raise ValueError(
                f"The scores of {n_broken} of {len(logits)} tokens are not finite in "
                f"{self.name!r}: its weights or the vectors it reads are not. If the decoder "
                "computes in float16, use dtype = 'bfloat16' or 'float32'; else training has "
                "diverged: use a lower learning rate."
            )
        return logits

    def _log_probs(self, logits: numpy.ndarray, is_space: numpy.ndarray) -> numpy.ndarray:
        """Shape: (tokens, tags). No span begins with white space, as in spaCy's `ner`."""
        log_probs = log_softmax(logits / self.temperature)
        log_probs[is_space, 1::2] = -numpy.inf
        return log_probs

    def _no_labels(self, keys: list[str]) -> str:
        if self.annotate_ents:
            other = f"doc.spans (keys: {', '.join(keys) or 'none'})"
            change = "annotate_ents = false and the spans_key"
        else:
            other = f"doc.ents, or doc.spans has another key (found: {', '.join(keys) or 'none'})"
            change = "annotate_ents = true, or the spans_key"
        return (
            f"The sequence labeler {self.name!r} found no labels: none of the training examples "
            f"has a span in {self._gold_place()}. Check the training corpus (`spacy debug data`); "
            f"if its spans are in {other}, set {change}; or give labels in "
            f"[initialize.components.{self.name}]."
        )


def _lengths(docs: list[Doc]) -> numpy.ndarray:
    return numpy.array([len(doc) for doc in docs], dtype="int64")


def _is_space(docs: list[Doc]) -> numpy.ndarray:
    """Which tokens are white space. Shape: (tokens of all Docs,)."""
    arrays = [doc.to_array(IS_SPACE).astype("bool") for doc in docs]
    return numpy.concatenate([numpy.zeros(0, dtype="bool"), *arrays])


def _set_ents(doc: Doc, spans: list[Span], *, overwrite: bool) -> None:
    """Write entities; those that are there, and tokens blocked for them, come first."""
    earlier: list[Span] = []
    blocked: list[Span] = []
    if not overwrite and doc.has_annotation("ENT_IOB"):
        earlier = list(doc.ents)
        iob, types = doc.to_array(["ENT_IOB", "ENT_TYPE"]).T
        rows = numpy.flatnonzero((iob == 3) & (types == 0))
        blocked = [doc[i : i + 1] for i in rows.tolist()]
        taken = numpy.zeros(len(doc), dtype="bool")
        for span in [*earlier, *blocked]:
            taken[span.start : span.end] = True
        spans = [span for span in spans if not taken[span.start : span.end].any()]
    else:
        for token in (token for ent in doc.ents for token in ent):
            token.ent_id = 0  # which set_ents leaves
    doc.set_ents([*earlier, *spans], blocked=blocked)


def _compare(
    spans: TokenSpans, tags: numpy.ndarray, lengths: numpy.ndarray
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Which predicted spans have annotation on all their tokens, and which are in it."""
    firsts = lengths.cumsum() - lengths
    is_missing = tags == MISSING
    gold = find_spans(numpy.where(is_missing, OUTSIDE, tags), lengths)
    gold_ends = numpy.zeros(len(tags), dtype="int64")
    gold_ends[firsts[gold.sequences] + gold.starts] = gold.ends
    starts = firsts[spans.sequences] + spans.starts
    n_missing = numpy.append(0, is_missing.cumsum())
    is_known = n_missing[firsts[spans.sequences] + spans.ends] == n_missing[starts]
    return is_known, (gold_ends[starts] == spans.ends) & (tags[starts] == 2 * spans.labels + 1)
