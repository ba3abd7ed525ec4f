"""An experiment in processes of its own: a training, then its scores. Knows nothing of studies.

The processes leave logs and report their progress while they run. Whatever ends this process ends
those that it started, and nothing of theirs counts as a result before all is done.
"""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import srsly

from .process import MARK

# A bar of tqdm, as scripts show it.
_BAR = re.compile(r"^training: .*?(\d+)/(\d+) \[")
# Seconds in which a process may end by itself.
_GRACE = 10.0


class RunError(Exception):
    """A process of an experiment failed; the message names its log."""


@dataclass(frozen=True)
class Progress:
    """How far an experiment is.

    step (int): Training steps done.
    n_steps (int): Of how many.
    score (float | None): The latest on dev, from 0 to 1; None before the first.
    """

    step: int
    n_steps: int
    score: float | None = None


ReportT = Callable[[Progress], None]


@dataclass(frozen=True)
class Scoring:
    """How a trained pipeline is scored: options of `spacy lgu evaluate`.

    data (Path): Annotated data, .spacy.
    spans_key (str | None): Key of its spans; None: entities.
    threshold_from (Path | None): Data on which the threshold of a span categorizer is chosen.
    limit (int): Texts of each; 0: all.
    """

    data: Path
    spans_key: str | None = None
    threshold_from: Path | None = None
    limit: int = 0


def train_and_score(
    config: Path,
    overrides: dict[str, Any],
    scoring: Scoring,
    folder: Path,
    *,
    checkpoint: str = "last",
    gpu_id: int = -1,
    keep: bool = False,
    report: ReportT | None = None,
) -> dict[str, Any]:
    """Train a pipeline and score it.

    config (Path): spaCy's training config.
    overrides (dict[str, Any]): Values by dotted name.
    scoring (Scoring): How it is scored.
    folder (Path): For logs, scores and checkpoints; what is there is deleted.
    checkpoint (str): Which one is scored, "last" or "best".
    gpu_id (int): GPU, -1 for none.
    keep (bool): Keep the checkpoints.
    report (ReportT | None): Called with the progress.
    RETURNS (dict[str, Any]): The figures of `spacy lgu evaluate`, with "train_minutes" and
        "checkpoint_bytes". Raises RunError naming the log if a process fails.
    """
    empty(folder)
    gpu = ["--gpu-id", str(gpu_id)]
    start = time.perf_counter()
    arguments = ["-m", "spacy_lgu.study.process", str(config), "--output", str(folder), *gpu]
    call_python([*arguments, *spell_overrides(overrides)], folder / "train.log", report)
    minutes = (time.perf_counter() - start) / 60
    model, scores = folder / f"model-{checkpoint}", folder / "scores.json"
    n_bytes = sum(file.stat().st_size for file in model.rglob("*") if file.is_file())
    options = ["--output", str(scores), "--limit", str(scoring.limit), *gpu]
    if scoring.spans_key is not None:
        options += ["--spans-key", scoring.spans_key]
    if scoring.threshold_from is not None:
        options += ["--threshold-from", str(scoring.threshold_from)]
    evaluate = ["-m", "spacy", "lgu", "evaluate", str(model), str(scoring.data), *options]
    call_python(evaluate, folder / "evaluate.log", None)
    if not keep:
        for path in folder.glob("model-*"):
            shutil.rmtree(path)
    figures = json.loads(scores.read_text(encoding="utf8"))
    return {**figures, "train_minutes": minutes, "checkpoint_bytes": n_bytes}


def run_script(
    script: Path,
    arguments: list[str],
    options: dict[str, Any],
    folder: Path,
    *,
    report: ReportT | None = None,
) -> dict[str, Any]:
    """Run a script that trains and scores by itself.

    script (Path): A Python script.
    arguments (list[str]): Its arguments. The last one is added: the file for its figures, as JSON.
    options (dict[str, Any]): Its options.
    folder (Path): For the log and the scores; what is there is deleted.
    report (ReportT | None): Called with the progress, if the script shows tqdm's bar "training".
    RETURNS (dict[str, Any]): The figures. Raises RunError naming the log if it fails.
    """
    empty(folder)
    scores = folder / "scores.json"
    command = [str(script), *arguments, str(scores), *spell_options(options)]
    call_python(command, folder / "train.log", report)
    figures: dict[str, Any] = json.loads(scores.read_text(encoding="utf8"))
    return figures


def spell_options(options: dict[str, Any]) -> list[str]:
    """Values by name as a command line takes them."""
    return [
        f"--{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in options.items()
    ]


def spell_overrides(overrides: dict[str, Any]) -> list[str]:
    """Values by dotted name as spaCy's commands take them, which read as JSON what is JSON."""
    quoted = {
        name: json.dumps(value) if isinstance(value, str) and _is_json(value) else value
        for name, value in overrides.items()
    }
    return spell_options(quoted)


def _is_json(value: str) -> bool:
    try:
        srsly.json_loads(value)
    except ValueError:
        return False
    return True


def empty(folder: Path) -> None:
    """Make an empty folder in place of what is there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


class Processes:
    """Those that are running, so that another thread can end them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._is_ended = False

    def add(self, process: subprocess.Popen[str]) -> None:
        """Add one that has begun. After end_all it ends at once."""
        with self._lock:
            self._running.add(process)
            if self._is_ended:
                process.terminate()

    def remove(self, process: subprocess.Popen[str]) -> None:
        """Remove one that is over."""
        with self._lock:
            self._running.discard(process)

    def end_all(self) -> None:
        """End all, now and later."""
        with self._lock:
            self._is_ended = True
            for process in self._running:
                process.terminate()


def call_python(
    arguments: list[str],
    log: Path,
    report: ReportT | None,
    processes: Processes | None = None,
) -> None:
    """Run Python with these arguments. What it prints goes to a log, except its progress.

    arguments (list[str]): For Python.
    log (Path): The log.
    report (ReportT | None): Called with the progress.
    processes (Processes | None): Holds the process while it runs. Raises RunError naming the log
        if it fails.
    """
    processes = Processes() if processes is None else processes
    with log.open("w", encoding="utf8") as stream, _started(arguments, processes) as process:
        for line in process.stdout or ():
            progress = _read_progress(line)
            if progress is None:
                stream.write(line)
                stream.flush()
            elif report is not None:
                report(progress)
        code = process.wait()
    if code != 0:
        lines = log.read_text(encoding="utf8").strip().splitlines()
        raise RunError(f"see {log}, which ends with: {lines[-1] if lines else 'nothing'}")


@contextmanager
def _started(arguments: list[str], processes: Processes) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,  # never written to: its end shows that this process is gone
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf8",
        errors="replace",
    )
    processes.add(process)
    with process:
        try:
            yield process
        finally:
            processes.remove(process)
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(_GRACE)
                except subprocess.TimeoutExpired:
                    process.kill()


def _read_progress(line: str) -> Progress | None:
    if line.startswith(MARK):
        return Progress(**json.loads(line[len(MARK) :]))
    bar = _BAR.match(line)
    return bar and Progress(int(bar[1]), int(bar[2]))
