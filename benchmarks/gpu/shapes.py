"""A decoder of a given shape with random weights, and texts whose lengths are new in each batch.

What a decoder says depends on its weights; how long it takes does not.
"""

import random
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, MistralConfig, MistralModel

from benchmarks.texts import load_articles, split_entities

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
# Words of an article, fewest and most.
_ARTICLE = (150, 900)


def make_decoder(folder: Path, shape: str, device: torch.device) -> None:
    """Save a decoder with random weights in bfloat16, made on the device.

    folder (Path): Where it goes; one that is there is kept.
    shape (str): "7b" (Mistral-7B's) or "tiny".
    device (device): Where the weights are drawn.
    """
    if (folder / "config.json").is_file():
        return
    config = MistralConfig(
        **SHAPES[shape], max_position_embeddings=4096, sliding_window=None, rms_norm_eps=1e-5
    )
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
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    tokenizer.model_max_length = config.max_position_embeddings
    tokenizer.save_pretrained(hidden)
    hidden.rename(folder)


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


def _cut(lengths: list[int], draw: random.Random) -> list[str]:
    words = [w for s in chain(*load_articles()) for w in split_entities(s)[0].split()]
    texts = []
    for length in lengths:
        start = draw.randrange(len(words) - length)
        texts.append(" ".join(words[start : start + length]))
    return texts
