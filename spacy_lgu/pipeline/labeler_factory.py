"""The factory `sequence_labeler` and its default config."""

from spacy.language import Language
from thinc.api import Config

from ..layers.sequence_labeler import SequenceLabelerT
from .listening import remember_pipeline
from .scoring import ScorerT
from .sequence_labeler import SequenceLabeler

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
@architectures = "spacy-lgu.TransformerListener.v1"
grad_factor = 1.0
upstream = "*"

[sequence_labeler.model.tok2vec.pooling]
@layers = "reduce_first.v1"
"""
)


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
) -> SequenceLabeler:
    """A tag per token, valid by construction, and a probability per span.

    model (Model[List[Doc], Floats2d]): Usually spacy-lgu.SequenceLabeler.v1.
    annotate_ents (bool): Learn from doc.ents and write it. False: learn from doc.spans.
    spans_key (str): Key in doc.spans, which is always written, with a probability per span.
    overwrite (bool): Whether entities that are already in doc.ents may be replaced.
    decoding (str): "viterbi" (the best valid tag sequence) or "greedy" (the best tag of each
        token, repaired).
    scorer (Callable | None): The scoring method.
    RETURNS (SequenceLabeler): The component.
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
