"""A study as it is described in YAML: tasks, systems, and what is the same for all."""

import re
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import srsly

from ..corpora.options import OPTIONS
from ..inputs import naming
from ..unmasking import normalize_pattern
from .fields import check_fields

# The config of all systems that name no other: every encoder, with every head.
CONFIG = Path(__file__).with_name("benchmark.cfg")
# Its heads, and those of them that read and write doc.spans["sc"].
SPAN_HEADS = ("spancat", "spancat_found", "spancat_singlelabel")
HEADS = ("sequence_labeler", "ner", *SPAN_HEADS)
ENCODERS = ("decoder", "encoder", "cnn", "instruction")
PARTS = ("train", "dev", "test")


@dataclass(frozen=True)
class Training:
    """What is the same for every system of a task.

    batch (int): Texts per step.
    warmup (float): Share of the steps in which the learning rate rises.
    evaluations (int): On dev, while training.
    checkpoint (str): "last" or "best".
    """

    batch: int = 16
    warmup: float = 0.1
    evaluations: int = 5
    checkpoint: str = "last"

    def __post_init__(self) -> None:
        if self.checkpoint not in ("last", "best"):
            raise ValueError(f"checkpoint is {self.checkpoint!r}: expected last or best.")
        if self.batch < 1 or self.evaluations < 1 or not 0 <= self.warmup < 1:
            raise ValueError(
                "Expected batch and evaluations of at least 1 and a warmup from 0 to below 1, but "
                f"got {self.batch}, {self.evaluations} and {self.warmup}."
            )


@dataclass(frozen=True)
class Task:
    """A corpus and the head that is trained on it; see benchmarks/study.yml for the fields."""

    name: str
    title: str
    head: str
    files: dict[str, str] | str
    convert: dict[str, Any] | None = None
    hold_out: int | float | None = None
    tenths: dict[str, int] | None = None
    epochs: int | None = None
    max_steps: int | None = None
    overrides: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = f"Task {self.name}"
        if self.head not in HEADS:
            raise ValueError(f"{where}: head is {self.head!r}, expected {_list(HEADS)}.")
        if (self.epochs is None) == (self.max_steps is None):
            raise ValueError(f"{where}: expected either epochs or max_steps.")
        if (self.epochs or self.max_steps or 0) < 1:
            raise ValueError(f"{where}: expected at least 1 of epochs or max_steps.")
        by_part = isinstance(self.files, dict)
        if by_part == (self.tenths is not None):
            raise ValueError(
                f"{where}: expected files of train, dev and test, or a pattern for all files and "
                "tenths."
            )
        if isinstance(self.files, dict):
            expected = {"train", "test"} if self.hold_out is not None else set(PARTS)
            if set(self.files) != expected:
                raise ValueError(
                    f"{where}: expected the files {_list(sorted(expected))}, but got "
                    f"{_list(sorted(self.files))}. hold_out stands for dev."
                )
        elif set(self.tenths or {}) != {"dev", "test"}:
            raise ValueError(f"{where}: expected tenths of dev and of test.")
        if self.convert is None and (self.hold_out is not None or self.tenths is not None):
            raise ValueError(f"{where}: hold_out and tenths need convert.")
        if self.convert is not None:
            self._check_convert(where)

    @property
    def spans_key(self) -> str | None:
        """Key of doc.spans, None for entities."""
        return "sc" if self.head in SPAN_HEADS else None

    def _check_convert(self, where: str) -> None:
        known = ["format", "target", "spans_key", "sentences_per_doc", "seed", *OPTIONS]
        unknown = [name for name in self.convert or {} if name not in known]
        if unknown or "format" not in (self.convert or {}):
            raise ValueError(
                f"{where}: convert needs a format and may have the options {_list(known)}, but is "
                f"{self.convert}."
            )


@dataclass(frozen=True)
class System:
    """An encoder and how it is trained; see benchmarks/study.yml for the fields."""

    name: str
    title: str
    encoder: str
    config: Path = CONFIG
    decoder: str | None = None
    untrained: bool = False
    patterns: list[str] = field(default_factory=list)
    overrides: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = f"System {self.name}"
        if self.encoder not in ENCODERS:
            raise ValueError(f"{where}: encoder is {self.encoder!r}, expected {_list(ENCODERS)}.")
        needs_decoder = self.encoder in ("decoder", "instruction")
        if needs_decoder != bool(self.decoder) or (self.encoder == "decoder") != bool(
            self.patterns
        ):
            raise ValueError(
                f"{where}: a decoder is needed by the encoders decoder and instruction, patterns "
                "by the encoder decoder, and neither by any other."
            )
        if self.encoder == "instruction" and self.config.suffix != ".py":
            raise ValueError(
                f"{where}: the encoder instruction needs a script as its config, a file named "
                f"*.py, but got {str(self.config)!r}."
            )
        # In letters: spaCy's command line would read the digits as a number.
        patterns = dict.fromkeys(normalize_pattern(pattern) for pattern in self.patterns)
        object.__setattr__(self, "patterns", list(patterns))


@dataclass(frozen=True)
class Study:
    """Everything that is compared.

    decoders (dict[str, str | None]): Folders or names on the hub; None: not at hand.
    title (str): Of its report.
    about (str): What the report says first, Markdown.
    """

    training: Training
    decoders: dict[str, str | None]
    tasks: dict[str, Task]
    systems: dict[str, System]
    title: str = "Results of the benchmark"
    about: str = ""

    def choose(
        self,
        *,
        tasks: str = "all",
        systems: str = "all",
        patterns: str = "all",
        decoders: dict[str, str | None] | None = None,
    ) -> "Study":
        """A part of the study, in its order.

        tasks (str): Names with commas between them, or "all".
        systems (str): Likewise.
        patterns (str): Patterns for every decoder, or "all": its own.
        decoders (dict[str, str | None] | None): Decoders by name, instead of the study's.
        RETURNS (Study): Raises ValueError for unknown names.
        """
        decoders = decoders or {}
        _choose(",".join(decoders) or "all", self.decoders, "decoder")
        chosen = {name: self.systems[name] for name in _choose(systems, self.systems, "system")}
        if patterns != "all":
            chosen = {
                name: replace(system, patterns=patterns.split(",")) if system.patterns else system
                for name, system in chosen.items()
            }
        return replace(
            self,
            decoders={**self.decoders, **decoders},
            tasks={name: self.tasks[name] for name in _choose(tasks, self.tasks, "task")},
            systems=chosen,
        )


def read_study(path: Path) -> Study:
    """Read a study.

    path (Path): YAML. Paths of configs in it are relative to its folder.
    RETURNS (Study): Raises ValueError for unknown fields, for values of other types and for what
        does not fit together, FileNotFoundError if the study or a config of it is not there.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no study {str(path)!r}: give a YAML file that says what is compared."
        )
    with naming(path):
        return _parse(srsly.read_yaml(path), path)


def _parse(content: Any, path: Path) -> Study:
    sections = [entry.name for entry in fields(Study) if entry.default is MISSING]
    if not isinstance(content, dict) or not set(sections) <= set(content):
        raise ValueError(f"{path}: expected the sections {_list(sections)}.")
    check_fields(Study, content, f"{path}")
    if not (content["tasks"] and content["systems"]):
        raise ValueError(f"{path}: expected at least one task and one system.")
    for name in (*content["tasks"], *content["systems"]):
        # They become names of folders, which are replaced: none leads out of theirs.
        if not re.fullmatch(r"[\w-][\w.-]*", name):
            raise ValueError(
                f"Expected names of letters, digits, -, _ and ., not at their beginning, but got "
                f"{name!r}."
            )
    if "differences" in content["tasks"]:
        raise ValueError(
            f"{path}: a task cannot be called 'differences', which the report calls a picture."
        )
    tasks = {name: _make(Task, name, entry) for name, entry in content["tasks"].items()}
    systems = {
        name: _make(System, name, _find_config(name, entry, path.parent))
        for name, entry in content["systems"].items()
    }
    for name, system in systems.items():
        if system.decoder is not None and system.decoder not in content["decoders"]:
            raise ValueError(
                f"System {name}: decoder is {system.decoder!r}, expected one of the decoders "
                f"{_list(content['decoders'])}."
            )
    training = _make(Training, None, content["training"])
    made = {"training": training, "tasks": tasks, "systems": systems}
    return Study(**{**content, "decoders": dict(content["decoders"]), **made})


def parse_decoders(entries: str) -> dict[str, str | None]:
    """NAME=FOLDER,... to a dict; an empty folder or null is None."""
    decoders: dict[str, str | None] = {}
    for entry in filter(None, entries.split(",")):
        name, equals, folder = entry.partition("=")
        if not equals:
            raise ValueError(f"Expected NAME=FOLDER for a decoder, but got {entry!r}.")
        decoders[name] = None if folder in ("", "null") else folder
    return decoders


def _find_config(name: str, entry: dict[str, Any], folder: Path) -> dict[str, Any]:
    if "config" not in entry:
        return entry
    check_fields(System, entry, f"System {name}")
    config = folder / entry["config"]
    if not config.is_file():
        raise FileNotFoundError(
            f"System {name}: there is no config {str(config)!r}. Name it from the study's folder."
        )
    return {**entry, "config": config}


def _make(kind: type, name: str | None, entry: dict[str, Any]) -> Any:
    check_fields(kind, entry, f"{kind.__name__} {name}" if name else kind.__name__)
    return kind(**({} if name is None else {"name": name}), **entry)


def _choose(names: str, known: dict[str, Any], what: str) -> list[str]:
    if names == "all":
        return list(known)
    chosen = names.split(",")
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise ValueError(f"There is no {what} {_list(unknown)}, expected {_list(known)}.")
    return [name for name in known if name in chosen]


def _list(names: Any) -> str:
    return ", ".join(map(str, names))
