"""F1 of the demo's two pipelines, and of variants of them, on the test parts.

    python benchmarks/demo_scores.py --output demo_scores.json

Variants: the pattern of the demo and cccc, NF4 + LoRA and all weights trained, the pretrained
decoder and one with random weights. Settings come from project.yml; corpora must be converted
(`python -m spacy project run convert`).
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import srsly
import typer
from tqdm import tqdm

from spacy_lgu.replacing import replace_file
from spacy_lgu.study.untrained import make_untrained

TASKS = {"ner": ("ner", "ents_f", ""), "spancat": ("reviews", "spans_sc_f", "spancat_")}
LORA = {"quantization": "nf4", "tuning": "lora"}
FULL = {"quantization": "none", "tuning": "full"}
# Learning rates of the two, as project.yml has them for one task each.
RATES = {"lora": "learn_rate", "full": "spancat_learn_rate"}


def variants(task: str, project: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Names and settings of the runs for one task, the demo's own first."""
    prefix = TASKS[task][2]
    demo = {
        "decoder": project["decoder"],
        "unmasking": project["unmasking"],
        "quantization": project[f"{prefix}quantization"],
        "tuning": project[f"{prefix}tuning"],
    }
    other = FULL if demo["tuning"] == "lora" else LORA
    return {
        "demo": demo,
        "pattern cccc": {**demo, "unmasking": "cccc"},
        "pattern bbbb": {**demo, "unmasking": "bbbb"},
        f"{other['tuning']} instead of {demo['tuning']}": {**demo, **other},
        "untrained decoder": {**demo, "decoder": "untrained"},
        f"untrained decoder, {other['tuning']}": {**demo, **other, "decoder": "untrained"},
    }


def run_variant(task: str, settings: dict[str, Any], project: dict[str, Any], seed: int) -> dict:
    """Train and evaluate one variant in processes of their own."""
    corpus, key, prefix = TASKS[task]
    steps = project[f"{prefix}max_steps"]
    overrides = {
        "system.seed": seed,
        "paths.decoder": settings["decoder"],
        "components.transformer.model.unmasking": settings["unmasking"],
        "components.transformer.model.quantization": settings["quantization"],
        "components.transformer.model.tuning": settings["tuning"],
        "components.transformer.model.lora.modules": project["lora_modules"],
        "components.transformer.model.lora.rank": project["lora_rank"],
        "components.transformer.model.lora.alpha": project["lora_alpha"],
        "training.optimizer.learn_rate.initial_rate": project[RATES[settings["tuning"]]],
        "training.optimizer.learn_rate.total_steps": steps,
        "training.optimizer.learn_rate.warmup_steps": project["warmup_steps"],
        "training.batcher.size": project["batch_size"],
        "training.max_steps": steps,
        "training.eval_frequency": project["eval_frequency"],
    }
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "spacy"]
        arguments = [f"--{name}={value}" for name, value in overrides.items()]
        start = time.perf_counter()
        subprocess.run(
            [*command, "train", f"configs/lgu_mistral_{task}.cfg", "-o", place, *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        seconds = time.perf_counter() - start
        subprocess.run(
            [
                *(*command, "evaluate", f"{place}/model-best", f"corpus/{corpus}/test.spacy"),
                *("--output", f"{place}/scores.json"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        scores = json.loads(Path(place, "scores.json").read_text())
    return {"f1": 100 * scores[key], "seconds": seconds}


def main(
    output: Annotated[Path | None, typer.Option(help="JSON file to write")] = None,
    task: Annotated[list[str] | None, typer.Option(help="ner, spancat")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Names of variants")] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each variant")] = 1,
) -> None:
    """Run the variants and print a table."""
    project = srsly.read_yaml("project.yml")["vars"]
    results: dict[str, dict[str, list[dict]]] = {}
    with tempfile.TemporaryDirectory() as place:
        untrained = Path(place) / "untrained"
        make_untrained(project["decoder"], untrained)
        for name in task or list(TASKS):
            results[name] = {}
            for variant, settings in tqdm(variants(name, project).items(), desc=name):
                if only and variant not in only:
                    continue
                if settings["decoder"] == "untrained":
                    settings = {**settings, "decoder": str(untrained)}
                runs = [run_variant(name, settings, project, seed) for seed in range(seeds)]
                results[name][variant] = runs
                scores = ", ".join(f"{run['f1']:.1f}" for run in runs)
                tqdm.write(f"{name:<8} {variant:<32} F1 {scores:<20} {runs[0]['seconds']:.0f} s")
                if output is not None:
                    replace_file(output, json.dumps(results, indent=2).encode("utf8") + b"\n")


if __name__ == "__main__":
    typer.run(main)
