"""The folder of an annotated corpus: shards, and what is known of the run.

manifest.json             pipeline, inputs and options: a run that goes on has the same
failed.log                dead letters, as JSON lines: input file, line, reason
en/news.jsonl-000000.jsonl, ...
.annotation/              lock, process and machine of the run, dead letters by shard
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..inputs import parse_json, shorten
from ..replacing import replace_file
from ..replacing.holding import holding
from .records import BadRecord

MANIFEST, FAILED = "manifest.json", "failed.log"
# What to do after whatever stopped a run.
GO_ON = "give the same command again: shards that are written are kept"
_HIDDEN = ".annotation"
_HOLDER = "holder.json"


@contextmanager
def held(output: Path) -> Iterator[None]:
    """Hold a folder for one run.

    output (Path): Is made if it is not there. Raises FileExistsError naming process and machine if
        another run holds it, or if it holds other files and no manifest.
    """
    hidden = output / _HIDDEN
    if output.exists() and not output.is_dir():
        raise NotADirectoryError(f"{str(output)!r} is a file: expected a folder for the shards.")
    if output.is_dir() and not hidden.is_dir() and (others := sorted(output.iterdir())):
        raise FileExistsError(
            f"{str(output)!r} holds other files ({shorten(others[0].name)}), and no annotated "
            "corpus. Name a new or an empty folder."
        )
    hidden.mkdir(parents=True, exist_ok=True)

    def refuse(who: str) -> str:
        return (
            f"{str(output)!r} is being written by {who}. Wait for it, end it, or name another "
            "folder."
        )

    with holding(hidden / "lock", hidden / _HOLDER, refuse):
        yield


def has_shards(output: Path) -> bool:
    """Whether a run has written any shard; what a killed one left hidden is none."""
    for _, folders, names in os.walk(output):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if any(name not in (MANIFEST, FAILED) for name in names):
            return True
    return False


def read_manifest(output: Path) -> dict[str, Any] | None:
    """RETURNS (dict[str, Any] | None): The manifest of a run; None: it has not begun."""
    file = output / MANIFEST
    if not file.exists():
        return None
    manifest: dict[str, Any] = parse_json(file.read_text(encoding="utf8"), str(file))
    return manifest


def write_manifest(output: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest, before the first shard."""
    # A line for each part: inputs of many shards would otherwise take a line for each number.
    parts = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in manifest.items())
    replace_file(output / MANIFEST, f"{{\n{parts}\n}}\n".encode())


def check_manifest(output: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Compare what is to be done with what was begun.

    output (Path): The folder.
    before, now (Mapping[str, Any]): Manifests. Raises ValueError that says what differs.
    """
    if before.get("version") != now["version"]:
        raise ValueError(
            f"{output / MANIFEST} is of version {shorten(before.get('version'))}, but this one of "
            f"spacy-lgu writes {now['version']}. Name another folder."
        )
    found = []
    if before["pipeline"] != now["pipeline"]:
        old, new = _spell_pipeline(before["pipeline"]), _spell_pipeline(now["pipeline"])
        found.append(f"the pipeline was {old}, but is {new}")
    old_ones, new_ones = before.get("also", {}), now.get("also", {})
    for name in [*old_ones, *(name for name in new_ones if name not in old_ones)]:
        if name not in new_ones or name not in old_ones:
            found.append(f"--also {name} is {'missing' if name in old_ones else 'new'}")
        elif old_ones[name] != new_ones[name]:
            old, new = _spell_pipeline(old_ones[name]), _spell_pipeline(new_ones[name])
            found.append(f"the pipeline of --also {name} was {old}, but is {new}")
    options = before["options"]
    found += [
        f"{_spell_option(name)} was {shorten(options.get(name))}, but is {shorten(value)}"
        for name, value in now["options"].items()
        if options.get(name) != value
    ]
    found += _compare_inputs(before["inputs"], now["inputs"])
    if found:
        raise ValueError(
            f"{str(output)!r} was begun with something else: {'; '.join(found)}. Go on with what "
            "it was, or name another folder."
        )


def keep_failures(output: Path, shard: str, file: str, failures: list[BadRecord]) -> None:
    """Write the dead letters of a shard, before the shard itself.

    output (Path): The folder.
    shard (str): Name of the shard.
    file (str): Name of its input file.
    failures (list[BadRecord]): What was not annotated.
    """
    place = _failures_of(output, shard)
    if failures:
        entries = [{"file": file, "line": bad.line, "reason": bad.reason} for bad in failures]
        lines = [json.dumps(entry, ensure_ascii=False) for entry in entries]
        content = "".join(f"{line}\n" for line in lines)
        replace_file(place, content.encode("utf8", errors="backslashreplace"))
    else:
        place.unlink(missing_ok=True)  # of an attempt that was killed


def read_failures(output: Path, shard: str) -> bytes:
    """RETURNS (bytes): The dead letters of a shard as JSON lines."""
    place = _failures_of(output, shard)
    return place.read_bytes() if place.exists() else b""


def gather_failures(output: Path, shards: list[str]) -> int:
    """Write the dead letters of all finished shards into one file, in order.

    output (Path): The folder.
    shards (list[str]): Names of the shards.
    RETURNS (int): How many there are. If there are none, there is no file.
    """
    n_failures = 0

    def write(file: Path) -> None:
        nonlocal n_failures
        with file.open("wb") as stream:
            for shard in shards:
                content = read_failures(output, shard)
                n_failures += content.count(b"\n")
                stream.write(content)

    if any(_failures_of(output, shard).exists() for shard in shards):
        replace_file(output / FAILED, write)
    else:
        (output / FAILED).unlink(missing_ok=True)
    return n_failures


def _failures_of(output: Path, shard: str) -> Path:
    return output / _HIDDEN / "failed" / f"{shard}.log"


def _compare_inputs(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> list[str]:
    """Names, sizes and content; not when a file was changed."""
    old, new = ({entry["name"]: entry for entry in inputs} for inputs in (before, now))
    found = [f"the input {name} is missing" for name in old if name not in new]
    found += [f"the input {name} is new" for name in new if name not in old]
    found += [
        f"the input {name} has changed ({old[name]['n_bytes']:,} bytes then, "
        f"{new[name]['n_bytes']:,} now)"
        for name in new
        if name in old and old[name]["sha256"] != new[name]["sha256"]
    ]
    if not found and [*old] != [*new]:
        found.append("the inputs were in another order")
    return found


def _spell_pipeline(pipeline: Mapping[str, Any]) -> str:
    named = " ".join(str(pipeline[key]) for key in ("lang", "name", "version"))
    return f"{named} (digest {pipeline['digest'][:12]})"


def _spell_option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
