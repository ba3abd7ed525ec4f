"""The runs of a study: conversion, then training and evaluation in processes of their own."""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import spacy
import torch
from filelock import FileLock
from spacy.tokens import DocBin
from study_evaluate import read_gold, take_spans
from study_plan import PARTS, Study, System, Task
from untrained import make_untrained

from spacy_lgu.cli.convert import convert_cli
from spacy_lgu.decoder.source import find_source
from spacy_lgu.replacing import replace_folder

ROOT = Path(__file__).parents[1]
_MODEL_FILES = {".safetensors", ".bin", ".json", ".model", ".txt"}
BITS_PER_BYTE = "bits per byte"


class RunError(Exception):
    """A process of a run failed; the message names its log."""


@dataclass(frozen=True)
class Run:
    """One training and its evaluation.

    pattern (str | None): Of the decoder; None for encoders without.
    """

    task: Task
    system: System
    pattern: str | None
    seed: int

    @property
    def key(self) -> dict[str, Any]:
        """What tells runs of one study apart, as in their results."""
        return {
            "task": self.task.name,
            "system": self.system.name,
            "pattern": self.pattern,
            "seed": self.seed,
        }

    def __str__(self) -> str:
        return " ".join(str(value) for value in self.key.values() if value is not None)


@dataclass(frozen=True)
class Decoder:
    """A decoder that is at hand.

    name (str): Folder, or name on the hub: what the config gets.
    identity (str): Digest of its files, or its commit on the hub.
    bits_per_byte (float | None): On its validation text, if its training.json tells.
    """

    name: str
    identity: str
    bits_per_byte: float | None = None


def find_files(task: Task, data: Path) -> dict[str, list[Path]]:
    """The raw files of a task by part. Raises FileNotFoundError for patterns without files."""
    if isinstance(task.files, dict):
        return {part: _glob(data, pattern) for part, pattern in task.files.items()}
    files = sorted(_glob(data, task.files), key=_leading_number)
    digits = {digit: part for part, digit in (task.tenths or {}).items()}
    parts: dict[str, list[Path]] = {part: [] for part in PARTS}
    for place, file in enumerate(files):
        parts[digits.get(place % 10, "train")].append(file)
    return parts


def convert_task(task: Task, data: Path, target: Path) -> None:
    """Write train.spacy, dev.spacy and test.spacy.

    task (Task): The task.
    data (Path): Folder of the raw files.
    target (Path): Folder to write.
    """
    files = find_files(task, data)

    def write(folder: Path) -> None:
        for part, inputs in files.items():
            output = folder / f"{part}.spacy"
            if task.convert is None:
                if len(inputs) != 1 or inputs[0].suffix != ".spacy":
                    raise ValueError(
                        f"Task {task.name}: without convert, expected one .spacy file for {part}, "
                        f"but got {', '.join(map(str, inputs))}."
                    )
                shutil.copyfile(inputs[0], output)
                continue
            options = dict(task.convert)
            if task.hold_out is not None and part == "train":
                options |= {"hold_out": str(task.hold_out), "hold_out_to": folder / "dev.spacy"}
            convert_cli(inputs, output, options.pop("format"), **options)

    replace_folder(target, write)  # or parts of two conversions could have texts in common


def check_corpus(task: Task, corpus: Path, limit: int) -> None:
    """Raise ValueError for what would come out only after training: parts without a span for the
    head, test texts that are not annotated.

    task (Task): The task.
    corpus (Path): Folder with the three parts.
    limit (int): Texts of each part; 0: all.
    """
    nlp = spacy.blank("en")
    for part in PARTS:
        file = corpus / f"{part}.spacy"
        docs = islice(DocBin().from_disk(file).get_docs(nlp.vocab), limit or None)
        if not any(take_spans(doc, task.spans_key) for doc in docs):
            place = "doc.ents" if task.spans_key is None else f"doc.spans[{task.spans_key!r}]"
            raise ValueError(
                f"{file}: there is no span in {place}, where the head {task.head} of task "
                f"{task.name} looks. Convert with target: "
                f"{'ents' if task.spans_key is None else 'spans'}, or choose another head."
            )
    # The threshold of a span categorizer is found on dev.
    for part in ("test",) if task.spans_key is None else ("dev", "test"):
        read_gold(nlp, corpus / f"{part}.spacy", limit, task.spans_key)


def list_runs(study: Study, seeds: int) -> list[Run]:
    """All runs, seed by seed, without decoders that are not at hand."""
    return [
        Run(task, system, pattern, seed)
        for seed in range(seeds)
        for task in study.tasks.values()
        for system in study.systems.values()
        if system.decoder is None or study.decoders[system.decoder] is not None
        for pattern in (system.patterns or [None])
    ]


def find_decoder(system: System, study: Study, work: Path) -> Decoder | None:
    """The decoder of a system; one with random weights is written first.

    system (System): The system.
    study (Study): Whose decoders are meant.
    work (Path): Folder for decoders with random weights.
    RETURNS (Decoder | None): None if the system has none. Raises ValueError or OSError if it
        cannot be found.
    """
    name = study.decoders[system.decoder] if system.decoder is not None else None
    if name is None:
        return None
    source = find_source(name, system.overrides.get("paths.revision"))
    identity = source.commit or digest_folder(Path(name))
    if system.untrained:
        folder = work / "untrained" / identity
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.exists():
                make_untrained(name, folder, revision=source.commit)
        return Decoder(str(folder), f"untrained {identity}")
    training = Path(name).expanduser() / "training.json"
    record = json.loads(training.read_text(encoding="utf8")) if training.is_file() else {}
    bits = record["history"][-1][3] if record.get("metric") == BITS_PER_BYTE else None
    return Decoder(name, identity, bits)


def make_overrides(
    run: Run, study: Study, corpus: Path, decoder: Decoder | None, limit: int
) -> dict[str, Any]:
    """What a run changes in its config.

    run (Run): The run.
    study (Study): For what is the same in all.
    corpus (Path): Folder with train.spacy and dev.spacy.
    decoder (Decoder | None): The decoder.
    limit (int): Texts of each part; 0: all.
    RETURNS (dict[str, Any]): Values by dotted name; for instruction tuning by option.
    """
    encoder, head = run.system.encoder, run.task.head
    finder = ["span_finder"] if head == "spancat_found" else []
    cleaner = [] if encoder == "cnn" else ["doc_cleaner"]
    steps = count_steps(run.task, study, count_texts(corpus / "train.spacy", limit))
    if encoder == "instruction":
        common = {"steps": steps, "batch": study.training.batch, "warmup": study.training.warmup}
        return {**common, "limit": limit, **run.system.overrides}
    overrides = {
        "paths.train": str(corpus / "train.spacy"),
        "paths.dev": str(corpus / "dev.spacy"),
        "system.seed": run.seed,
        "nlp.pipeline": [encoder, *finder, head, *cleaner],
        # Training needs the candidates, too, and the finder what the encoder annotates.
        "training.annotating_components": [encoder, *finder] if finder else [],
        "head.listener": f"${{listeners.{encoder}}}",
        "corpora.train.limit": limit,
        "corpora.dev.limit": limit,
        "training.batcher.size": study.training.batch,
        "training.max_steps": steps,
        "training.eval_frequency": max(1, steps // study.training.evaluations),
        "training.optimizer.learn_rate.total_steps": steps,
        "training.optimizer.learn_rate.warmup_steps": int(steps * study.training.warmup),
    }
    if decoder is not None:
        overrides |= {
            "paths.decoder": decoder.name,
            "components.decoder.model.unmasking": run.pattern,
        }
    return {**overrides, **run.task.overrides, **run.system.overrides}


def count_texts(path: Path, limit: int) -> int:
    """Texts of a .spacy file, at most as many as the limit unless that is 0."""
    n_texts = len(DocBin().from_disk(path))
    return min(n_texts, limit) if limit else n_texts


def count_steps(task: Task, study: Study, n_texts: int) -> int:
    """Training steps of every system of a task."""
    if task.max_steps is not None:
        return task.max_steps
    return (task.epochs or 0) * -(-n_texts // study.training.batch)


def find_settings(
    run: Run, study: Study, corpus: Path, overrides: dict[str, Any], decoder: Decoder | None
) -> str:
    """A digest of all that a run depends on, its seed excepted: equal digests, same experiment."""
    changing = ("paths.train", "paths.dev", "paths.decoder", "system.seed")
    files = [ROOT / run.system.config, *(corpus / f"{part}.spacy" for part in PARTS)]
    # Adapters, for instance, or another encoder.
    folders = {
        key: digest_folder(Path(value))
        for key, value in overrides.items()
        if key not in changing and isinstance(value, str) and Path(value).expanduser().is_dir()
    }
    return _digest(
        {
            "overrides": {k: v for k, v in overrides.items() if k not in changing},
            "files": [hashlib.md5(file.read_bytes()).hexdigest() for file in files],
            "decoder": decoder and decoder.identity,
            "folders": folders,
            "checkpoint": study.training.checkpoint,
        }
    )


def find_conditions(study: Study, corpus: Path, overrides: dict[str, Any], limit: int) -> str:
    """A digest of what runs must have in common to be compared: corpus, batches and steps."""
    return _digest(
        {
            "files": [
                hashlib.md5((corpus / f"{part}.spacy").read_bytes()).hexdigest() for part in PARTS
            ],
            "training": study.training.__dict__,
            "steps": overrides.get("training.max_steps", overrides.get("steps")),
            "limit": limit,
        }
    )


def execute(
    run: Run,
    study: Study,
    corpus: Path,
    place: Path,
    overrides: dict[str, Any],
    decoder: Decoder | None,
    *,
    limit: int,
    gpu_id: int,
    keep: bool,
) -> dict[str, Any]:
    """Train and evaluate.

    run (Run): The run.
    study (Study): For which checkpoint is evaluated.
    corpus (Path): Folder with the three parts.
    place (Path): Folder for logs, scores and checkpoints; what is there is deleted.
    overrides (dict[str, Any]): From make_overrides.
    decoder (Decoder | None): The decoder.
    limit (int): Texts of each part; 0: all.
    gpu_id (int): GPU, -1 for none.
    keep (bool): Keep the checkpoints.
    RETURNS (dict[str, Any]): The figures. Raises RunError naming the log if a process fails.
    """
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    gpu = ["--gpu-id", str(gpu_id)]
    arguments = [f"--{name}={_spell(value)}" for name, value in overrides.items()]
    config = str(ROOT / run.system.config)
    scores = place / "scores.json"
    key = [] if run.task.spans_key is None else ["--spans-key", run.task.spans_key]
    if run.system.encoder == "instruction" and decoder is not None:
        parts = [str(corpus / f"{part}.spacy") for part in ("train", "test")]
        seed = ["--seed", str(run.seed)]
        _call([config, decoder.name, *parts, str(scores), *arguments, *seed, *key, *gpu],
              place / "train.log")  # fmt: skip
        return json.loads(scores.read_text(encoding="utf8"))
    start = time.perf_counter()
    _call(
        ["-m", "spacy", "train", config, "--output", str(place), *gpu, *arguments],
        place / "train.log",
    )
    minutes = (time.perf_counter() - start) / 60
    model = place / f"model-{study.training.checkpoint}"
    n_bytes = sum(file.stat().st_size for file in model.rglob("*") if file.is_file())
    options = ["--limit", str(limit), *key, *gpu]
    if run.task.head in ("spancat", "spancat_found"):
        options += ["--threshold-of", run.task.head, "--dev", str(corpus / "dev.spacy")]
    script = str(Path(__file__).with_name("study_evaluate.py"))
    _call([script, str(model), str(corpus / "test.spacy"), str(scores), *options],
          place / "evaluate.log")  # fmt: skip
    if not keep:
        for checkpoint in place.glob("model-*"):
            shutil.rmtree(checkpoint)
    return {
        **json.loads(scores.read_text(encoding="utf8")),
        "train_minutes": minutes,
        "checkpoint_bytes": n_bytes,
    }


def describe_machine(gpu_id: int) -> dict[str, Any]:
    """What the times depend on."""
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        named = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
        cpu = named.group(1) if named else cpu
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    packages = ("torch", "spacy", "spacy-transformers", "transformers")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gib": round(memory / 2**30),
        "gpu": torch.cuda.get_device_name(gpu_id) if gpu_id >= 0 else None,
        **{name: version(name) for name in packages},
    }


def find_commit() -> str | None:
    """The commit of the working tree, with -dirty if files differ; None if it is not under git."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    if shutil.which("git") is None:
        return None
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else None


def digest_folder(folder: Path) -> str:
    """A digest of the weights, configs and tokenizer files of a model's folder."""
    folder = folder.expanduser()
    return _digest(
        {
            str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted(folder.rglob("*"))
            if file.suffix in _MODEL_FILES and file.is_file()
        }
    )


def _call(arguments: list[str], log: Path) -> None:
    with log.open("w", encoding="utf8") as stream:
        process = subprocess.run(
            [sys.executable, *arguments], stdout=stream, stderr=subprocess.STDOUT, check=False
        )
    if process.returncode != 0:
        lines = log.read_text(encoding="utf8").strip().splitlines()
        raise RunError(f"see {log}, which ends with: {lines[-1] if lines else 'nothing'}")


def _spell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("utf8")).hexdigest()[:12]


def _glob(data: Path, pattern: str) -> list[Path]:
    files = sorted(data.glob(pattern)) if data.is_dir() else []
    if not files:
        raise FileNotFoundError(f"There is no file {pattern} in the folder {str(data)!r}.")
    return files


def _leading_number(file: Path) -> int:
    number = re.match(r"\d+", file.name)
    if number is None:
        raise ValueError(f"{file}: tenths need names that begin with a number.")
    return int(number.group())
