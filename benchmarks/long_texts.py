"""F1 on longer and longer texts, of pipelines trained on sentences and on joined texts.

    python -m spacy lgu study convert --task conll2003,litbank-events --data FOLDER
    python -m benchmarks.long_texts

Both read the same texts, and as many subtokens: only the borders of the texts differ. Joined texts
fill batches less well, so that there are more steps of them. The test part is scored as it is, and
with neighbouring texts joined.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import spacy
import typer
from spacy.util import load_config, registry

from spacy_lgu.decoder.source import find_source, load_tokenizer
from spacy_lgu.layers.tokenizing import count_subtokens
from spacy_lgu.replacing import replace_file
from spacy_lgu.study.plan import CONFIG

LENGTHS = (32, 128, 512, 2048)


def make_config(
    corpus: Path, overrides: dict[str, Any], *, max_length: int | None, size: int
) -> dict[str, Any]:
    """The study's config on texts that are joined, or not.

    corpus (Path): Folder with train.spacy and dev.spacy.
    overrides (dict[str, Any]): Values by dotted name.
    max_length (int | None): Most tokens of a joined text, None: as in the corpus.
    size (int): Subtokens of a batch.
    RETURNS (dict[str, Any]): The config.
    """
    paths = {"paths.train": str(corpus / "train.spacy"), "paths.dev": str(corpus / "dev.spacy")}
    config = load_config(CONFIG, overrides={**paths, **overrides})
    config["training"]["batcher"] = {
        "@batchers": "spacy-lgu.batch_by_subtokens.v1",
        "size": size,
        "name": "${paths.decoder}",
    }
    if max_length is not None:
        config["corpora"]["train"] = {
            "@readers": "spacy-lgu.join_texts.v1",
            "corpus": config["corpora"]["train"],
            "max_length": max_length,
            "level": 0.5,
            "seed": "${system.seed}",
        }
    return config


def measure_batches(config: Any, decoder: str) -> float:
    """RETURNS (float): Mean number of subtokens of a training batch."""
    filled = config.interpolate()
    parts = {"corpus": filled["corpora"]["train"], "batcher": filled["training"]["batcher"]}
    resolved = registry.resolve(parts)
    examples = list(resolved["corpus"](spacy.blank("en")))
    tokenizer = load_tokenizer(find_source(decoder), {})
    n_subtokens = sum(count_subtokens([example.predicted for example in examples], tokenizer))
    return n_subtokens / len(list(resolved["batcher"](examples)))


def run(config: Any, test: Path, limit: int) -> dict[str, Any]:
    """Train and score in processes of their own."""
    with tempfile.TemporaryDirectory() as place:
        config.to_disk(f"{place}/config.cfg")
        spacy = [sys.executable, "-m", "spacy"]
        train = [*spacy, "train", f"{place}/config.cfg", "--output", place]
        subprocess.run(train, check=True, stdout=subprocess.DEVNULL)
        join, output = ",".join(map(str, LENGTHS)), f"{place}/scores.json"
        evaluate = ["lgu", "evaluate", f"{place}/model-last", str(test), "--join", join]
        subprocess.run(
            [*spacy, *evaluate, "--output", output, "--limit", str(limit)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        scores = json.loads(Path(output).read_text(encoding="utf8"))
    return {"as they are": scores["f1"], **{str(e["join"]): e["f1"] for e in scores["joined"]}}


def main(
    corpora: Annotated[Path, typer.Option(help="Folder of the converted corpora")] = Path(
        "corpus/benchmark"
    ),
    task: Annotated[str, typer.Option(help="Names with commas")] = "conll2003,litbank-events",
    decoder: Annotated[str, typer.Option(help="Folder, or name on the hub")] = "assets/decoder",
    unmasking: Annotated[str, typer.Option(help="Patterns with commas")] = "ccbb",
    max_length: Annotated[int, typer.Option(help="Most tokens of a joined text")] = 512,
    size: Annotated[int, typer.Option(help="Subtokens of a batch")] = 1024,
    steps: Annotated[int, typer.Option(help="Training steps on sentences")] = 600,
    learn_rate: Annotated[float, typer.Option(help="The highest")] = 0.0005,
    seeds: Annotated[int, typer.Option(help="Runs of each")] = 2,
    limit: Annotated[int, typer.Option(help="Texts of each part; 0: all")] = 0,
    output: Annotated[Path | None, typer.Option(help="JSON file to write")] = None,
) -> None:
    """Print a table, a line per run."""
    columns = ["as they are", *map(str, LENGTHS)]
    print(
        f"{'task':<16} {'pattern':<8} {'trained on':<12} {'seed':>4} {'steps':>6}",
        *(f"{c:>11}" for c in columns),
    )
    results = []
    kinds = {"sentences": None, "joined": max_length}
    for seed in range(seeds):
        for name in task.split(","):
            values = {
                "paths.decoder": decoder,
                "system.seed": seed,
                "corpora.train.limit": limit,
                "corpora.dev.limit": limit or 400,
                "training.optimizer.learn_rate.initial_rate": learn_rate,
            }
            filled = {
                kind: measure_batches(
                    make_config(corpora / name, values, max_length=length, size=size), decoder
                )
                for kind, length in kinds.items()
            }
            for pattern in unmasking.split(","):
                for kind, length in kinds.items():
                    own_steps = round(steps * filled["sentences"] / filled[kind])
                    overrides = {
                        **values,
                        "components.decoder.model.unmasking": pattern,
                        "training.max_steps": own_steps,
                        "training.eval_frequency": own_steps,
                        "training.optimizer.learn_rate.total_steps": own_steps,
                        "training.optimizer.learn_rate.warmup_steps": own_steps // 10,
                    }
                    config = make_config(corpora / name, overrides, max_length=length, size=size)
                    f1 = run(config, corpora / name / "test.spacy", limit)
                    print(
                        f"{name:<16} {pattern:<8} {kind:<12} {seed:>4} {own_steps:>6}",
                        *(f"{f1[column]:>11.2f}" for column in columns),
                        flush=True,
                    )
                    key = {"task": name, "pattern": pattern, "trained_on": kind, "seed": seed}
                    results.append({**key, "steps": own_steps, "f1": f1})
                    if output is not None:
                        replace_file(output, json.dumps(results, indent=2).encode("utf8") + b"\n")


if __name__ == "__main__":
    typer.run(main)
