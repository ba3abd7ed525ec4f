"""A fleet of pipelines on one quantized base: memory, time to load one more, throughput.

    python -m benchmarks.fleet
    python -m benchmarks.fleet --decoder FOLDER --n-pipelines 20 --n-texts 400 --rounds 5

Pipelines with adapters of different patterns, ranks and modules, and a sequence_labeler each, are
made, saved and loaded into one process. Then, in turns, so that what else the machine does hits all
alike:

- one       one pipeline gets all texts through nlp.pipe
- fleet     each text goes to another pipeline, through fleet.pipe
- arrivals  the same mixed texts without a fleet: of each batch, each pipeline gets its own
- sorted    all texts of each pipeline together, one pipeline after another

Ratios are taken within a round. On a CPU, words are counted per second of the process's own time,
so that others may compute meanwhile: set OMP_NUM_THREADS=1. Adapters and heads are random: only
sizes matter here.
"""

import gc
import json
import mmap
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import spacy
import torch
import typer
from spacy.language import Language
from spacy.tokens import Span
from spacy.training import Example
from spacy.util import minibatch
from tqdm import tqdm

from benchmarks.texts import load_texts
from spacy_lgu.fleet import Fleet
from spacy_lgu.replacing import replace_file

DECODER = Path(__file__).parent.parent / "assets" / "decoder"
BATCH_SIZE = 128
# What pipelines differ in, in turns.
PATTERNS = ("ccbb", "bbbb", "cbbb", "cccc", "cccb")
RANKS = (8, 16, 32)
MODULES = ("attention", "all-linear")
LABELS = ("PER", "LOC", "ORG", "MISC")


def make_pipeline(decoder: Path, number: int, quantization: str, dtype: str) -> Language:
    """A pipeline with a random adapter and head, in the size that its number gives it."""
    nlp = spacy.blank("en")
    lora = {"rank": RANKS[number % 3], "modules": MODULES[number % 2], "dropout": 0.0}
    model = {
        "name": str(decoder),
        "unmasking": PATTERNS[number % 5],
        "quantization": quantization,
        "dtype": dtype,
        "lora": lora,
    }
    config = {"model": model, "base_weights": "reference"}
    nlp.add_pipe("lgu_transformer", name="transformer", config=config)
    nlp.add_pipe("sequence_labeler")
    nlp.add_pipe("doc_cleaner", config={"attrs": {"_.trf_data": None}})
    doc = nlp.make_doc("Ann has seen Oslo and Rome")
    ents = [Span(doc, 2 * i, 2 * i + 1, label=LABELS[i]) for i in range(1 + number % 3)]
    reference = doc.copy()
    reference.set_ents(ents)
    nlp.initialize(partial(list, [Example(doc, reference)]))
    for _, parameter in nlp.get_pipe("transformer").shim.ready.decoder.trainable():
        parameter.data.normal_(std=0.02)
    return nlp


def count_bytes(pipelines: Iterable[Language], fleet: Fleet) -> tuple[int, int]:
    """RETURNS (tuple[int, int]): Bytes of all different tensors of the decoders and the fleet, and
    of those among them that are adapters."""
    modules = [nlp.get_pipe("transformer").shim.ready.decoder for nlp in pipelines]
    trees: list[Any] = [*modules]
    if (decoder := fleet._state.decoder) is not None:
        trees.append(decoder._tree.first(decoder._tree.n_layers))
    storages, adapters = {}, {}
    for module in trees:
        for parameter in [*module.parameters(), *module.buffers()]:
            state = getattr(parameter, "quant_state", None)
            nested = getattr(state, "state2", None)
            more = [getattr(owner, "absmax", None) for owner in (state, nested)]
            for tensor in [parameter, *(t for t in more if t is not None)]:
                storage = tensor.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
                if parameter.requires_grad:
                    adapters[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values()), sum(adapters.values())


def resident_bytes() -> int:
    """RETURNS (int): Memory of this process (Linux)."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * mmap.PAGESIZE


def run_sorted(pipelines: list[Language], texts: list[str]) -> int:
    """All texts of each pipeline together. RETURNS (int): Words."""
    n = len(pipelines)
    return sum(
        len(doc)
        for i, nlp in enumerate(pipelines)
        for doc in nlp.pipe(texts[i::n], batch_size=BATCH_SIZE)
    )


def run_arrivals(pipelines: list[Language], texts: list[str]) -> int:
    """The texts in batches as they arrive, each batch sorted. RETURNS (int): Words."""
    n = len(pipelines)
    batches = minibatch(enumerate(texts), BATCH_SIZE)
    n_words = 0
    for batch in batches:
        for i, nlp in enumerate(pipelines):
            own = [text for place, text in batch if place % n == i]
            n_words += sum(len(doc) for doc in nlp.pipe(own, batch_size=BATCH_SIZE))
    return n_words


def main(
    decoder: Annotated[Path, typer.Option(help="Folder of a decoder")] = DECODER,
    n_pipelines: int = 20,
    n_texts: int = 400,
    texts: Annotated[Path | None, typer.Option(help="One per line, or .jsonl")] = None,
    rounds: int = 5,
    quantization: str = "nf4",
    dtype: str = "auto",
    output: Annotated[Path | None, typer.Option(help="JSON file for the figures")] = None,
    gpu_id: int = -1,
    seed: int = 0,
) -> None:
    """Measure in turns and print medians."""
    if gpu_id >= 0:
        spacy.require_gpu(gpu_id)
    clock = time.perf_counter if gpu_id >= 0 else time.process_time
    torch.manual_seed(seed)
    corpus = load_texts(texts, n_texts, seed)
    found: dict[str, Any] = {"load": [], "resident": []}
    with tempfile.TemporaryDirectory() as folder:
        for i in tqdm(range(n_pipelines), desc="made"):
            make_pipeline(decoder, i, quantization, dtype).to_disk(Path(folder) / str(i))
        fleet = Fleet()
        for i in tqdm(range(n_pipelines), desc="loaded"):
            start = time.perf_counter()
            fleet.add(str(i), Path(folder) / str(i))
            found["load"].append(time.perf_counter() - start)
            found["resident"].append(resident_bytes())
    pipelines = [fleet[name] for name in fleet.names]
    total, adapters = count_bytes(pipelines, fleet)
    base = count_bytes(pipelines[:1], fleet)
    found |= {"total": total, "adapters": adapters, "base": base[0] - base[1]}
    expected = found["base"] + adapters
    growth = (found["resident"][-1] - found["resident"][0]) / max(1, n_pipelines - 1)
    print(f"\nweights: {total / 1e6:.1f} MB; base {found['base'] / 1e6:.1f} MB + adapters "
          f"{adapters / 1e6:.1f} MB: ratio {total / expected:.3f}")  # fmt: skip
    print(f"process: {growth / 1e6:.1f} MB more for each pipeline, of which adapter "
          f"{adapters / n_pipelines / 1e6:.1f} MB")  # fmt: skip
    first, *more = found["load"]
    print(f"one more pipeline: {median(more):.2f} s (median), {max(more):.2f} s at most; "
          f"the first {first:.2f} s")  # fmt: skip
    mixed = list(zip(corpus, cycle(fleet.names), strict=False))
    ways: dict[str, Callable[[int], int]] = {
        "one": lambda turn: sum(
            len(doc) for doc in pipelines[turn % n_pipelines].pipe(corpus, batch_size=BATCH_SIZE)
        ),
        "fleet": lambda turn: sum(len(doc) for doc in fleet.pipe(mixed, batch_size=BATCH_SIZE)),
        "arrivals": lambda turn: run_arrivals(pipelines, corpus),
        "sorted": lambda turn: run_sorted(pipelines, corpus),
    }
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    # One round more: the first waits for caches and kernels.
    for turn in tqdm(range(rounds + 1), unit="round"):
        for way, run in ways.items():
            start = clock()
            n_words = run(turn)
            speeds[way].append(n_words / (clock() - start))
    speeds = {way: list(islice(values, 1, None)) for way, values in speeds.items()}
    print("| way | words/s | fleet / way | of rounds |\n|---|---|---|---|")
    for way, values in speeds.items():
        ratios = [a / b for a, b in zip(speeds["fleet"], values, strict=True)]
        print(f"| {way} | {median(values):,.0f} | {median(ratios):.2f} "
              f"| {min(ratios):.2f} to {max(ratios):.2f} |")  # fmt: skip
    if output is not None:
        replace_file(output, json.dumps({**found, "speeds": speeds}).encode("utf8") + b"\n")


if __name__ == "__main__":
    typer.run(main)
