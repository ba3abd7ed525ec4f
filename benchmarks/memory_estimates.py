"""Memory that `spacy lgu inspect` estimates, beside what is measured on a CPU (Linux only).

    python -m benchmarks.memory_estimates
    python -m benchmarks.memory_estimates --decoder assets/decoder --decoder random

"random" is a decoder of 100 million parameters with random weights, made on the spot. Every row is
measured in a process of its own, in which a tiny decoder has been used and trained in the same way
before: what the libraries take is there already. Memory is resident memory beyond that, after the
allocator has given back what it kept from earlier steps.
"""

import ctypes
import gc
import json
import tempfile
from itertools import cycle
from pathlib import Path
from typing import Annotated, Any

import typer
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from transformers import AutoTokenizer, MistralConfig, MistralForCausalLM

from benchmarks.texts import load_articles, split_entities
from benchmarks.training_memory import DECODER, make_pipeline, reset_peak, resident, run_apart
from spacy_lgu.decoder.adapter import find_lora_modules
from spacy_lgu.decoder.local import read_decoder
from spacy_lgu.decoder.settings import LoraSettings
from spacy_lgu.inspection.decoders import match_modules
from spacy_lgu.inspection.machine import resolve_dtype
from spacy_lgu.inspection.memory import (
    PER_ENTRY,
    Use,
    inference_bytes,
    training_bytes,
    weights_bytes,
)
from spacy_lgu.replacing import replace_file

RANDOM = "random"
SHAPES = {
    "tiny": {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4},
    RANDOM: {"hidden_size": 768, "intermediate_size": 2304, "num_hidden_layers": 12},
}
VARIANTS: list[dict[str, Any]] = [
    {"tuning": "lora", "quantization": "nf4"},
    {"tuning": "lora", "quantization": "nf4", "gradient_checkpointing": True},
    {"tuning": "lora", "quantization": "none", "dtype": "float32"},
    {"tuning": "lora", "quantization": "none"},
    {"tuning": "full", "quantization": "none"},
    {"tuning": "full", "quantization": "none", "gradient_checkpointing": True},
]


def make_decoder(name: str, folder: Path) -> str:
    """A decoder with random weights and the tokenizer of assets/decoder.

    name (str): One of SHAPES.
    folder (Path): Where to save it.
    RETURNS (str): The folder.
    """
    tokenizer = AutoTokenizer.from_pretrained(DECODER)
    config = MistralConfig(
        vocab_size=len(tokenizer),
        num_attention_heads=SHAPES[name]["hidden_size"] // 64,
        num_key_value_heads=max(1, SHAPES[name]["hidden_size"] // 192),
        max_position_embeddings=512,
        sliding_window=None,
        **SHAPES[name],
    )
    MistralForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def make_examples(nlp: Language, n_subtokens: int) -> list[Example]:
    """Sentences with their entities, as many as fill a batch."""
    tokenizer = AutoTokenizer.from_pretrained(DECODER)
    sentences = [split_entities(line) for article in load_articles() for line in article]
    examples: list[Example] = []
    n = 0
    for text, entities in cycle(sentences):
        n += len(tokenizer(text)["input_ids"])
        if n > n_subtokens:
            return examples
        reference = nlp.make_doc(text)
        spans = [reference.char_span(*entity) for entity in entities]
        reference.set_ents([span for span in spans if span is not None])
        examples.append(Example(nlp.make_doc(text), reference))
    raise ValueError("The corpus is empty.")


def measure(decoder: str, tiny: str, variant: dict[str, Any], n_subtokens: int) -> dict[str, int]:
    """Load, use and train a decoder in this process.

    decoder (str): Folder.
    tiny (str): Folder of a decoder that takes next to no memory.
    variant (dict): Settings of the transformer's model.
    n_subtokens (int): Of the batch.
    RETURNS (dict[str, int]): Bytes "loaded", "inference" and "training", the latter at their peaks.
    """
    run(tiny, variant, 256)
    return run(decoder, variant, n_subtokens)


def run(decoder: str, variant: dict[str, Any], n_subtokens: int) -> dict[str, int]:
    """As measure, but without the tiny decoder; the decoder is gone at the end."""
    clean()
    before = resident("VmRSS")
    nlp = make_pipeline(decoder, variant)
    examples = make_examples(nlp, n_subtokens)

    def get_examples() -> list[Example]:
        return examples

    optimizer = nlp.initialize(get_examples)
    clean()
    found = {"loaded": resident("VmRSS") - before}
    reset_peak(gpu=False)
    docs: list[Doc] = [nlp.make_doc(example.text) for example in examples]
    list(nlp.pipe(docs, batch_size=len(docs)))
    found["inference"] = resident("VmHWM") - before
    del docs
    clean()
    reset_peak(gpu=False)
    for _ in range(2):  # the first makes the optimizer's moments
        nlp.update(examples, sgd=optimizer)
    found["training"] = resident("VmHWM") - before
    return found


def estimate(decoder: str, variant: dict[str, Any], n_subtokens: int) -> dict[str, int]:
    """The same from the decoder's config alone."""
    found = read_decoder(decoder)
    shape = found.shape
    names = find_lora_modules(LoraSettings(), found.config)
    use = Use(
        quantization=variant["quantization"],
        dtype=resolve_dtype(variant.get("dtype", "auto"), gpu=False),
        tuning=variant["tuning"],
        adapted=match_modules(shape, names, 64) if variant["tuning"] == "lora" else {},
        gradient_checkpointing=variant.get("gradient_checkpointing", False),
    )
    return {
        "loaded": weights_bytes(shape, use) + PER_ENTRY * shape.vocab_size,
        "inference": inference_bytes(shape, use, n_rows=n_subtokens),
        "training": training_bytes(shape, use, n_rows=n_subtokens),
    }


def clean() -> None:
    """Give freed memory back to the system, which would count as resident."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)


def main(
    decoder: Annotated[
        list[str] | None, typer.Option(help='Folder, or "random"; may be repeated')
    ] = None,
    subtokens: Annotated[int, typer.Option(help="Subtokens per batch")] = 1024,
    output: Annotated[Path | None, typer.Option(help="Write the results as JSON")] = None,
) -> None:
    """Measure every variant and print a table."""
    rows = []
    print(f"{'decoder':12}{'variant':28}{'what':11}{'measured':>10}{'estimate':>10}{'ratio':>7}")
    with tempfile.TemporaryDirectory() as name:
        tiny = make_decoder("tiny", Path(name, "tiny"))
        for label in decoder or [str(DECODER), RANDOM]:
            folder = make_decoder(RANDOM, Path(name, RANDOM)) if label == RANDOM else label
            for variant in VARIANTS:
                measured = run_apart(measure, folder, tiny, variant, subtokens)
                estimated = estimate(folder, variant, subtokens)
                rows.append((label, variant, measured, estimated))
                shown = " ".join("checkpointing" if v is True else v for v in variant.values())
                for what, value in measured.items():
                    print(
                        f"{Path(label).name:12}{shown:28}{what:11}{value / 2**20:10,.0f}"
                        f"{estimated[what] / 2**20:10,.0f}{estimated[what] / value:7.2f}",
                        flush=True,
                    )
    if output is not None:
        replace_file(output, json.dumps(rows, indent=2).encode("utf8") + b"\n")


if __name__ == "__main__":
    typer.run(main)
