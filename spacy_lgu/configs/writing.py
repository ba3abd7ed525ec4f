"""A complete training config as text, with a comment above every value that one might change.

`Config.to_str` would lose the comments. What is written here is what `spacy init fill-config` makes
of it: nothing is left to fill.
"""

import json
import textwrap
from collections.abc import Mapping
from string import Template
from typing import Any

from .choices import Choices
from .heads import HEADS, head_text
from .planning import (
    DOC_CLEANER,
    SENTENCIZER_SCORES,
    SENTENCIZER_TEXT,
    TRANSFORMER,
    Pipeline,
)

_WIDTH = 100
_WARMUP_STEPS = 100


class _Text(Template):
    """A text with %names to fill in: $ and {} are of the config's own language."""

    delimiter = "%"


_HEADER = _Text("""\
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

_TRANSFORMER = _Text("""
[components.transformer]
factory = "lgu_transformer"
# What a save holds of the frozen decoder, beside the adapter: bundle (all of it), reference (its
# name and commit), auto (bundle if it came from a folder, else reference).
base_weights = "auto"
# Subtokens per forward pass at inference. It bounds memory and may split one Doc.
max_batch_items = 4096

[components.transformer.set_extra_annotations]
@annotation_setters = "spacy-transformers.null_annotation_setter.v1"

[components.transformer.model]
@architectures = "spacy-lgu.LGUTransformer.v1"
name = ${paths.decoder}
revision = ${paths.revision}
# One letter per layer group, leftmost = layers nearest the input: c keeps the causal mask, b
# removes it (bidirectional). The best pattern depends on the task; groups nearer the output
# usually gain more. Worth a run each: cccb, ccbb, bbbb, and cccc, the plain decoder.
unmasking = %unmasking
# none, nf4 (4 bit) or int8; for the frozen weights only.
quantization = %quantization
# auto is bfloat16 where the device computes it fast, else float32.
dtype = "auto"
%why_tuning
tuning = %tuning
# Recompute activations in the backward pass: slower, much less memory.
gradient_checkpointing = false
# Subtokens per window for long texts (null: the decoder's context, at most max_batch_items), and
# from one window to the next (null: half of one). Nothing is ever cut off.
window = null
stride = null
tokenizer_config = {}
# Check a loaded decoder with a few subtokens: directions of its layers, adapter, finite vectors.
self_test = true

[components.transformer.model.lora]
@misc = "spacy-lgu.lora.v1"
%why_rank
rank = %rank
alpha = 16
dropout = 0.1
# attention (query and value), all-linear, or a list of module names.
modules = "attention"
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
# As in the paper, true on a GPU: moments in 8 bits, paged to the CPU where memory ends.
paged_8bit = false

[components.transformer.model.get_spans]
@span_getters = "spacy-transformers.doc_spans.v1"
""")

_CLEANER = """
# Vectors of a decoder are large: drop them once all pipes have read them.
[components.doc_cleaner]
factory = "doc_cleaner"
attrs = {"tensor":null,"_.trf_data":null}
silent = true
"""

_FOOTER = _Text("""
# spaCy's reader tokenizes the texts again. To keep the tokens of the files, such as those that
# `spacy lgu convert` writes: @readers = "spacy-lgu.gold_tokens.v1" with path and limit alone.
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
before_update = null

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

_KB = """\
# Knowledge base of the entity_linker, a folder.
kb = null
"""
_KB_LOADER = """
[initialize.components.entity_linker]

[initialize.components.entity_linker.kb_loader]
@misc = "spacy.KBFromFile.v1"
kb_path = ${paths.kb}
"""


def write_config(
    *,
    lang: str,
    pipeline: Pipeline,
    decoder: str,
    revision: str | None,
    choices: Choices,
    command: str,
) -> str:
    """The text of a training config.

    lang (str): A language that spaCy has.
    pipeline (Pipeline): From plan_pipeline.
    decoder (str): Name on the Hugging Face hub, or a folder.
    revision (str | None): Branch, tag or commit on the hub.
    choices (Choices): From choose.
    command (str): How to train, for its first lines.
    RETURNS (str): The text. Raises ValueError for a language that spaCy does not have, and for a
        decoder or a revision that a config cannot name.
    """
    for given in (decoder, revision):
        if "$" in (given or ""):  # $$ would stand for one, but not in the values that refer to it
            raise ValueError(
                f"{given!r} has a $, with which a config's variables begin. Rename the folder, or "
                "give a link to it without $."
            )
    language = _find_language(lang)
    defaults = language.default_config
    has_linker = "entity_linker" in pipeline.heads
    values = {
        "title": ", ".join(pipeline.heads),
        "command": _comment(command, width=10_000, indent="    "),  # to be copied as a line
        "decoder": _value(decoder),
        "revision": _value(revision),
        "lang": _value(language.lang),  # of "eng", which spaCy knows for en, it trains nothing
        "pipeline": _value(list(pipeline.names)),
        "tokenizer": _lines(defaults["nlp"]["tokenizer"]),
        "tokenizer_init": _lines(defaults["initialize"]["tokenizer"]),
        "kb": _KB if has_linker else "",
        "kb_loader": _KB_LOADER if has_linker else "",
        "annotating": _value(list(pipeline.annotating)),
        "why_annotating": _comment(
            "What others read while they are trained; each runs twice per update, therefore."
        )
        + "\n"
        if pipeline.annotating
        else "",
        "scores": _lines(_combine_scores(pipeline)),
        "warmup_steps": _value(_WARMUP_STEPS),
        **{
            name: _value(getattr(choices, name))
            for name in (
                "unmasking", "quantization", "tuning", "rank", "learn_rate", "n_steps", "batch_size"
            )
        },
        **{f"why_{name}": _comment(reason) for name, reason in choices.reasons.items()},
    }  # fmt: skip
    heads = "".join(
        SENTENCIZER_TEXT
        if name in pipeline.helpers
        else head_text(
            name,
            heads=pipeline.heads,
            ensemble=choices.ensemble,
            quantization=choices.quantization,
        )
        for name in pipeline.names
        if name in HEADS or name in pipeline.helpers
    )
    transformer = _TRANSFORMER.substitute(values) if TRANSFORMER in pipeline.names else ""
    cleaner = _CLEANER if DOC_CLEANER in pipeline.names else ""
    return _HEADER.substitute(values) + transformer + heads + cleaner + _FOOTER.substitute(values)


def _find_language(lang: str) -> Any:
    import pkgutil

    import spacy.lang
    from spacy.util import get_lang_class

    try:
        return get_lang_class(lang)
    except ImportError as error:
        languages = sorted(m.name for m in pkgutil.iter_modules(spacy.lang.__path__) if m.ispkg)
        raise ValueError(
            f"spaCy has no language {lang!r}: expected one of {', '.join(languages)}, where xx is "
            "for several."
        ) from error


def _combine_scores(pipeline: Pipeline) -> dict[str, float | None]:
    """Each head counts the same, in spaCy's way, so that filling the config changes nothing."""
    from spacy.util import combine_score_weights

    weights = [dict(HEADS[name].scores) for name in pipeline.heads]
    # Scores of the same name are one, and the sentences that a helper finds are no result.
    helper = [dict(SENTENCIZER_SCORES)] * len(pipeline.helpers)
    combined = combine_score_weights(helper + weights)
    return combine_score_weights(helper + weights, combined)


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _lines(values: Mapping[str, Any]) -> str:
    return "".join(f"{name} = {_value(value)}\n" for name, value in values.items())


def _comment(text: str, *, width: int = _WIDTH, indent: str = "") -> str:
    prefix = f"# {indent}"
    return textwrap.fill(text, width=width, initial_indent=prefix, subsequent_indent=prefix)
