"""A search as a user describes it, and how one of its trials is executed."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from thinc.api import Config

from ..inputs import named_path
from ..study.engine import Processes, ReportT, call_python, empty
from ..study.runs import digest_folder, digest_named
from .process import OUTCOME
from .trial_config import SectionT, get_section, make_trial_config
from .trials import Task, Trial


@dataclass(frozen=True)
class Search:
    """All that a trial depends on.

    config (Config): The training config, its variables not filled in.
    section (SectionT): Where its decoder is.
    task (Task): Candidates, seeds and steps.
    spans_key (str | None): Which spans are compared: "" for entities, None for none.
    code (str | None): Python file with functions of the user's.
    """

    config: Config
    section: SectionT
    task: Task
    spans_key: str | None = None
    code: str | None = None


def execute_trial(
    search: Search,
    trial: Trial,
    folder: Path,
    *,
    gpu_id: int,
    threads: int,
    keep: bool = False,
    processes: Processes | None = None,
    report: ReportT | None = None,
) -> dict[str, Any]:
    """Run a trial in a process of its own.

    search (Search): What is searched.
    trial (Trial): The trial.
    folder (Path): For its config, log and checkpoints; what is there is deleted.
    gpu_id (int): GPU, -1 for none.
    threads (int): Threads that torch may use.
    keep (bool): Keep the checkpoints.
    processes (Processes | None): Holds the process while it runs.
    report (ReportT | None): Called with the progress.
    RETURNS (dict[str, Any]): As process.run_job. Raises RunError naming the log if it fails.
    """
    empty(folder)
    config, job = folder / "config.cfg", folder / "job.json"
    made = make_trial_config(search.config, search.section, trial)
    config.write_text(made.to_str(interpolate=False), encoding="utf8")
    content = {
        "kind": trial.kind,
        "config": str(config),
        "folder": str(folder),
        "component": search.section[1],
        "seed": trial.seed,
        "steps": trial.steps,
        "options": dict(trial.options),
        "space": asdict(search.task.space),
        "spans_key": search.spans_key,
        "code": search.code,
        "gpu_id": gpu_id,
        "threads": threads,
    }
    job.write_text(json.dumps(content), encoding="utf8")
    arguments = ["-m", "spacy_lgu.search.process", str(job)]
    call_python(arguments, folder / "train.log", report, processes)
    figures: dict[str, Any] = json.loads((folder / OUTCOME).read_text(encoding="utf8"))
    if not keep:
        for path in folder.glob("model-*"):
            shutil.rmtree(path)
    return figures


def find_identity(search: Search, strategy: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What tells a search from others: only outcomes of the same belong together.

    search (Search): What is searched.
    strategy (str): Name of the strategy.
    options (Mapping[str, Any]): Of the strategy.
    RETURNS (dict[str, Any]): As JSON. Files and folders that [paths] and [corpora] name, and
        folders of a decoder and of an adapter, are named with a digest of their content.
    """
    values = dict(_flatten(search.config.interpolate()))
    named = [value for name, value in values.items() if name.startswith(("paths.", "corpora."))]
    files = {
        value: digest
        for value in [*named, search.code]
        if isinstance(value, str) and value and (digest := _digest(value)) is not None
    }
    decoder = get_section(search.config.interpolate(), search.section)
    for model in (decoder.get("name"), (decoder.get("lora") or {}).get("path")):
        if model is not None and (folder := named_path(model)).is_dir():
            files[str(model)] = digest_folder(folder)
    return {
        "config": values,
        "file": files,
        "space": search.task.space.values,
        "search": {
            "decoder": ".".join(search.section),
            "seeds": list(search.task.seeds),
            "strategy": strategy,
            **options,
        },
    }


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, dict) and value:
            found += _flatten(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", value))
    return found


def _digest(name: str) -> str | None:
    """A digest of a file, or of a folder: of its .spacy files, or without such, of all. None for
    anything else."""
    path = named_path(name)
    try:
        files = [path] if path.is_file() else sorted(path.rglob("*.spacy")) if path.is_dir() else []
    except (OSError, ValueError):  # a value that can name no file
        return None
    if not files:
        return digest_named(name)
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]
