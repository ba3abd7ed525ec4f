"""The sections of heads in a config, as text, but for how they get vectors (see vectors.py).

With {} where there are braces to fill in: {name} is that of the head. One file although it is long:
a text for each head, with no logic and nothing that depends on another.
"""

TAGGER = """
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
MORPHOLOGIZER = """
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
PARSER = """
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
SENTER = """
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
NER = """
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
SEQUENCE_LABELER = """
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
SPAN_FINDER = """
# Learns from doc.spans["sc"], whatever the labels, and writes the spans that it finds there.
[components.span_finder]
factory = "span_finder"
spans_key = "sc"
# A token begins or ends a span if its probability is above it. Low: what is not found here, no
# later pipe finds.
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
SPANCAT = """
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
SPANCAT_SINGLELABEL = """
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
ALL_SPANS = """
# Candidates: all spans of up to 6 tokens; longer ones are never found, and each more costs time.
[components.{name}.suggester]
@misc = "spacy.ngram_range_suggester.v1"
min_size = 1
max_size = 6
"""
FOUND_SPANS = """
# Candidates: what the span_finder finds, which annotates in training for that.
[components.{name}.suggester]
@misc = "spacy.preset_spans_suggester.v1"
spans_key = "sc"
"""
TEXTCAT = """
# One label per text: exactly one in doc.cats is 1.0.
[components.textcat]
factory = "textcat"
threshold = 0.0

[components.textcat.scorer]
@scorers = "spacy.textcat_scorer.v2"
"""
TEXTCAT_MULTILABEL = """
# Any number of labels per text.
[components.textcat_multilabel]
factory = "textcat_multilabel"
threshold = 0.5

[components.textcat_multilabel.scorer]
@scorers = "spacy.textcat_multilabel_scorer.v2"
"""
TEXTCAT_REDUCE = """
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
TEXTCAT_ENSEMBLE = """
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
LEMMATIZER = """
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
ENTITY_LINKER = """
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
