"""Annotating a corpus: documents a second by workers, kills, and memory over many documents.

    python -m benchmarks.annotate PIPELINE --documents 100000 --workers 0,1,2,ray:1,ray:2
    python -m benchmarks.annotate --documents 100000 --short

Without a pipeline, a small one with a random adapter and head is made on `assets/decoder`. The
texts are those of benchmarks/texts.py, of 3 to 3,000 tokens, or with --short their sentences,
numbered. Each part prints what it measured; what must be 0 and is not ends the script with
status 1.
"""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from .fleet import DECODER, make_pipeline
from .texts import load_articles, load_texts, split_entities

# Different texts; a corpus repeats them with another number before each.
_TEXTS = 500


def write_corpus(path: Path, n_documents: int, short: bool) -> int:
    """RETURNS (int): Bytes of the JSON lines that are written."""
    if short:
        texts = [split_entities(line)[0] for article in load_articles() for line in article]
    else:
        texts = load_texts(None, min(_TEXTS, n_documents), seed=0)
    with path.open("w", encoding="utf8") as stream:
        for i in range(n_documents):
            # New words in each, as in a real corpus: the vocabulary must not keep them.
            text = f"No. {i}, word{i}x. {texts[i % len(texts)]}"
            stream.write(json.dumps({"id": i, "text": text}) + "\n")
    return path.stat().st_size


def command(pipeline: Path, corpus: Path, output: Path, *options: str) -> list[str]:
    """RETURNS (list[str]): An annotate command."""
    words = [sys.executable, "-m", "spacy", "lgu", "annotate", pipeline, corpus, output, *options]
    return [str(word) for word in words]


def run(words: list[str]) -> float:
    """RETURNS (float): The seconds that a command took. Raises CalledProcessError if it failed."""
    began = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def read_ids(output: Path) -> list[int]:
    """RETURNS (list[int]): Numbers of the documents that were written, by file."""
    ids = []
    for path in sorted(output.glob("*-*.jsonl")):
        with path.open(encoding="utf8") as stream:
            ids += [json.loads(line)["id"] for line in stream]
    return ids


def measure_speed(pipeline: Path, corpus: Path, place: Path, n: int, workers: str, options: list):
    """Print documents a second, the start of the pipelines included and left out."""
    few = place / "few.jsonl"
    write_corpus(few, 2, short=True)
    print("\n| workers | s in all | documents/s, start included | documents/s, without |")
    print("|---|---:|---:|---:|")
    for name in workers.split(","):
        engine, _, count = name.rpartition(":")
        if engine and find_spec("ray") is None:
            print(f"| {name}: Ray is not installed | | | |")
            continue
        own = [*(["--ray", "auto"] if engine else []), "--workers", count]
        output = place / f"speed-{name}"
        start = run(command(pipeline, few, place / f"few-{name}", *options, *own))
        seconds = run(command(pipeline, corpus, output, *options, *own))
        left = max(seconds - start, 1e-9)
        print(f"| {name} | {seconds:.1f} | {n / seconds:.1f} | {n / left:.1f} |", flush=True)
        assert_whole(output, n)


def assert_whole(output: Path, n: int) -> tuple[int, int]:
    """RETURNS (tuple[int, int]): Documents that are lost, and twice there. Exits with 1 if any."""
    ids = read_ids(output)
    lost, twice = n - len(set(ids)), len(ids) - len(set(ids))
    if lost or twice or ids != sorted(ids):
        print(f"{output}: {lost} lost, {twice} twice, in order: {ids == sorted(ids)}")
        raise typer.Exit(1)
    return lost, twice


def kill_often(pipeline: Path, corpus: Path, place: Path, n: int, kills: int, options: list):
    """SIGKILL at random moments, until as many have hit; then the run goes on to its end."""
    draw = random.Random(0)
    output = place / "killed"
    words = command(pipeline, corpus, output, *options)
    seconds = run(command(pipeline, corpus, place / "unhurt", *options))
    hits, at = 0, []
    while hits < kills:
        with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
            try:
                if status := process.wait(draw.uniform(0, seconds)):
                    print(f"after {hits} kills, a run ended with status {status}")
                    raise typer.Exit(1)
                shutil.rmtree(output)  # it came to its end: from the start again
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                hits += 1
                at.append(len(list(output.glob("*-*.jsonl"))))
    run(words)
    lost, twice = assert_whole(output, n)
    files = {path.name for path in output.iterdir()} - {".annotation"}
    same = all(
        (output / name).read_bytes() == (place / "unhurt" / name).read_bytes() for name in files
    )
    left = [path.name for path in output.iterdir() if "partial" in path.name]
    print(f"\n{hits} kills, after {at} shards: {lost} lost, {twice} twice, {len(left)} left over, "
          f"equal to a run without kills: {same}")  # fmt: skip
    if not same or left:
        raise typer.Exit(1)


def measure_memory(pipeline: Path, place: Path, n: int, short: bool, options: list):
    """Peak memory of a run over a tenth of the documents, and over all."""
    peaks = []
    for size in (max(1, n // 10), n):
        corpus = place / f"memory-{size}.jsonl"
        write_corpus(corpus, size, short)
        words = command(pipeline, corpus, place / f"memory-{size}", *options)
        code = (
            "import resource, subprocess, sys; "
            "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        result = subprocess.run(
            [sys.executable, "-c", code, *words], check=True, capture_output=True, text=True
        )
        peaks.append(int(result.stdout) / 1024)
        print(f"\npeak memory over {size:,} documents: {peaks[-1]:.0f} MiB", flush=True)
    print(f"growth: {peaks[1] - peaks[0]:+.0f} MiB")


def main(
    pipeline: Annotated[Path | None, typer.Argument(help="Folder of a pipeline")] = None,
    documents: int = 100_000,
    short: Annotated[bool, typer.Option(help="Sentences alone")] = False,
    workers: Annotated[str, typer.Option(help="Numbers of processes, or of Ray's workers")] = (
        "0,1,2,ray:1,ray:2"
    ),
    shard_size: int = 1000,
    kills: int = 10,
    gpu_id: int = -1,
    parts: Annotated[str, typer.Option(help="speed, kills, memory, with commas")] = (
        "speed,kills,memory"
    ),
) -> None:
    """Measure."""
    options = ["--shard-size", str(shard_size), "--gpu-id", str(gpu_id)]
    with TemporaryDirectory() as folder:
        place = Path(folder)
        if pipeline is None:
            pipeline = place / "pipeline"
            make_pipeline(DECODER, 0, "none", "auto").to_disk(pipeline)
        corpus = place / "corpus.jsonl"
        n_bytes = write_corpus(corpus, documents, short)
        print(f"{documents:,} documents, {n_bytes / 1e6:,.1f} MB")
        chosen = parts.split(",")
        if "speed" in chosen:
            measure_speed(pipeline, corpus, place, documents, workers, options)
        if "kills" in chosen:
            kill_often(pipeline, corpus, place, documents, kills, options)
        if "memory" in chosen:
            measure_memory(pipeline, place, documents, short, options)


if __name__ == "__main__":
    typer.run(main)
