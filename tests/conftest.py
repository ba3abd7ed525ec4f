"""Tiny random decoders and tokenizers, made on the spot: no test needs the network or a GPU."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import json
import lzma
import shutil
from pathlib import Path

import numpy
import pytest
import spacy
import torch
import transformers
from spacy.training import Example
from spacy.util import registry
from thinc.api import Adam, fix_random_seed
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

from spacy_lgu.listeners.availability import uses_stock

IS_5 = int(transformers.__version__.split(".")[0]) >= 5

needs_stock = pytest.mark.skipif(not uses_stock(), reason="spacy-transformers is not installed")
TEXTS = [
    "Ann Lee ate naan in New York on 3 May 2021 and paid $12.50 for it.",
    "The decoder reads from left to right, unless its mask is gone.",
    "Zürich, Łódź, 東京 and São Paulo are cities; 😀 is not.",
]
# A file for --code: a component of this name, which changes nothing.
PASSING_PIPE = """
import spacy

@spacy.Language.component({0!r})
def pass_on(doc):
    return doc
"""


def make_tokenizer(*, bos: bool = True, vocab_size: int = 400) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer, trained on three sentences."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=["<s>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if bos:
        bpe.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 0)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", model_max_length=64
    )


def make_decoder(folder: Path, *, bos: bool = True, n_layers: int = 4, seed: int = 0) -> Path:
    """A random Mistral decoder with its tokenizer, saved as from_pretrained expects it."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer(bos=bos)
    config = MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=n_layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        sliding_window=None,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.1,
    )
    MistralForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    # Tiny matrices are slower on several threads, and the tests run in parallel.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def decoder_folder(tmp_path_factory) -> Path:
    """A random Mistral decoder: 4 layers, width 64, context 64, with BOS. Not to be changed."""
    return make_decoder(tmp_path_factory.mktemp("decoder"))


@pytest.fixture(scope="session")
def text_file(tmp_path_factory) -> Path:
    """40 documents that differ in their first word."""
    path = tmp_path_factory.mktemp("text") / "text.jsonl.xz"
    with lzma.open(path, "wt", encoding="utf8") as stream:
        for i in range(40):
            stream.write(json.dumps({"id": i, "text": f"{i}. " + " ".join(TEXTS)}) + "\n")
    return path


def layer_config(folder: Path, **options) -> dict:
    """The config of a transformer layer: float32, unquantized, LoRA of rank 4, no dropout.

    options: Values that differ; those of `lora` are given as lora_rank, lora_dropout ...
    """
    lora = {
        "@misc": "spacy-lgu.lora.v1",
        "rank": 4,
        "alpha": 8,
        "dropout": 0.0,
        "modules": "attention",
        "path": None,
    }
    lora.update({key[5:]: options.pop(key) for key in list(options) if key.startswith("lora_")})
    return {
        "@architectures": "spacy-lgu.LGUTransformer.v1",
        "name": str(folder),
        "unmasking": "ccbb",
        "quantization": "none",
        "dtype": "float32",
        "lora": lora,
        "get_spans": {"@span_getters": "spacy-lgu.doc_spans.v1"},
        **options,
    }


def build_layer(folder: Path, **options):
    """A transformer layer as its builder makes it, without weights."""
    return registry.resolve({"model": layer_config(folder, **options)})["model"]


def make_layer(folder: Path, *, adapter: bool = True, **options):
    """An initialized transformer layer. A new LoRA adapter changes nothing; this one does."""
    torch.manual_seed(1)
    model = build_layer(folder, **options)
    model.initialize()
    if adapter:
        shake_adapter(model)
    return model


def shake_adapter(model, seed: int = 2) -> None:
    """Give the LoRA weights of a layer (or one inside it) values as if trained."""
    torch.manual_seed(seed)
    for node in model.walk():
        for shim in node.shims:
            for name, parameter in shim.ready.decoder.trainable():
                if "lora_" in name:
                    parameter.data.normal_(std=0.2)


CNN = {
    "@architectures": "spacy.HashEmbedCNN.v2",
    "width": 16,
    "depth": 1,
    "embed_size": 100,
    "window_size": 1,
    "maxout_pieces": 2,
    "subword_features": True,
    "pretrained_vectors": None,
}

LISTENER = {
    "@architectures": "spacy-lgu.TransformerListener.v1",
    "grad_factor": 1.0,
    "pooling": {"@layers": "reduce_mean.v1"},
    "upstream": "*",
}

ENTITY_TEXTS = [
    ("Ann Lee ate naan in New York", {"entities": [(0, 7, "PER"), (20, 28, "LOC")]}),
    ("Zürich is a city", {"entities": [(0, 6, "LOC")]}),
    ("The mask is gone for Ann", {"entities": [(21, 24, "PER")]}),
    ("It paid Lee in 2021", {"entities": [(8, 11, "PER")]}),
]


def ner_config(tok2vec: dict) -> dict:
    return {
        "model": {
            "@architectures": "spacy.TransitionBasedParser.v2",
            "state_type": "ner",
            "extra_state_tokens": False,
            "hidden_width": 16,
            "maxout_pieces": 2,
            "use_upper": False,
            "tok2vec": tok2vec,
        }
    }


def tagger_config(tok2vec: dict) -> dict:
    return {"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": tok2vec}}


def entity_examples(nlp) -> list:
    """Sentences with persons and places; their tags say whether a word begins in upper case."""
    examples = []
    for text, annotations in ENTITY_TEXTS:
        doc = nlp.make_doc(text)
        tags = ["UP" if token.text[0].isupper() else "LOW" for token in doc]
        examples.append(Example.from_dict(doc, {**annotations, "tags": tags}))
    return examples


def make_nlp(
    folder: Path,
    *,
    pipes: tuple[str, ...] = ("ner",),
    factory: str = "lgu_transformer",
    listener: dict | None = None,
    component: dict | None = None,
    **options,
):
    """An initialized pipeline: a transformer with a shaken adapter, and pipes that listen.

    component (dict): Options of the component. options: As in layer_config.
    """
    fix_random_seed(0)
    nlp = spacy.blank("en")
    config = {"model": layer_config(folder, **options), **(component or {})}
    nlp.add_pipe(factory, name="transformer", config=config)
    make_config = {"ner": ner_config, "tagger": tagger_config}
    for name in pipes:
        nlp.add_pipe(name, config=make_config[name]({**LISTENER, **(listener or {})}))
    examples = entity_examples(nlp)

    def get_examples():
        return examples

    nlp.initialize(get_examples)
    shake_adapter(nlp.get_pipe("transformer").model)
    if "tagger" in pipes:
        # The tagger's output layer begins with zeros, which let no gradient through.
        softmax = nlp.get_pipe("tagger").model.get_ref("softmax")
        shape = softmax.get_param("W").shape
        weights = numpy.random.default_rng(0).normal(scale=0.1, size=shape)
        softmax.set_param("W", weights.astype("float32"))
    return nlp


def train_nlp(nlp, *, steps: int, learn_rate: float = 0.01, **options) -> list[dict[str, float]]:
    """Train on the entity examples. RETURNS: The losses of each step."""
    optimizer = Adam(learn_rate, use_averages=False)
    history = []
    for _ in range(steps):
        history.append({})
        update_nlp(nlp, entity_examples(nlp), optimizer, losses=history[-1], **options)
    return history


def update_nlp(nlp, examples: list, sgd, *, exclude: tuple[str, ...] = (), **options) -> None:
    """One step as `spacy train` makes it."""
    nlp.update(examples, sgd=False, exclude=exclude, **options)
    for name, pipe in nlp.pipeline:
        if name not in exclude and hasattr(pipe, "finish_update"):
            pipe.finish_update(sgd)


@pytest.fixture(scope="session")
def saved(decoder_folder, tmp_path_factory):
    """A pipeline, and the folder that it was saved in. Not to be changed."""
    nlp = make_nlp(decoder_folder)
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "FOOD", "pattern": "naan"}])
    folder = tmp_path_factory.mktemp("saved") / "pipeline"
    nlp.to_disk(folder)
    return nlp, folder


@pytest.fixture
def copied(saved, tmp_path) -> Path:
    """A copy of the saved pipeline, for changes."""
    folder = shutil.copytree(saved[1], tmp_path / "pipeline")
    os.utime(folder / "transformer" / "lgu.json", (0, 0))  # nobody is saving here any more
    return folder
