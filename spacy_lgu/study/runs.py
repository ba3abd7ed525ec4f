"""The runs of a study: their overrides, and what tells one experiment from another."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from ..decoder.hashes import hash_once
from ..decoder.source import find_source
from ..inputs import named_path
from .plan import PARTS, Study, System, Task
from .tasks import count_texts
from .untrained import make_untrained

_MODEL_FILES = {".safetensors", ".bin", ".json", ".model", ".txt"}
_BITS_PER_BYTE = "bits per byte"


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
    bits_per_byte (float | None): On its validation text, if its training.json says.
    """

    name: str
    identity: str
    bits_per_byte: float | None = None


@dataclass(frozen=True)
class Job:
    """A run with all that it depends on, as its files are now.

    corpus (Path): Folder with the three parts.
    overrides (dict[str, Any]): From make_overrides.
    decoder (Decoder | None): The decoder.
    limit (int): Texts of each part; 0: all.
    settings (str): From find_settings.
    """

    run: Run
    corpus: Path
    overrides: dict[str, Any]
    decoder: Decoder | None
    limit: int
    settings: str

    @property
    def key(self) -> dict[str, Any]:
        """What its line among the results begins with."""
        return {**self.run.key, "limit": self.limit, "settings": self.settings}

    @property
    def steps(self) -> int:
        """Training steps."""
        return take_steps(self.overrides)

    def find_done(self, results: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
        """Its line among the results, None if it has to be run."""
        key = self.key.items()
        return next((line for line in results if key <= line.items()), None)


def list_runs(study: Study, seeds: int) -> list[Run]:
    """All runs, seed by seed, without those whose decoder is not at hand."""
    return [
        Run(task, system, pattern, seed)
        for seed in range(seeds)
        for task in study.tasks.values()
        for system in study.systems.values()
        if system.decoder is None or study.decoders[system.decoder] is not None
        for pattern in system.patterns or (None,)
    ]


def find_decoder(system: System, study: Study, work: Path) -> Decoder | None:
    """Find the decoder of a system. One with random weights is not there before write_untrained.

    system (System): The system.
    study (Study): Names the decoders.
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
        return Decoder(str(work / "untrained" / identity), f"untrained {identity}")
    training = named_path(name) / "training.json"
    record = json.loads(training.read_text(encoding="utf8")) if training.is_file() else {}
    bits = record["history"][-1][3] if record.get("metric") == _BITS_PER_BYTE else None
    return Decoder(name, identity, bits)


def write_untrained(system: System, study: Study, decoder: Decoder | None) -> None:
    """Write the decoder of a system with random weights, unless it is there.

    system (System): The system; nothing is written if it takes trained weights.
    study (Study): Names the decoders.
    decoder (Decoder | None): From find_decoder.
    """
    name = study.decoders[system.decoder] if system.decoder is not None else None
    if not system.untrained or decoder is None or name is None:
        return
    folder = Path(decoder.name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            revision = system.overrides.get("paths.revision")
            make_untrained(name, folder, revision=find_source(name, revision).commit)


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
        # Training needs the candidates as well, and the finder what the encoder annotates.
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


def count_steps(task: Task, study: Study, n_texts: int) -> int:
    """Training steps of every system of a task."""
    if task.max_steps is not None:
        return task.max_steps
    return (task.epochs or 0) * -(-n_texts // study.training.batch)


def take_steps(overrides: dict[str, Any]) -> int:
    """The training steps among what a run changes."""
    steps: int = overrides["training.max_steps" if "training.max_steps" in overrides else "steps"]
    return steps


def make_job(run: Run, study: Study, corpora: Path, decoder: Decoder | None, limit: int) -> Job:
    """A run with all that it depends on.

    run (Run): The run.
    study (Study): For what is the same in all.
    corpora (Path): Folder of the converted corpora.
    decoder (Decoder | None): The decoder of its system.
    limit (int): Texts of each part; 0: all.
    RETURNS (Job): The job.
    """
    corpus = corpora / run.task.name
    overrides = make_overrides(run, study, corpus, decoder, limit)
    settings = find_settings(run, study, corpus, overrides, decoder)
    return Job(run, corpus, overrides, decoder, limit, settings)


def find_settings(
    run: Run, study: Study, corpus: Path, overrides: dict[str, Any], decoder: Decoder | None
) -> str:
    """A digest of all that a run depends on, its seed excepted: equal digests, same experiment."""
    changing = ("paths.train", "paths.dev", "paths.decoder", "system.seed")
    # Adapters, vectors, another encoder.
    named = {
        key: digest
        for key, value in overrides.items()
        if key not in changing and (digest := digest_named(value))
    }
    return _digest(
        {
            "overrides": {k: v for k, v in overrides.items() if k not in changing},
            "files": [_digest_file(run.system.config), *_digest_corpus(corpus)],
            "decoder": decoder and decoder.identity,
            "folders": named,
            "checkpoint": study.training.checkpoint,
        }
    )


def find_conditions(study: Study, corpus: Path, overrides: dict[str, Any], limit: int) -> str:
    """A digest of what runs must have in common to be compared: corpus, batches and steps."""
    return _digest(
        {
            "files": _digest_corpus(corpus),
            "training": study.training.__dict__,
            "steps": take_steps(overrides),
            "limit": limit,
        }
    )


def digest_folder(folder: Path) -> str:
    """A digest of the weights, configs and tokenizer files of a model's folder."""
    folder = named_path(folder)
    files = [
        file for file in sorted(folder.rglob("*")) if file.suffix in _MODEL_FILES and file.is_file()
    ]
    names = [str(file.relative_to(folder)) for file in files]
    return _digest(dict(zip(names, hash_once(files), strict=True)))


def digest_named(value: Any) -> str | None:
    """RETURNS (str | None): A digest of the file, or of all files in the folder, that a value of a
    config names; None if it names none."""
    if not isinstance(value, str) or not value:
        return None
    path = named_path(value)
    try:
        files = [path] if path.is_file() else [f for f in sorted(path.rglob("*")) if f.is_file()]
    except (OSError, ValueError):  # a value that can name no file
        return None
    names = [file.relative_to(path).as_posix() for file in files]
    return _digest(dict(zip(names, hash_once(files), strict=True))) if files else None


def _digest_corpus(corpus: Path) -> list[str]:
    return [_digest_file(corpus / f"{part}.spacy") for part in PARTS]


def _digest_file(file: Path) -> str:
    return hashlib.md5(file.read_bytes()).hexdigest()


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("utf8")).hexdigest()[:12]
