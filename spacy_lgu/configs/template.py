"""The text of a config around its heads, in the order of the file, with %names to fill in.

Complete, as `spacy init fill-config` would leave it, with a comment above every value that one
might change.
"""

from string import Template


class Text(Template):
    """A text with %names to fill in: $ and {} belong to the config's own language."""

    delimiter = "%"


HEADER = Text("""\
# %title, on a decoder under layer group unmasking.
#
# Written by `python -m spacy lgu init-config`; complete, to be changed at will. Train:
%command

[paths]
train = null
dev = null
# The decoder: its name on the Hugging Face hub (revision: a branch, tag or commit), or a folder.
%why_decoder
decoder = %decoder
revision = %revision
vectors = null
init_tok2vec = null
%kb
[system]
gpu_allocator = "pytorch"
seed = 0

[nlp]
lang = %lang
pipeline = %pipeline
batch_size = 128
disabled = []
before_creation = null
after_creation = null
after_pipeline_creation = null

[nlp.tokenizer]
%tokenizer
[nlp.vectors]
@vectors = "spacy.Vectors.v1"

[components]
""")

TRANSFORMER = Text("""
[components.transformer]
factory = "lgu_transformer"
# What a save holds of the frozen decoder, beside the adapter: bundle (all of it), reference (its
# name and commit), auto (bundle if it came from a folder, else reference).
base_weights = "auto"
# Subtokens per forward pass at inference (auto: as suits the device). It bounds memory, and
# may split one Doc.
max_batch_items = "auto"

[components.transformer.set_extra_annotations]
@annotation_setters = "spacy-lgu.null_annotation_setter.v1"

[components.transformer.model]
@architectures = "spacy-lgu.LGUTransformer.v1"
name = ${paths.decoder}
revision = ${paths.revision}
# One letter per layer group, leftmost = layers nearest the input: c keeps the causal mask, b
# removes it (bidirectional). The best pattern depends on the task; groups nearer the output
# usually gain more. Worth a run each: cccb, ccbb, bbbb, and cccc, the plain decoder.
unmasking = %unmasking
# How many layers of the decoder are used, input side first (null: all). The pattern covers these.
# Three quarters of them are often as good as all, and faster.
n_layers = null
# How many more times each sequence is run, end to end with itself: with 1, a causal decoder has
# seen all of it when it reads the last copy, at twice the cost.
repeat = 0
# Whether each subtoken has the vector of the one before it, as after masked-next adaptation.
read_previous = false
# none, nf4 (4 bit) or int8; for the frozen weights only.
quantization = %quantization
# auto is bfloat16 where the device computes it fast, else float32.
dtype = "auto"
# exact, or int8 or auto where a trained pipeline is served on a CPU.
products = "exact"
%why_tuning
tuning = %tuning
# Recompute activations in the backward pass: slower, much less memory.
gradient_checkpointing = false
# Subtokens per window for long texts (null: the decoder's context, at most max_batch_items, 4096 if
# that is auto), and from one window to the next (null: half of one). Nothing is ever cut off.
window = null
stride = null
tokenizer_config = {}
# Check a loaded decoder with a few subtokens: directions of its layers, adapter, finite vectors.
self_test = true

[components.transformer.model.lora]
@misc = "spacy-lgu.lora.v1"
# lora, rslora (scaled by the root of the rank) or dora (a trained magnitude for each output).
variant = "lora"
%why_rank
rank = %rank
alpha = 16
dropout = 0.1
# attention (query and value), all-linear, or a list of module names.
modules = "attention"
# Names of weights with one matrix per expert, such as "mlp.experts.down_proj"; need dropout = 0.0.
parameters = []
# Folder of a saved adapter to start from.
path = null

# Steps the decoder's weights, all together: the gradient is clipped by its norm as a whole, and
# biases and norms are not decayed. [training.optimizer] steps the heads, and its learning rate
# times learn_rate_factor is that of the decoder.
[components.transformer.model.optimizer]
@misc = "spacy-lgu.adamw.v1"
learn_rate_factor = 1.0
beta1 = 0.9
beta2 = 0.95
eps = 0.00001
weight_decay = 0.1
grad_clip = 1.0
# LoRA+: the rate of LoRA's matrices B, which start at zero, is this times that of all others.
lora_plus_ratio = 1.0
# As in the paper, true on a GPU: moments in 8 bits, paged to the CPU where memory ends.
paged_8bit = false

[components.transformer.model.get_spans]
@span_getters = "spacy-lgu.doc_spans.v1"
""")

CLEANER = """
# Vectors of a decoder are large: drop them once all pipes have read them.
[components.doc_cleaner]
factory = "doc_cleaner"
attrs = {"tensor":null,"_.trf_data":null}
silent = true
"""

FOOTER = Text("""
# spaCy's reader tokenizes the texts again. To keep the tokens of the files, such as those that
# `spacy lgu convert` writes: @readers = "spacy-lgu.gold_tokens.v1" with path and limit alone. Where
# texts in use are longer than these, spacy-lgu.join_texts.v1 around it joins neighbouring ones.
[corpora]

[corpora.train]
@readers = "spacy.Corpus.v1"
path = ${paths.train}
gold_preproc = false
max_length = 0
limit = 0
augmenter = null

[corpora.dev]
@readers = "spacy.Corpus.v1"
path = ${paths.dev}
gold_preproc = false
max_length = 0
limit = 0
augmenter = null

[training]
train_corpus = "corpora.train"
dev_corpus = "corpora.dev"
seed = ${system.seed}
gpu_allocator = ${system.gpu_allocator}
# Batches per update: raise it to train with less memory on larger batches.
accumulate_gradient = 1
%why_n_steps
max_steps = %n_steps
max_epochs = 0
eval_frequency = 200
# Steps without a better score until training stops; 0 trains to the end.
patience = 0
# In the heads; the adapter has its own.
dropout = 0.1
frozen_components = []
%{why_annotating}annotating_components = %annotating
before_to_disk = null

# At SIGTERM, which clusters and `docker stop` send: model-last is saved, as at Ctrl-C.
[training.before_update]
@callbacks = "spacy-lgu.save_on_sigterm.v1"

[training.batcher]
@batchers = "spacy-lgu.batch_by_subtokens.v1"
%why_batch_size
size = %batch_size
name = ${paths.decoder}
revision = ${paths.revision}
tokenizer_config = {}

[training.optimizer]
@optimizers = "Adam.v1"
beta1 = 0.9
beta2 = 0.95
eps = 0.00001
L2 = 0.1
L2_is_weight_decay = true
grad_clip = 1.0
use_averages = false

[training.optimizer.learn_rate]
@schedules = "spacy-lgu.cosine.v1"
%why_learn_rate
initial_rate = %learn_rate
warmup_steps = %warmup_steps
# As max_steps; spaCy does not interpolate variables in this section everywhere.
total_steps = %n_steps
final_rate = 0.0

[training.logger]
# For Weights & Biases: pip install spacy-loggers wandb, then "spacy.WandbLogger.v5".
@loggers = "spacy.ConsoleLogger.v3"
progress_bar = null
console_output = true
output_file = null

# How the scores of the heads make the one that chooses model-best.
[training.score_weights]
%scores
[pretraining]

[initialize]
vectors = ${paths.vectors}
init_tok2vec = ${paths.init_tok2vec}
vocab_data = null
lookups = null
before_init = null
after_init = null

[initialize.components]
%kb_loader
[initialize.tokenizer]
%tokenizer_init\
""")

KB = """\
# Knowledge base of the entity_linker, a folder.
kb = null
"""
KB_LOADER = """
[initialize.components.entity_linker]

[initialize.components.entity_linker.kb_loader]
@misc = "spacy.KBFromFile.v1"
kb_path = ${paths.kb}
"""
