"""A decoder of a given shape with random weights, and texts whose lengths are new in each batch.

What a decoder says depends on its weights; how long it takes does not.
"""

import random
from collections.abc import Callable
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy
import torch
from transformers import AutoTokenizer, MistralConfig, MistralModel

from benchmarks.texts import load_articles, split_entities
from spacy_lgu.decoder.attention import ATTENTION, register_attention
from spacy_lgu.decoder.packing import PackedBatch
from spacy_lgu.decoder.versions import dtype_option

TOKENIZER = Path(__file__).parent.parent.parent / "assets" / "decoder"
# Names as the command takes them.
SHAPES: dict[str, dict[str, int]] = {
    "7b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 32768,
    },
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 8192,
    },
}
_CONTEXT = 4096
# Words of an article, fewest and most.
_ARTICLE = (150, 900)
# Fewer words than a text of each kind has on average.
_WORDS = {"sentences": 12, "articles": 400}


def make_decoder(folder: Path, shape: str, device: torch.device) -> None:
    """Save a decoder with random weights in bfloat16, made on the device.

    folder (Path): Where it goes; one that is there is kept.
    shape (str): "7b" (Mistral-7B's) or "tiny".
    device (device): Where the weights are drawn.
    """
    if (folder / "config.json").is_file():
        return
    config = _config(SHAPES[shape])
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with device:
            torch.manual_seed(0)
            model = MistralModel(config)
    finally:
        torch.set_default_dtype(default)
    hidden = folder.with_name(folder.name + ".part")
    model.save_pretrained(hidden)
    _tokenizer().save_pretrained(hidden)
    hidden.rename(folder)


def make_layers(shape: str, n_layers: int, device: torch.device) -> Any:
    """The same decoder with fewer layers and packed attention, in memory, always with the same
    weights.

    shape (str): As in make_decoder.
    n_layers (int): How many.
    device (device): Where the weights are drawn.
    RETURNS (MistralModel): In bfloat16, frozen, in evaluation mode.
    """
    register_attention()
    config = _config({**SHAPES[shape], "num_hidden_layers": n_layers})
    with device:
        torch.manual_seed(0)
        model = MistralModel._from_config(
            config, attn_implementation=ATTENTION, **dtype_option(torch.bfloat16)
        )
    return model.eval().requires_grad_(False)


def replace_linear(model: Any, make: Callable[[torch.Tensor], torch.nn.Module]) -> None:
    """Put other modules in the place of the linear ones of a decoder's layers.

    model (MistralModel): Changed in place.
    make (Callable): Takes a weight, returns the module for it.
    """
    for name, module in list(model.layers.named_modules()):
        if type(module) is torch.nn.Linear:
            parent, _, attribute = name.rpartition(".")
            setattr(model.layers.get_submodule(parent), attribute, make(module.weight.data))


def _config(sizes: dict[str, int]) -> MistralConfig:
    return MistralConfig(
        **sizes, max_position_embeddings=_CONTEXT, sliding_window=None, rms_norm_eps=1e-5
    )


def find_heads(shape: str) -> tuple[int, int, int]:
    """RETURNS (tuple[int, int, int]): Heads of queries, heads of keys, and their width."""
    sizes = SHAPES[shape]
    n_heads = sizes["num_attention_heads"]
    return n_heads, sizes["num_key_value_heads"], sizes["hidden_size"] // n_heads


def count_linear(config: Any) -> int:
    """RETURNS (int): Weights that each subtoken is multiplied with, in the decoder's layers."""
    head = config.hidden_size // config.num_attention_heads
    attention = (
        config.hidden_size * head * 2 * (config.num_attention_heads + config.num_key_value_heads)
    )
    return config.num_hidden_layers * (
        attention + 3 * config.hidden_size * config.intermediate_size
    )


def draw_sentences(n: int, seed: int) -> list[str]:
    """Word sequences of the lengths that sentences have.

    n (int): How many.
    seed (int): Another one gives other lengths in another order.
    RETURNS (list[str]): The texts.
    """
    sentences = [split_entities(s)[0].split() for s in chain(*load_articles())]
    draw = random.Random(seed)
    return _cut([len(draw.choice(sentences)) for _ in range(n)], draw)


def draw_articles(n: int, seed: int) -> list[str]:
    """Word sequences of the lengths that articles have.

    n, seed (int): As in draw_sentences.
    RETURNS (list[str]): The texts.
    """
    draw = random.Random(seed)
    return _cut([draw.randint(*_ARTICLE) for _ in range(n)], draw)


def draw_pack(kind: str, items: int, seed: int, device: torch.device) -> PackedBatch:
    """A pack of texts of the lengths that they have in subtokens.

    kind (str): "sentences" or "articles".
    items (int): The most subtokens of the pack; a text that is longer by itself is cut.
    seed (int): Another one gives other lengths.
    device (device): Where the pack goes.
    RETURNS (PackedBatch): With random ids.
    """
    lengths = _draw_lengths(kind, items, seed)
    vocabulary = min(sizes["vocab_size"] for sizes in SHAPES.values())
    ids = numpy.random.default_rng(seed).integers(vocabulary, size=lengths.sum())
    return PackedBatch.pack(ids, lengths, device=device)


@cache
def _draw_lengths(kind: str, items: int, seed: int) -> numpy.ndarray:
    draw = {"sentences": draw_sentences, "articles": draw_articles}[kind]
    texts = draw(items // _WORDS[kind] + 1, seed)
    lengths = numpy.array([len(ids) for ids in _tokenizer()(texts)["input_ids"]])
    n = max(1, int(numpy.searchsorted(lengths.cumsum(), items, side="right")))
    return numpy.minimum(lengths[:n], items)


@cache
def _tokenizer() -> Any:
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    tokenizer.model_max_length = _CONTEXT
    return tokenizer


def _cut(lengths: list[int], draw: random.Random) -> list[str]:
    words = [w for s in chain(*load_articles()) for w in split_entities(s)[0].split()]
    texts = []
    for length in lengths:
        start = draw.randrange(len(words) - length)
        texts.append(" ".join(words[start : start + length]))
    return texts
