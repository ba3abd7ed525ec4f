"""A service under load: requests a second and seconds of each, with and without shared batches.

    python -m benchmarks.serve
    python -m benchmarks.serve names=training/my_ner labels=training/my_labeler --seconds 30
    python -m benchmarks.serve --minutes 10

Without pipelines, small ones with random adapters and heads are made on `assets/decoder`. For each
number of clients, a process of its own sends texts of mixed lengths to the pipelines in turn, to a
service that puts the texts which wait into one batch, and to one that takes each by itself.
--minutes sends twice as many requests as the service can answer and says what became of each, and
how much memory the service had at the start, in the middle and at the end.
"""

import json
import mmap
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from .fleet import DECODER, make_pipeline

# How the service takes texts, by name.
WAYS = {"shared": [], "alone": ["--max-batch-texts", "1"]}


class Server:
    """A service in a process of its own.

    pipelines (list[str]): As the command takes them.
    options (list[str]): More of its options.
    """

    def __init__(self, pipelines: list[str], options: list[str]) -> None:
        words = ["-m", "spacy", "lgu", "serve", *pipelines, "--port", "0", *options]
        self._process = subprocess.Popen(
            [sys.executable, "-u", *words], stdout=subprocess.PIPE, encoding="utf8"
        )
        self.address, self.names = self._read_start()
        threading.Thread(target=self._process.communicate, daemon=True).start()

    def _read_start(self) -> tuple[str, str]:
        lines = []
        for line in self._process.stdout or ():
            lines.append(line)
            if matched := re.search(r"Serving (.+) at (http\S+)", line):
                return matched[2], matched[1].replace(", ", ",")
        raise RuntimeError(f"The service did not start:\n{''.join(lines)}")

    @property
    def resident_mib(self) -> float:
        """RETURNS (float): Its memory (Linux)."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * mmap.PAGESIZE / 2**20

    def stop(self) -> int:
        """RETURNS (int): Its exit status after SIGTERM."""
        self._process.terminate()
        return self._process.wait(120)


@contextmanager
def serving(pipelines: list[str], options: list[str]) -> Iterator[Server]:
    server = Server(pipelines, options)
    try:
        yield server
    finally:
        if server.stop():
            print("The service ended with an error.")


def drive(server: Server, *options: str) -> dict[str, Any]:
    """RETURNS (dict): What benchmarks/serve_load.py found."""
    words = ["-m", "benchmarks.serve_load", server.address, server.names, *options]
    result = subprocess.run([sys.executable, *words], capture_output=True, check=True)
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def measure_speed(
    pipelines: list[str], options: list[str], clients: list[str], seconds: float
) -> float:
    """Print a table. RETURNS (float): Most requests a second of the service with shared batches."""
    print("| batches | clients | requests/s | p50 ms | p99 ms | not answered |")
    print("|---|---:|---:|---:|---:|---:|")
    best = 0.0
    for way, own in WAYS.items():
        with serving(pipelines, [*options, *own]) as server:
            drive(server, "--clients", "4", "--seconds", "2")  # the first ones wait for caches
            for n in clients:
                found = drive(server, "--clients", n, "--seconds", str(seconds))
                n_left = sum(found["kinds"].values()) - found["kinds"].get("answered", 0)
                print(
                    f"| {way} | {n} | {found['per_second']:.1f} | {found['p50'] * 1000:.0f} "
                    f"| {found['p99'] * 1000:.0f} | {n_left} |",
                    flush=True,
                )
                if way == "shared":
                    best = max(best, found["per_second"])
    return best


def soak(pipelines: list[str], options: list[str], rate: float, minutes: float) -> None:
    """Print what becomes of requests at a rate that is too high, and the memory meanwhile."""
    kinds: Counter[str] = Counter()
    with serving(pipelines, options) as server:
        drive(server, "--clients", "4", "--seconds", "5")
        memory = [server.resident_mib]
        begin = time.perf_counter()
        for _ in range(2):
            part = str(minutes * 30)
            found = drive(server, "--rate", f"{rate:.1f}", "--seconds", part)
            kinds.update(found["kinds"])
            memory.append(server.resident_mib)
        took = time.perf_counter() - begin
    told = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
    print(f"\n{rate:.1f} requests/s for {took / 60:.1f} minutes: {told}; "
          f"{kinds['answered'] / took:.1f} answered/s")  # fmt: skip
    print(f"memory: {', '.join(f'{mib:.0f}' for mib in memory)} MiB (start, middle, end)")


def main(
    pipelines: Annotated[list[str] | None, typer.Argument(help="NAME=PATH, or paths")] = None,
    n_pipelines: Annotated[int, typer.Option(help="Made if none are given")] = 3,
    clients: Annotated[str, typer.Option(help="Numbers of clients")] = "1,8,64",
    seconds: Annotated[float, typer.Option(help="For each number of clients")] = 10.0,
    minutes: Annotated[float, typer.Option(help="Of too many requests; 0: none")] = 0.0,
    quantization: str = "none",
    dtype: str = "float32",
    options: Annotated[str, typer.Option(help="More options of the service")] = "",
) -> None:
    """Measure and print tables."""
    with tempfile.TemporaryDirectory() as folder:
        if not pipelines:
            pipelines = [f"{Path(folder) / f'p{i}'}" for i in range(n_pipelines)]
            for i, place in enumerate(pipelines):
                make_pipeline(DECODER, i, quantization, dtype).to_disk(place)
        best = measure_speed(pipelines, options.split(), clients.split(","), seconds)
        if minutes:
            soak(pipelines, options.split(), 2 * best, minutes)


if __name__ == "__main__":
    typer.run(main)
