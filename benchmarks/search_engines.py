"""One search in local processes, on Ray, and killed again and again: are its outcomes equal?

    python -m benchmarks.search_engines configs/lgu_sequence_labeler.cfg --workers 2 --kills 5 \\
        --paths.train train.spacy --paths.dev dev.spacy --training.max_steps 100

For each: its wall time, and the trials whose scores differ from those of the first. A killed search
must keep every outcome that it had, and have each trial once in the end: else the script ends with
status 1.
"""

import json
import random
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

# What a trial is, and what came of it.
_TRIAL = ("kind", "pattern", "n_layers", "repeat", "seed", "steps")
_OUTCOME = ("score", "curve", "documents")


def command(config: Path, output: Path, *options: str) -> list[str]:
    """RETURNS (list[str]): A search command."""
    words = [sys.executable, "-m", "spacy", "lgu", "search", config, output, *options]
    return [str(word) for word in words]


def run(words: list[str]) -> float:
    """RETURNS (float): The seconds that a command took. Raises CalledProcessError if it failed."""
    began = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def read_lines(output: Path) -> list[str]:
    """RETURNS (list[str]): Whole lines of the outcomes so far."""
    file = output / "results.jsonl"
    return file.read_text(encoding="utf8").splitlines() if file.exists() else []


def read_outcomes(output: Path) -> dict[tuple, list[Any]]:
    """RETURNS (dict): What came of each trial. Exits with 1 if a trial is there twice."""
    outcomes: dict[tuple, list[Any]] = {}
    for line in map(json.loads, read_lines(output)):
        trial = tuple(line[name] for name in _TRIAL)
        if trial in outcomes:
            print(f"{output.name}: {trial} is there twice")
            raise typer.Exit(1)
        outcomes[trial] = [line[name] for name in _OUTCOME]
    return outcomes


def run_killed(words: list[str], output: Path, *, kills: int, seconds: float) -> tuple[float, int]:
    """SIGKILL at random moments, then on to the end. Exits with 1 if an outcome is lost.

    words (list[str]): The command.
    output (Path): Its folder.
    kills (int): How often.
    seconds (float): Of a run without kills.
    RETURNS (tuple[float, int]): Seconds in all, and how many kills met a search that was running.
    """
    draw = random.Random(0)
    began, hits, known = time.perf_counter(), 0, []
    for _ in range(kills):
        with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
            try:
                if status := process.wait(draw.uniform(0.2, 0.8) * seconds):
                    print(f"{output.name}: status {status} after kill {hits}")
                    raise typer.Exit(1)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                hits += 1
        lines = read_lines(output)
        if lines[: len(known)] != known:
            print(f"{output.name}: outcomes are lost or changed after kill {hits}")
            raise typer.Exit(1)
        known = lines
    run(words)
    return time.perf_counter() - began, hits


def main(
    ctx: typer.Context,
    config: Annotated[Path, typer.Argument(help="Training config; overrides may follow")],
    strategy: Annotated[str, typer.Option(help="exhaustive, halving ...")] = "exhaustive",
    patterns: Annotated[str, typer.Option(help="With commas")] = "cccc,cccb,ccbb,bbbb",
    workers: Annotated[int, typer.Option(help="Trials at the same time")] = 2,
    kills: Annotated[int, typer.Option(help="Of the search that is killed")] = 5,
) -> None:
    """Measure."""
    options = ["--strategy", strategy, "--patterns", patterns, *ctx.args]
    engines = {"one process": [], "processes": ["--workers", str(workers)]}
    if find_spec("ray") is not None:
        engines["ray"] = ["--ray", "auto", "--workers", str(workers)]
    differing = 0
    with TemporaryDirectory() as folder:
        place = Path(folder)
        took = {}
        for name, own in engines.items():
            took[name] = run(command(config, place / name, *options, *own))
            print(f"{name}: {took[name]:.0f} s", flush=True)
        words = command(config, place / "killed", *options, *engines["processes"])
        seconds, hits = run_killed(words, place / "killed", kills=kills, seconds=took["processes"])
        print(f"killed {hits} times: {seconds:.0f} s")
        first = read_outcomes(place / "one process")
        for name in [*engines, "killed"]:
            outcomes = read_outcomes(place / name)
            wrong = [trial for trial in first | outcomes if first.get(trial) != outcomes.get(trial)]
            print(f"{name}: {len(outcomes)} trials, {len(wrong)} differ from those of one process")
            differing += len(wrong)
    if differing:
        raise typer.Exit(1)


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(main)
    app()
