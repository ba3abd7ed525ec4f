"""May threads load pipelines at once? Many loads of all kinds, and what they leave behind.

    python benchmarks/thread_loads.py --decoder assets/decoder --threads 8 --loads 200

Each load must answer as the same pipeline did when it was loaded alone, and torch must build
modules afterwards as it did before.
"""

import gc
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy
import spacy
import torch
import typer
from tqdm import tqdm

DECODER = Path(__file__).parent.parent / "assets" / "decoder"
TEXT = "Ingrid Vasquez left Halden Robotics in Oslo on 3 May."
# Tuning, quantization, unmasking.
KINDS = (
    ("lora", "none", "ccbb"),
    ("lora", "nf4", "bbbb"),
    ("lora", "int8", "cccc"),
    ("full", "none", "ccbb"),
    ("frozen", "none", "cbbc"),
    ("frozen", "nf4", "ccbb"),
)


def save_pipeline(folder: Path, decoder: str, kind: tuple[str, str, str]) -> None:
    """Save a pipeline with a decoder whose trainable weights are as if trained."""
    tuning, quantization, unmasking = kind
    nlp = spacy.blank("en")
    model: dict[str, Any] = {
        "name": decoder,
        "tuning": tuning,
        "quantization": quantization,
        "unmasking": unmasking,
        "dtype": "float32",
    }
    nlp.add_pipe("lgu_transformer", name="transformer", config={"model": model})
    nlp.initialize()
    torch.manual_seed(0)
    for _, parameter in nlp.get_pipe("transformer").shim.ready.decoder.trainable():
        parameter.data += 0.02 * torch.randn_like(parameter)
    nlp.to_disk(folder)


def load_and_predict(folder: Path) -> numpy.ndarray:
    """The vectors of the text. Shape: (subtokens, width)."""
    doc = spacy.load(folder)(TEXT)
    return numpy.array(doc._.trf_data.model_output.last_hidden_state[0])


def main(
    decoder: Annotated[str, typer.Option(help="Hub name or folder")] = str(DECODER),
    threads: Annotated[int, typer.Option(help="Threads that load at once")] = 8,
    loads: Annotated[int, typer.Option(help="Loads in all")] = 200,
) -> None:
    """Load in threads and print what went wrong."""
    torch.set_num_threads(1)
    register = torch.nn.Module.register_parameter
    failures: list[str] = []
    lock = threading.Lock()
    with tempfile.TemporaryDirectory(prefix="loads-") as place:
        folders = []
        for kind in KINDS:
            folders.append(Path(place) / "-".join(kind))
            save_pipeline(folders[-1], decoder, kind)
            gc.collect()
        expected = [load_and_predict(folder) for folder in folders]
        progress = tqdm(total=loads, desc="Loads")

        def work(i: int) -> None:
            which = i % len(folders)
            try:
                difference = float(abs(load_and_predict(folders[which]) - expected[which]).max())
                error = f"vectors differ by {difference:.2g}" if not difference <= 1e-4 else ""
            except Exception as raised:  # noqa: BLE001  all are counted
                error = f"{type(raised).__name__}: {str(raised)[:200]}"
            with lock:
                progress.update()
                if error:
                    failures.append(f"{folders[which].name}: {error}")

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(loads)))
        progress.close()
    for failure in failures:
        print(failure)
    print(f"{loads} loads in {threads} threads: {len(failures)} failures")
    print(f"torch.nn.Module is as before: {torch.nn.Module.register_parameter is register}")
    print(
        f"A new module is on {torch.nn.Linear(2, 2).weight.device} in {torch.get_default_dtype()}"
    )


if __name__ == "__main__":
    typer.run(main)
