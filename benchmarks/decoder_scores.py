"""F1 of spaCy's entity recognizer on decoders and patterns, all weights trained.

    python benchmarks/decoder_scores.py train.spacy dev.spacy --output scores.jsonl \
        --system pretrained=assets/decoder@cccc,cccb,ccbb,bbbb --system untrained@ccbb,bbbb \
        --system cnn

A system is NAME=DECODER@PATTERNS. "untrained" is the first decoder with random weights, "cnn"
spaCy's own tok2vec (MultiHashEmbed and MaxoutWindowEncoder, width 96, depth 4), trained from
scratch. Every system gets the same head (TransitionBasedParser.v2, hidden width 64, mean
pooling), epochs, batches of 32 texts, and thinc's Adam with 10 % warm-up and linear decay; with
--adamw, the decoder is stepped by spacy-lgu.adamw.v1 at the same rate instead.

Finished runs are in the output, a line each, and not repeated: an interrupted call goes on.
"""

import hashlib
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated, Any

import spacy
import typer
from results import append_result, read_results
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy.util import minibatch
from thinc.api import Adam, fix_random_seed, warmup_linear
from tqdm import tqdm
from untrained import make_untrained

BATCH = 32
CNN = {
    "@architectures": "spacy.Tok2Vec.v2",
    "embed": {
        "@architectures": "spacy.MultiHashEmbed.v2",
        "width": 96,
        "attrs": ["NORM", "PREFIX", "SUFFIX", "SHAPE"],
        "rows": [5000, 1000, 2500, 2500],
        "include_static_vectors": False,
    },
    "encode": {
        "@architectures": "spacy.MaxoutWindowEncoder.v2",
        "width": 96,
        "depth": 4,
        "window_size": 1,
        "maxout_pieces": 3,
    },
}
LISTENER = {
    "@architectures": "spacy-transformers.TransformerListener.v1",
    "grad_factor": 1.0,
    "pooling": {"@layers": "reduce_mean.v1"},
    "upstream": "*",
}


@dataclass(frozen=True)
class System:
    """What is compared: a decoder under a pattern, or spaCy's CNN (no decoder)."""

    name: str
    decoder: str | None
    pattern: str

    def __str__(self) -> str:
        return f"{self.name} {self.pattern}".strip()


def parse_systems(entries: list[str]) -> list[System]:
    """The systems of --system, in order."""
    systems = []
    for entry in entries:
        if entry == "cnn":
            systems.append(System("cnn", None, ""))
            continue
        source, _, patterns = entry.partition("@")
        name, _, decoder = source.partition("=")
        if not patterns or not (decoder or name == "untrained"):
            raise typer.BadParameter(f"{entry!r}: expected NAME=DECODER@PATTERN,..., or cnn")
        systems += [System(name, decoder or None, pattern) for pattern in patterns.split(",")]
    return systems


def make_pipeline(system: System, examples: list[Example], *, adamw: bool = False) -> Language:
    """An initialized pipeline."""
    nlp = spacy.blank("en")
    if system.decoder is not None:
        model = {
            "@architectures": "spacy-lgu.LGUTransformer.v1",
            "name": system.decoder,
            "unmasking": system.pattern,
            "quantization": "none",
            "tuning": "full",
            "get_spans": {"@span_getters": "spacy-transformers.doc_spans.v1"},
            "optimizer": {"@misc": "spacy-lgu.adamw.v1"} if adamw else None,
        }
        nlp.add_pipe("lgu_transformer", name="transformer", config={"model": model})
    head = {
        "@architectures": "spacy.TransitionBasedParser.v2",
        "state_type": "ner",
        "extra_state_tokens": False,
        "hidden_width": 64,
        "maxout_pieces": 2,
        "use_upper": False,
        "tok2vec": CNN if system.decoder is None else LISTENER,
    }
    nlp.add_pipe("ner", config={"model": head})
    nlp.initialize(lambda: examples)
    return nlp


def train(nlp: Language, examples: list[Example], *, epochs: int, rate: float, seed: int) -> None:
    """Train every weight, stepping the pipes as `spacy train` does: once all have run."""
    n_steps = epochs * -(-len(examples) // BATCH)
    optimizer = Adam(warmup_linear(rate, n_steps // 10, n_steps))
    order = random.Random(seed)
    for _ in range(epochs):
        order.shuffle(examples)
        for batch in minibatch(examples, BATCH):
            nlp.update(batch, sgd=False, drop=0.1)
            for _, pipe in nlp.pipeline:
                pipe.finish_update(optimizer)
            optimizer.step_schedules()


def run(
    system: System, train_docs: list[Doc], dev_docs: list[Doc], *, options: dict[str, Any]
) -> dict[str, Any]:
    """Train and evaluate one system with one seed. RETURNS (dict): Scores and seconds."""
    fix_random_seed(options["seed"])
    examples = [Example(Doc(d.vocab, list(map(str, d))), d) for d in train_docs]
    nlp = make_pipeline(system, examples, adamw=options["adamw"])
    start = time.perf_counter()
    train(nlp, examples, **{name: options[name] for name in ("epochs", "rate", "seed")})
    seconds = time.perf_counter() - start
    gold = [Example(Doc(nlp.vocab, list(map(str, doc))), doc) for doc in dev_docs]
    for example, doc in zip(gold, nlp.pipe([e.predicted for e in gold]), strict=True):
        example.predicted = doc
    f1, first = (100 * nlp.get_pipe("ner").score(part)["ents_f"] for part in (gold, gold[:1000]))
    return {"f1": f1, "f1_first_1000": first, "seconds": seconds}


def digest(*contents: bytes) -> str:
    """What tells experiments apart, their seed and system's name excepted."""
    found = hashlib.sha256()
    for content in contents:
        found.update(hashlib.sha256(content).digest())
    return found.hexdigest()[:12]


def identify(decoder: str | Path | None) -> list[bytes]:
    """The content of a decoder's folder, its name on the hub, or nothing."""
    if decoder is None:
        return []
    files = sorted(Path(decoder).glob("*.safetensors"))
    return [file.read_bytes() for file in files] or [str(decoder).encode()]


def print_table(results: list[dict[str, Any]]) -> None:
    """A row per system: F1, mean and sample standard deviation over seeds."""
    print("| system | dev F1 | stdev | first 1,000 | seeds | train s |\n|---|---|---|---|---|---|")
    for system in dict.fromkeys(entry["system"] for entry in results):
        runs = [entry for entry in results if entry["system"] == system]
        scores = [entry["f1"] for entry in runs]
        spread = f"{stdev(scores):.1f}" if len(scores) > 1 else "-"
        first, seconds = (mean(e[key] for e in runs) for key in ("f1_first_1000", "seconds"))
        print(
            f"| {system} | {mean(scores):.1f} | {spread} | {first:.1f} | {len(runs)} "
            f"| {seconds:.0f} |"
        )


def main(
    train_file: Annotated[Path, typer.Argument(help=".spacy, one sentence per Doc")],
    dev_file: Annotated[Path, typer.Argument(help=".spacy")],
    output: Annotated[Path, typer.Option(help="JSON lines, a run each; continued if it exists")],
    system: Annotated[list[str], typer.Option(help="NAME=DECODER@PATTERN,... or cnn")],
    seeds: Annotated[int, typer.Option(help="Runs of each system")] = 3,
    epochs: int = 1,
    rate: Annotated[float, typer.Option(help="Highest learning rate")] = 1e-3,
    limit: Annotated[int, typer.Option(help="Training texts; 0: all")] = 0,
    adamw: Annotated[bool, typer.Option("--adamw", help="Step decoders by our optimizer")] = False,
) -> None:
    """Run what is not in the output yet, seed by seed, and print the table."""
    systems = parse_systems(system)
    vocab = spacy.blank("en").vocab
    docs = [list(DocBin().from_disk(file).get_docs(vocab)) for file in (train_file, dev_file)]
    train_docs, dev_docs = docs[0][: limit or None], docs[1]
    with tempfile.TemporaryDirectory() as place:
        trained = [s.decoder for s in systems if s.decoder is not None]
        untrained = Path(place) / "untrained"
        if trained:
            make_untrained(trained[0], untrained)
        shown: set[str] = set()
        jobs = [(seed, s) for seed in range(seeds) for s in systems]
        for seed, chosen in tqdm(jobs, unit="run"):
            is_adamw = adamw and chosen.name != "cnn"
            settings = digest(
                *(file.read_bytes() for file in (train_file, dev_file)),
                *identify(chosen.decoder if chosen.name != "untrained" else untrained),
                f"{epochs} {rate} {limit}{' adamw' if is_adamw else ''}".encode(),
            )
            shown.add(settings)
            entry = {"system": str(chosen), "seed": seed, "epochs": epochs, "rate": rate}
            entry |= {"limit": limit, "adamw": is_adamw, "settings": settings}
            if any(entry.items() <= done.items() for done in read_results(output)):
                continue
            if chosen.name == "untrained":
                chosen = System("untrained", str(untrained), chosen.pattern)
            options = {"epochs": epochs, "rate": rate, "seed": seed, "adamw": is_adamw}
            entry |= run(chosen, train_docs, dev_docs, options=options)
            append_result(output, entry)
            tqdm.write(f"{entry['system']}, seed {seed}: F1 {entry['f1']:.1f}")
    print_table([done for done in read_results(output) if done["settings"] in shown])


if __name__ == "__main__":
    typer.run(main)
