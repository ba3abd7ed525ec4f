"""The sequence labeler and spaCy's `ner` on the same decoder: words per second, trained and read.

    python benchmarks/head_speed.py train.spacy test.spacy --decoder assets/decoder

Two pipelines of spacy_lgu/study/benchmark.cfg that differ in their head alone. They take turns: in
every round each trains on the same batches, then each reads the same texts, so that what else the
machine does hits both alike; ratios are taken within a round. Words are spaCy's tokens. How well
the heads find entities is in docs/results.md.
"""

import json
import time
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import spacy
import torch
import typer
from spacy.language import Language
from spacy.schemas import ConfigSchemaTraining
from spacy.tokens import Doc
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.util import load_config, minibatch, registry
from tqdm import tqdm

from spacy_lgu.replacing import replace_file
from spacy_lgu.study.plan import CONFIG
from spacy_lgu.training.readers import copy_tokens, gold_tokens_v1

HEADS = ("sequence_labeler", "ner")
BATCH = 16  # texts per step, as in study.yml


def make_pipeline(head: str, train: Path, decoder: str, pattern: str) -> tuple[Language, Any]:
    """An initialized pipeline of decoder and head, and its optimizer."""
    overrides = {
        "nlp.pipeline": ["decoder", head, "doc_cleaner"],
        "paths.train": str(train),
        "paths.dev": str(train),
        "paths.decoder": decoder,
        "components.decoder.model.unmasking": pattern,
        "training.optimizer.learn_rate.initial_rate": 0.0005,
    }
    config = load_config(CONFIG, overrides, interpolate=False)
    nlp = init_nlp(config)
    training = registry.resolve(nlp.config.interpolate()["training"], schema=ConfigSchemaTraining)
    return nlp, training["optimizer"]


def train_on(nlp: Language, optimizer: Any, batches: list[list[Example]]) -> float:
    """Step as `spacy train` does. RETURNS (float): Words per second."""
    start = time.perf_counter()
    for batch in batches:
        nlp.update(batch, sgd=False, drop=0.1)
        for _, pipe in nlp.pipeline:
            if hasattr(pipe, "finish_update"):
                pipe.finish_update(optimizer)
        optimizer.step_schedules()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    return sum(len(example.reference) for batch in batches for example in batch) / seconds


def read(nlp: Language, docs: list[Doc]) -> float:
    """Run nlp.pipe over Docs as they come from the tokenizer. RETURNS (float): Words per second."""
    copies = [copy_tokens(doc) for doc in docs]
    start = time.perf_counter()
    n_words = sum(len(doc) for doc in nlp.pipe(copies))
    return n_words / (time.perf_counter() - start)


def main(
    train: Annotated[Path, typer.Argument(help=".spacy with entities")],
    test: Annotated[Path, typer.Argument(help=".spacy")],
    decoder: Annotated[str, typer.Option(help="Folder or name on the hub")] = "assets/decoder",
    pattern: str = "bbbb",
    rounds: int = 7,
    steps: Annotated[int, typer.Option(help="Batches of 16 texts that a round trains on")] = 20,
    texts: Annotated[int, typer.Option(help="Texts that a round reads")] = 1000,
    output: Annotated[Path | None, typer.Option(help="JSON file for the figures")] = None,
    gpu_id: int = -1,
) -> None:
    """Measure in turns and print medians."""
    if gpu_id >= 0:
        spacy.require_gpu(gpu_id)
    pipelines = {head: make_pipeline(head, train, decoder, pattern) for head in HEADS}
    # One round more: the first waits for caches and kernels.
    needed = (rounds + 1) * steps * BATCH
    examples = {
        head: list(minibatch(gold_tokens_v1(train, needed)(nlp), BATCH))
        for head, (nlp, _) in pipelines.items()
    }
    docs = {
        head: [example.reference for example in gold_tokens_v1(test, texts)(nlp)]
        for head, (nlp, _) in pipelines.items()
    }
    n_batches = len(examples[HEADS[0]])
    if n_batches < (rounds + 1) * steps:
        raise typer.BadParameter(
            f"{train} has {n_batches} batches; {rounds} rounds of {steps} need {needed // BATCH}. "
            "Choose fewer --rounds or --steps."
        )
    found: dict[str, dict[str, list[float]]] = {
        kind: {head: [] for head in HEADS} for kind in ("training", "reading")
    }
    for turn in tqdm(range(rounds + 1), unit="round"):
        for head, (nlp, optimizer) in pipelines.items():
            batches = examples[head][turn * steps : (turn + 1) * steps]
            found["training"][head].append(train_on(nlp, optimizer, batches))
        for head, (nlp, _) in pipelines.items():
            found["reading"][head].append(read(nlp, docs[head]))
    print(f"| words/s | {' | '.join(HEADS)} | ratio | ratios of rounds |\n|---|---|---|---|---|")
    for kind, by_head in found.items():
        ours, peer = (by_head[head][1:] for head in HEADS)
        ratios = [a / b for a, b in zip(ours, peer, strict=True)]
        print(
            f"| {kind} | {median(ours):,.0f} | {median(peer):,.0f} | {median(ratios):.2f} "
            f"| {min(ratios):.2f} to {max(ratios):.2f} |"
        )
    if output is not None:
        for by_head in found.values():
            for values in by_head.values():
                del values[0]  # to warm up
        replace_file(output, json.dumps(found).encode("utf8") + b"\n")


if __name__ == "__main__":
    typer.run(main)
