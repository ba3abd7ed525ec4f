"""The pipes that can read a decoder's vectors: their sections of a config.

Values are those of the shipped configs where these have the head, else spaCy's own defaults.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_LISTENER = """
[components.{name}.model.tok2vec]
@architectures = "spacy-transformers.TransformerListener.v1"
grad_factor = 1.0
upstream = "*"

{why}[components.{name}.model.tok2vec.pooling]
@layers = "{pooling}"
"""
# spaCy builds this model before anybody knows how wide the decoder's vectors are, and predicts on
# copies of sentences, which have no vectors of a transformer component: a listener would read
# zeros there.
_OWN_DECODER = """
# When it predicts, spaCy's entity_linker computes each sentence anew, without what the transformer
# has found. So it has the decoder by itself: as it was pretrained (causal, frozen), with a linear
# layer on its vectors. Where a transformer beside it is frozen or has an adapter, both share the
# weights in memory.
[components.{name}.model.tok2vec]
@layers = "chain.v1"

[components.{name}.model.tok2vec.*.decoder]
@architectures = "spacy-lgu.Tok2VecLGU.v1"
name = ${{paths.decoder}}
revision = ${{paths.revision}}
unmasking = "c"
quantization = "{quantization}"
dtype = "auto"
tuning = "frozen"
gradient_checkpointing = false
window = null
stride = null
tokenizer_config = {{}}
lora = null
optimizer = null
self_test = true
grad_factor = 1.0
max_batch_items = 4096
base_weights = "auto"

[components.{name}.model.tok2vec.*.decoder.get_spans]
@span_getters = "spacy-transformers.doc_spans.v1"

[components.{name}.model.tok2vec.*.decoder.pooling]
@layers = "reduce_mean.v1"

[components.{name}.model.tok2vec.*.projection]
@layers = "with_array.v1"
pad = 0

[components.{name}.model.tok2vec.*.projection.layer]
@layers = "Linear.v1"
nO = 64
nI = null
init_W = null
init_b = null
"""
_PAPER_POOLING = """\
# As in the paper; under a causal mask, the last subtoken (reduce_last.v1) has seen the whole word.
"""


@dataclass(frozen=True, kw_only=True)
class Head:
    """A pipe that learns from a decoder's vectors.

    text (str): Its sections, without those of the listener.
    scores (Mapping[str, float | None]): Scores and their weights, as spaCy has them; None: of no
        weight, not in the table.
    after (tuple[str, ...]): Pipes that must stand before it, if they are in the pipeline.
    writes (str): Where its annotations go, as far as another head may write there too.
    on_documents (bool): Whether its texts are documents rather than sentences.
    listens (bool): Whether it reads the vectors of the transformer component.
    pooling (str): From the vectors of a token's subtokens to that of the token.
    """

    text: str
    scores: Mapping[str, float | None]
    after: tuple[str, ...] = ()
    writes: str = ""
    on_documents: bool = False
    listens: bool = True
    pooling: str = "reduce_mean.v1"


_ENTITIES = {"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None}
_SPANS = {"spans_sc_f": 1.0, "spans_sc_p": 0.0, "spans_sc_r": 0.0}
_SENTENCES = {"sents_f": 1.0, "sents_p": 0.0, "sents_r": 0.0}
_CATEGORIES = {
    "cats_score": 1.0,
    **dict.fromkeys(
        (
            "cats_score_desc", "cats_micro_p", "cats_micro_r", "cats_micro_f", "cats_macro_p",
            "cats_macro_r", "cats_macro_f", "cats_macro_auc", "cats_f_per_type",
        )
    ),
}  # fmt: skip

_TAGGER = """
[components.tagger]
factory = "tagger"
overwrite = false
neg_prefix = "!"
label_smoothing = 0.0

[components.tagger.scorer]
@scorers = "spacy.tagger_scorer.v1"

[components.tagger.model]
@architectures = "spacy.Tagger.v2"
nO = null
normalize = false
"""
_MORPHOLOGIZER = """
[components.morphologizer]
factory = "morphologizer"
overwrite = true
extend = false
label_smoothing = 0.0

[components.morphologizer.scorer]
@scorers = "spacy.morphologizer_scorer.v1"

[components.morphologizer.model]
@architectures = "spacy.Tagger.v2"
nO = null
normalize = false
"""
_PARSER = """
# Follows the borders of sentences that a pipe before it has set, and sets its own where there are
# none.
[components.parser]
factory = "parser"
moves = null
learn_tokens = false
# Labels that are rarer in the training data become "dep". spaCy's own value is 30, with which it
# cannot train on a few sentences.
min_action_freq = 1
update_with_oracle_cut_size = 100

[components.parser.scorer]
@scorers = "spacy.parser_scorer.v1"

[components.parser.model]
@architectures = "spacy.TransitionBasedParser.v2"
state_type = "parser"
extra_state_tokens = false
hidden_width = 128
maxout_pieces = 3
use_upper = false
nO = null
"""
_SENTER = """
# Sets borders of sentences where no pipe before it did.
[components.senter]
factory = "senter"
overwrite = false

[components.senter.scorer]
@scorers = "spacy.senter_scorer.v1"

[components.senter.model]
@architectures = "spacy.Tagger.v2"
nO = null
normalize = false
"""
_NER = """
[components.ner]
factory = "ner"
moves = null
incorrect_spans_key = null
update_with_oracle_cut_size = 100

[components.ner.scorer]
@scorers = "spacy.ner_scorer.v1"

[components.ner.model]
@architectures = "spacy.TransitionBasedParser.v2"
state_type = "ner"
extra_state_tokens = false
hidden_width = 64
maxout_pieces = 2
use_upper = false
nO = null
"""
_SEQUENCE_LABELER = """
[components.sequence_labeler]
factory = "sequence_labeler"
# Learn from doc.ents and write it. false: from doc.spans[spans_key], for labels that are no
# entities; score_weights below needs spans_KEY_f then, with spans_key for KEY.
annotate_ents = true
# Spans and their probabilities are written here in any case.
spans_key = "sequence_labeler"
# Whether entities that earlier components have set may be replaced.
overwrite = false
# viterbi (the most probable valid tags) or greedy (the best tag of each token, repaired).
decoding = "viterbi"

[components.sequence_labeler.scorer]
@scorers = "spacy-lgu.sequence_labeler_scorer.v1"

[components.sequence_labeler.model]
@architectures = "spacy-lgu.SequenceLabeler.v1"
"""
_SPAN_FINDER = """
# Learns from doc.spans["sc"], whatever the labels, and writes the spans that it finds there.
[components.span_finder]
factory = "span_finder"
spans_key = "sc"
# A token begins or ends a span if its probability is above it. Low: what is not found here, no
# pipe behind it finds.
threshold = 0.3
min_length = null
max_length = null

[components.span_finder.scorer]
@scorers = "spacy.span_finder_scorer.v1"

[components.span_finder.model]
@architectures = "spacy.SpanFinder.v1"

[components.span_finder.model.scorer]
@layers = "spacy.LinearLogistic.v1"
nO = 2
nI = null
"""
_SPANCAT = """
# Learns from doc.spans["sc"].
[components.spancat]
factory = "spancat"
spans_key = "sc"
# Spans scored above it are kept; `spacy find-threshold` finds the best one.
threshold = 0.5
max_positive = null

[components.spancat.scorer]
@scorers = "spacy.spancat_scorer.v1"

[components.spancat.model]
@architectures = "spacy.SpanCategorizer.v1"

[components.spancat.model.reducer]
@layers = "spacy.mean_max_reducer.v1"
hidden_size = 128

[components.spancat.model.scorer]
@layers = "spacy.LinearLogistic.v1"
nO = null
nI = null
"""
_SPANCAT_SINGLELABEL = """
# Learns from doc.spans["sc"]: one label, or none, for each candidate.
[components.spancat_singlelabel]
factory = "spancat_singlelabel"
spans_key = "sc"
allow_overlap = true
# Of candidates without a label, in the loss.
negative_weight = 1.0

[components.spancat_singlelabel.scorer]
@scorers = "spacy.spancat_scorer.v1"

[components.spancat_singlelabel.model]
@architectures = "spacy.SpanCategorizer.v1"

[components.spancat_singlelabel.model.reducer]
@layers = "spacy.mean_max_reducer.v1"
hidden_size = 128

[components.spancat_singlelabel.model.scorer]
@layers = "Softmax.v2"
nO = null
nI = null
init_W = null
init_b = null
normalize_outputs = true
temperature = 1.0
"""
_ALL_SPANS = """
# Candidates: all spans of up to 6 tokens; longer ones are never found, and each more costs time.
[components.{name}.suggester]
@misc = "spacy.ngram_range_suggester.v1"
min_size = 1
max_size = 6
"""
_FOUND_SPANS = """
# Candidates: what the span_finder finds, which annotates in training for that.
[components.{name}.suggester]
@misc = "spacy.preset_spans_suggester.v1"
spans_key = "sc"
"""
_TEXTCAT = """
# One label per text: exactly one in doc.cats is 1.0.
[components.textcat]
factory = "textcat"
threshold = 0.0

[components.textcat.scorer]
@scorers = "spacy.textcat_scorer.v2"
"""
_TEXTCAT_MULTILABEL = """
# Any number of labels per text.
[components.textcat_multilabel]
factory = "textcat_multilabel"
threshold = 0.5

[components.textcat_multilabel.scorer]
@scorers = "spacy.textcat_multilabel_scorer.v2"
"""
_TEXTCAT_REDUCE = """
# For efficiency: a linear layer on the mean of the tokens' vectors.
[components.{name}.model]
@architectures = "spacy.TextCatReduce.v1"
exclusive_classes = {exclusive}
use_reduce_first = false
use_reduce_last = false
use_reduce_max = false
use_reduce_mean = true
nO = null
"""
_TEXTCAT_ENSEMBLE = """
# For accuracy: attention over the tokens' vectors, together with a bag of words.
[components.{name}.model]
@architectures = "spacy.TextCatEnsemble.v2"
nO = null

[components.{name}.model.linear_model]
@architectures = "spacy.TextCatBOW.v3"
exclusive_classes = {exclusive}
length = 262144
ngram_size = 1
no_output_layer = false
nO = null
"""
_LEMMATIZER = """
[components.trainable_lemmatizer]
factory = "trainable_lemmatizer"
backoff = "orth"
# Ways to make a lemma that are rarer in the training data are not learned.
min_tree_freq = 3
overwrite = false
top_k = 1

[components.trainable_lemmatizer.scorer]
@scorers = "spacy.lemmatizer_scorer.v1"

[components.trainable_lemmatizer.model]
@architectures = "spacy.Tagger.v2"
nO = null
normalize = false
"""
_ENTITY_LINKER = """
# Learns from the entities of the training data that have a kb_id (span.kb_id_), and needs
# - a knowledge base, a folder that spacy.kb.InMemoryLookupKB.to_disk wrote: --paths.kb FOLDER;
# - entities to link, from a pipe before it (ner, sequence_labeler or an entity_ruler of yours);
# - sentences, which are the contexts of entities.
# When it is scored it reads Docs again from which a doc_cleaner has taken what it needs: there is
# none in this pipeline.
[components.entity_linker]
factory = "entity_linker"
labels_discard = []
n_sents = 0
incl_prior = true
incl_context = true
# Until there is a knowledge base, which brings its own.
entity_vector_length = 64
overwrite = true
# Train on the entities of the data, whatever the pipes before it find.
use_gold_ents = true
candidates_batch_size = 1
threshold = null

[components.entity_linker.get_candidates]
@misc = "spacy.CandidateGenerator.v1"

[components.entity_linker.get_candidates_batch]
@misc = "spacy.CandidateBatchGenerator.v1"

[components.entity_linker.generate_empty_kb]
@misc = "spacy.EmptyKB.v2"

[components.entity_linker.scorer]
@scorers = "spacy.entity_linker_scorer.v1"

[components.entity_linker.model]
@architectures = "spacy.EntityLinker.v2"
nO = null
"""
_FINDERS, _LABELERS = ("span_finder",), ("ner", "sequence_labeler", "parser", "senter")

HEADS: Mapping[str, Head] = {
    "tagger": Head(
        text=_TAGGER,
        scores={
            "tag_acc": 1.0,
            "pos_acc": 0.0,
            **dict.fromkeys(("tag_micro_p", "tag_micro_r", "tag_micro_f")),
        },
    ),
    "morphologizer": Head(
        text=_MORPHOLOGIZER, scores={"pos_acc": 0.5, "morph_acc": 0.5, "morph_per_feat": None}
    ),
    "trainable_lemmatizer": Head(text=_LEMMATIZER, scores={"lemma_acc": 1.0}),
    "parser": Head(
        text=_PARSER,
        scores={
            "dep_uas": 0.5,
            "dep_las": 0.5,
            "dep_las_per_type": None,
            "sents_p": None,
            "sents_r": None,
            "sents_f": 0.0,
        },
    ),
    "senter": Head(text=_SENTER, scores=_SENTENCES),
    "ner": Head(text=_NER, scores=_ENTITIES, writes="doc.ents"),
    "sequence_labeler": Head(
        text=_SEQUENCE_LABELER, scores=_ENTITIES, writes="doc.ents", pooling="reduce_first.v1"
    ),
    "span_finder": Head(text=_SPAN_FINDER, scores=_SPANS),
    "spancat": Head(text=_SPANCAT, scores=_SPANS, after=_FINDERS, writes='doc.spans["sc"]'),
    "spancat_singlelabel": Head(
        text=_SPANCAT_SINGLELABEL, scores=_SPANS, after=_FINDERS, writes='doc.spans["sc"]'
    ),
    "textcat": Head(text=_TEXTCAT, scores=_CATEGORIES, writes="doc.cats", on_documents=True),
    "textcat_multilabel": Head(
        text=_TEXTCAT_MULTILABEL, scores=_CATEGORIES, writes="doc.cats", on_documents=True
    ),
    "entity_linker": Head(
        text=_ENTITY_LINKER,
        scores={"nel_micro_f": 1.0, "nel_micro_r": None, "nel_micro_p": None},
        after=_LABELERS,
        listens=False,
    ),
}


def find_shared(heads: Sequence[str]) -> dict[str, list[str]]:
    """Heads that write to one place, by that place.

    heads (Sequence[str]): Names in HEADS.
    RETURNS (dict[str, list[str]]): In the order of the pipeline; places with one head left out.
    """
    found: dict[str, list[str]] = {}
    for name in heads:
        if place := HEADS[name].writes:
            found.setdefault(place, []).append(name)
    return {place: names for place, names in found.items() if len(names) > 1}


def head_text(name: str, *, heads: Sequence[str], ensemble: bool, quantization: str) -> str:
    """The sections of a head.

    name (str): Name in HEADS.
    heads (Sequence[str]): All heads of the pipeline, on which remarks and candidates depend.
    ensemble (bool): Whether a text categorizer reads a bag of words as well.
    quantization (str): Of a decoder of its own, for a head that does not listen.
    RETURNS (str): Sections, each after an empty line.
    """
    head = HEADS[name]
    text = head.text
    if name.startswith("textcat"):
        model = _TEXTCAT_ENSEMBLE if ensemble else _TEXTCAT_REDUCE
        exclusive = "true" if name == "textcat" else "false"
        text += model.format(name=name, exclusive=exclusive)
    if not head.listens:
        text += _OWN_DECODER.format(name=name, quantization=quantization)
    else:
        why = _PAPER_POOLING if head.pooling == "reduce_first.v1" else ""
        text += _LISTENER.format(name=name, pooling=head.pooling, why=why)
    if name.startswith("spancat"):
        candidates = _FOUND_SPANS if "span_finder" in heads else _ALL_SPANS
        text += candidates.format(name=name)
    for place, others in find_shared(heads).items():
        if name in others[1:]:
            text = _REMARKS[place].format(name=name, other=others[0]) + text.lstrip("\n")
    return text


_REMARKS = {
    "doc.ents": """
# {other} writes doc.ents before it: its entities stay, and this pipe adds its own where there are
# none.
""",
    'doc.spans["sc"]': """
# {other} writes doc.spans["sc"] before it: its spans are replaced by those of this pipe, whose
# score alone is seen. To keep both, give one a spans_key of its own, here and in your data.
""",
    "doc.cats": """
# {other} writes doc.cats before it, too: the labels of both are in it, and both learn from all.
""",
}
