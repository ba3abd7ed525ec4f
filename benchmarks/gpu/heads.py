"""What a head costs beside the transformer that it listens to: `ner` and the sequence labeler.

    python -m benchmarks.gpu.heads assets/decoder

The transition loop of `ner` runs on the CPU, whatever device the decoder is on: its seconds stay,
while the decoder's shrink.
"""

import json
import statistics
from pathlib import Path
from typing import Annotated, Any

import spacy
import torch
import typer
from spacy.language import Language

from .clock import DEVICE, now
from .inference import make_pipeline
from .training import make_examples

_LISTENER = {
    "@architectures": "spacy-lgu.TransformerListener.v1",
    "grad_factor": 1.0,
    "upstream": "*",
    "pooling": {"@layers": "reduce_mean.v1"},
}
HEADS: dict[str, dict[str, Any]] = {
    "sequence_labeler": {},
    "ner": {
        "model": {
            "@architectures": "spacy.TransitionBasedParser.v2",
            "state_type": "ner",
            "extra_state_tokens": False,
            "hidden_width": 64,
            "maxout_pieces": 2,
            "use_upper": False,
            "nO": None,
            "tok2vec": _LISTENER,
        }
    },
}


def measure_heads(
    decoder: Path, quantization: str, sentences: int, rounds: int, dtype: str = "bfloat16"
) -> dict[str, Any]:
    """Seconds of the transformer and of the head, in a training step and in reading.

    decoder (Path): The decoder's folder.
    quantization (str): "none" or "nf4".
    sentences (int): Of a step.
    rounds (int): Steps, after one to warm up.
    dtype (str): Computing dtype.
    RETURNS (dict): By head: "tokens" of a step, and medians by "training" and "reading" of
        "transformer" and "head".
    """
    if DEVICE.type == "cuda":
        spacy.require_gpu()
    return {head: _measure(decoder, quantization, head, sentences, rounds, dtype) for head in HEADS}


def _measure(
    decoder: Path, quantization: str, head: str, sentences: int, rounds: int, dtype: str
) -> dict[str, Any]:
    nlp = make_pipeline(decoder, {"quantization": quantization, "dtype": dtype})
    nlp.add_pipe(head, name="head", config=HEADS[head])
    optimizer = nlp.initialize(lambda: make_examples(nlp, 32, 0))
    found: dict[str, dict[str, list[float]]] = {
        kind: {"transformer": [], "head": []} for kind in ("training", "reading")
    }
    tokens = []
    for seed in range(rounds + 1):
        examples = make_examples(nlp, sentences, seed)
        tokens.append(sum(len(example.x) for example in examples))
        for kind, parts in (
            ("training", _train(nlp, examples, optimizer)),
            ("reading", _read(nlp, [example.x.copy() for example in examples])),
        ):
            for name, seconds in zip(("transformer", "head"), parts, strict=True):
                found[kind][name].append(seconds)
    medians = {
        kind: {name: statistics.median(seconds[1:]) for name, seconds in parts.items()}
        for kind, parts in found.items()
    }
    return {"tokens": statistics.median(tokens[1:]), **medians}


def _train(nlp: Language, examples: list[Any], optimizer: Any) -> tuple[float, float]:
    """As nlp.update does. The decoder's backward pass begins within the head's update."""
    transformer: Any = nlp.get_pipe("transformer")
    head: Any = nlp.get_pipe("head")
    backward = 0.0
    run_backward = transformer._backprop_batch

    def time_backward() -> None:
        nonlocal backward
        start = now()
        run_backward()
        backward += now() - start

    start = now()
    transformer.update(examples, drop=0.1)
    forward = now() - start
    transformer._backprop_batch = time_backward
    start = now()
    head.update(examples, drop=0.1)
    middle = now()
    del transformer._backprop_batch
    transformer.finish_update(optimizer)
    step = now() - middle
    head_start = now()
    head.finish_update(optimizer)
    return forward + backward + step, middle - start - backward + now() - head_start


def _read(nlp: Language, docs: list[Any]) -> tuple[float, float]:
    seconds = []
    for name in ("transformer", "head"):
        pipe: Any = nlp.get_pipe(name)
        start = now()
        pipe.set_annotations(docs, pipe.predict(docs))
        seconds.append(now() - start)
    return seconds[0], seconds[1]


def print_heads(found: dict[str, Any]) -> list[str]:
    """RETURNS (list[str]): A table of what measure_heads found."""
    lines = ["| head | | transformer, s | head, s | head | tokens/s of the head alone |"]
    lines.append("|---|---|---:|---:|---:|---:|")
    for head, row in found.items():
        for kind in ("training", "reading"):
            apart, own = row[kind]["transformer"], row[kind]["head"]
            lines.append(
                f"| {head} | {kind} | {apart:.3f} | {own:.3f} | {own / (apart + own):.0%} | "
                f"{row['tokens'] / own:,.0f} |"
            )
    return lines


def main(
    decoder: Annotated[Path, typer.Argument(help="The decoder's folder")],
    quantization: str = "none",
    dtype: str = "float32",
    sentences: Annotated[int, typer.Option(help="Of a step")] = 32,
    rounds: Annotated[int, typer.Option(help="Steps, after one to warm up")] = 5,
    threads: Annotated[int, typer.Option(help="Of torch; 0 for its default")] = 1,
) -> None:
    """Measure and print a table, and the figures as JSON."""
    if threads:
        torch.set_num_threads(threads)
    found = measure_heads(decoder.absolute(), quantization, sentences, rounds, dtype)
    print("\n".join(print_heads(found)), json.dumps(found), sep="\n\n")


if __name__ == "__main__":
    typer.run(main)
