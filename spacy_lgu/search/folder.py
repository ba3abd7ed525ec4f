"""The folder of a search: what is searched, who searches it, and every outcome so far.

search.json          what is searched: config, files of the corpora, space, strategy
holder.json          process and machine of the search that is running
results.jsonl        a line per finished trial; what has a line is not repeated
predictions/         of each trial on dev
trials/              config and log of each trial
best.cfg             a training config with the best candidate
report.html
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..inputs import parse_json, shorten
from ..replacing import replace_file
from ..replacing.holding import holding
from ..study.results import append_result, prepare_results, read_results
from .space import Candidate
from .trials import Outcome, Trial

_RESULTS = "results.jsonl"
_IDENTITY = "search.json"
_HOLDER = "holder.json"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder for one search.

    folder (Path): Is made if it is not there. Raises FileExistsError naming process and machine if
        another one is searching it, and if it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file. Name a new or an empty folder.")
    folder.mkdir(parents=True, exist_ok=True)

    def refuse(who: str) -> str:
        return f"{folder} is being searched by {who}."

    with holding(folder / ".search.lock", folder / _HOLDER, refuse):
        yield


def is_held(folder: Path) -> bool:
    """Whether this is the folder of a search that is running, seen from here."""
    return (folder / _HOLDER).exists()


def check_identity(folder: Path, identity: Mapping[str, Any]) -> None:
    """Keep what is searched, or compare it with what was searched in this folder before.

    folder (Path): The folder, held.
    identity (Mapping[str, Any]): What is searched, as JSON: values by name, one level deep. Raises
        ValueError that says what differs, and FileExistsError if the folder holds other files.
    """
    file = folder / _IDENTITY
    if not file.exists():
        # Hidden: the lock, and what was being written when an earlier search was killed.
        names = [path.name for path in folder.iterdir()]
        others = sorted(name for name in names if name != _HOLDER and name[0] != ".")
        if others:
            raise FileExistsError(
                f"{folder} holds other files ({shorten(others[0])}), and no search. Name a new or "
                "an empty folder."
            )
        replace_file(file, json.dumps(identity, indent=1).encode("utf8") + b"\n")
        return
    before = parse_json(file.read_text(encoding="utf8"), str(file))
    if differences := list(_compare(before, json.loads(json.dumps(identity)))):
        raise ValueError(
            f"{folder} holds a search of something else: {'; '.join(differences)}. Go on with what "
            "it was, or name another folder."
        )


def prepare_folder(folder: Path) -> None:
    """Raise OSError if no outcome can be kept, before hours are spent."""
    prepare_results(folder / _RESULTS)


def keep_result(folder: Path, trial: Trial, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Write an outcome to the disk. After that it counts, whatever ends this process.

    folder (Path): The folder, held.
    trial (Trial): What was tried.
    figures (Mapping[str, Any]): What came of it.
    RETURNS (dict[str, Any]): Its line.
    """
    entry = {**_write_trial(trial), **figures}
    append_result(folder / _RESULTS, entry)
    return entry


def read_trials(folder: Path) -> list[tuple[Trial, dict[str, Any]]]:
    """The finished trials, with their lines; of several lines of one, the first.

    folder (Path): The folder.
    RETURNS (list[tuple[Trial, dict[str, Any]]]): As they were finished. Raises ValueError with file
        and line for anything else than results.
    """
    found: dict[Trial, dict[str, Any]] = {}
    for entry in read_results(folder / _RESULTS, field="score"):
        try:
            trial = _read_trial(entry)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{folder / _RESULTS}: expected trials of a search, but found {shorten(entry)}. "
                "Remove the line: its trial is made again."
            ) from error
        found.setdefault(trial, entry)
    return list(found.items())


def make_outcome(trial: Trial, figures: Mapping[str, Any]) -> Outcome:
    """What a strategy is told of a finished trial."""
    found = {_read_candidate(entry): entry["score"] for entry in figures.get("found", ())}
    return Outcome(trial, figures["score"], found, tuple(figures.get("gates", ())))


def _write_trial(trial: Trial) -> dict[str, Any]:
    return {
        "kind": trial.kind,
        **asdict(trial.candidate),
        "seed": trial.seed,
        "steps": trial.steps,
        "options": dict(trial.options),
    }


def _read_trial(entry: Mapping[str, Any]) -> Trial:
    options = tuple(sorted(entry["options"].items()))
    return Trial(entry["kind"], _read_candidate(entry), entry["seed"], entry["steps"], options)


def _read_candidate(entry: Mapping[str, Any]) -> Candidate:
    return Candidate(entry["pattern"], entry["n_layers"], entry["repeat"])


def _compare(before: Any, now: Any) -> Iterator[str]:
    if not isinstance(before, dict):
        before = {}
    for part in dict.fromkeys([*before, *now]):
        old, new = before.get(part, {}), now.get(part, {})
        if not (isinstance(old, dict) and isinstance(new, dict)):
            old, new = {"": old}, {"": new}
        for name in dict.fromkeys([*old, *new]):
            if name not in old or name not in new or old[name] != new[name]:
                was, now_is = (
                    shorten(values[name]) if name in values else "not set" for values in (old, new)
                )
                yield f"{f'{part} {name}'.strip()} was {was}, now it is {now_is}"
