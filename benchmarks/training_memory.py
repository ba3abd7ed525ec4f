"""Memory that training lgu_transformer + ner takes, with and without gradient checkpointing.

    python -m benchmarks.training_memory --decoder assets/decoder --subtokens 2048
    python -m benchmarks.training_memory --decoder mistralai/Mistral-7B-v0.3 --gpu

Every variant runs in a process of its own. On a CPU, memory is resident memory beyond what the
imports take (Linux only: read from /proc); on a GPU, what torch allocated. "loaded" is what is
held after nlp.initialize, "peak" the maximum during a few training steps.
"""

import json
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import spacy
import torch
import typer
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from tqdm import tqdm
from transformers import AutoTokenizer

from benchmarks.texts import load_articles, split_entities
from spacy_lgu.replacing import replace_file

DECODER = Path(__file__).parent.parent / "assets" / "decoder"
VARIANTS = [
    {"quantization": quantization, "gradient_checkpointing": checkpointing}
    for quantization in ("none", "nf4")
    for checkpointing in (False, True)
]
NER = {
    "@architectures": "spacy.TransitionBasedParser.v2",
    "state_type": "ner",
    "hidden_width": 64,
    "maxout_pieces": 2,
    "use_upper": False,
    "tok2vec": {
        "@architectures": "spacy-lgu.TransformerListener.v1",
        "grad_factor": 1.0,
        "pooling": {"@layers": "reduce_mean.v1"},
    },
}


def make_pipeline(decoder: str, variant: dict[str, Any]) -> Language:
    """A pipeline with lgu_transformer and ner, not initialized.

    decoder (str): Hub name or folder.
    variant (dict): Settings of the transformer's model that differ from the defaults.
    """
    nlp = spacy.blank("en")
    model = {"name": decoder, "unmasking": "ccbb", **variant}
    nlp.add_pipe("lgu_transformer", name="transformer", config={"model": model})
    nlp.add_pipe("ner", config={"model": NER})
    return nlp


def make_examples(nlp: Language, decoder: str, n_subtokens: int) -> list[Example]:
    """Articles with their entities, just enough to fill a batch.

    nlp (Language): Tokenizes.
    decoder (str): Hub name or folder, for its tokenizer.
    n_subtokens (int): Size of the batch; the last article may exceed it.
    RETURNS (list[Example]): The batch. The corpus starts over if it is too small.
    """
    tokenizer = AutoTokenizer.from_pretrained(decoder)
    articles = [split_entities("\n".join(article)) for article in load_articles()]
    examples: list[Example] = []
    n = 0
    while n < n_subtokens:
        text, entities = articles[len(examples) % len(articles)]
        reference = nlp.make_doc(text)
        spans = [reference.char_span(*entity) for entity in entities]
        reference.set_ents([span for span in spans if span is not None])
        examples.append(Example(Doc(nlp.vocab, *_words(reference)), reference))
        n += len(tokenizer(text)["input_ids"])
    return examples


def measure(
    decoder: str, variant: dict[str, Any], n_subtokens: int, steps: int, gpu: bool
) -> dict[str, Any]:
    """Train for a few steps in this process, which has done nothing before.

    decoder (str): Hub name or folder.
    variant (dict): As in make_pipeline.
    n_subtokens (int): Size of the batch.
    steps (int): How many.
    gpu (bool): Train on the GPU.
    RETURNS (dict): The variant, bytes "loaded" and at the "peak", and seconds per step.
    """
    if gpu:
        spacy.require_gpu()
    spacy.util.fix_random_seed(0)
    nlp = make_pipeline(decoder, variant)
    examples = make_examples(nlp, decoder, n_subtokens)
    imported = 0 if gpu else resident("VmRSS")
    optimizer = nlp.initialize(_Examples(examples))
    loaded = torch.cuda.memory_allocated() if gpu else resident("VmRSS") - imported
    reset_peak(gpu=gpu)
    start = time.perf_counter()
    for _ in range(steps):
        nlp.update(examples, sgd=optimizer)
    seconds = (time.perf_counter() - start) / steps
    peak = torch.cuda.max_memory_allocated() if gpu else resident("VmHWM") - imported
    return {**variant, "loaded": loaded, "peak": peak, "seconds_per_step": seconds}


class _Examples:
    """What nlp.initialize calls for examples.

    examples (list[Example]): The examples.
    """

    def __init__(self, examples: list[Example]) -> None:
        self.examples = examples

    def __call__(self) -> list[Example]:
        return self.examples


def _words(doc: Doc) -> tuple[list[str], list[bool]]:
    return [token.text for token in doc], [bool(token.whitespace_) for token in doc]


def resident(name: str) -> int:
    """Resident memory now ("VmRSS") or at its peak ("VmHWM"), in bytes.

    Not getrusage's maximum, which is inherited from the parent process.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"/proc/self/status has no {name}: resident memory is measured on Linux only.")


def reset_peak(*, gpu: bool) -> None:
    """Let the next peak be one from now on."""
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # man 5 proc


def print_table(results: list[dict[str, Any]]) -> None:
    """One line per variant."""
    print(
        f"{'quantization':14}{'checkpointing':15}{'loaded MiB':>12}{'peak MiB':>12}{'s/step':>10}"
    )
    for result in results:
        checkpointing = "on" if result["gradient_checkpointing"] else "off"
        print(
            f"{result['quantization']:14}{checkpointing:15}{result['loaded'] / 2**20:12,.0f}"
            f"{result['peak'] / 2**20:12,.0f}{result['seconds_per_step']:10.2f}"
        )


def run_apart(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a process of its own: freed memory is not always given back.

    function (Callable): Of a module.
    RETURNS (Any): What it returns. Raises BrokenProcessPool if the process is killed, such as by a
        machine whose memory is full.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *args).result()


def main(
    decoder: Annotated[str, typer.Option(help="Hub name or folder")] = str(DECODER),
    subtokens: Annotated[int, typer.Option(help="Subtokens per batch")] = 2048,
    steps: Annotated[int, typer.Option(help="Training steps")] = 3,
    gpu: Annotated[bool, typer.Option(help="Train on the GPU")] = False,
    output: Annotated[Path | None, typer.Option(help="Write the results as JSON")] = None,
) -> None:
    """Train every variant and print a table."""
    results = [
        run_apart(measure, decoder, variant, subtokens, steps, gpu)
        for variant in tqdm(VARIANTS, desc="Variants")
    ]
    print_table(results)
    if output is not None:
        report = {"decoder": decoder, "subtokens": subtokens, "gpu": gpu, "variants": results}
        replace_file(output, json.dumps(report, indent=2).encode("utf8") + b"\n")


if __name__ == "__main__":
    typer.run(main)
