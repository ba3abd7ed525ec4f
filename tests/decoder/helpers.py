"""Settings, builds and a fake hub cache for the tests of what is loaded, adapted and saved."""

import shutil
from pathlib import Path
from typing import Any

import numpy
import torch

from spacy_lgu.decoder.building import BuiltDecoder, build_decoder
from spacy_lgu.decoder.decoder import LGUDecoder
from spacy_lgu.decoder.packing import PackedBatch
from spacy_lgu.decoder.settings import DecoderSettings, LoraSettings

CPU = torch.device("cpu")
IDS, LENGTHS = numpy.arange(20, 37), numpy.array([5, 1, 8, 3])
BATCH = PackedBatch.pack(IDS, LENGTHS, device=CPU)


def make_settings(name: Path | str, **values: Any) -> DecoderSettings:
    """A float32 decoder with two unmasked groups and LoRA of rank 2 without dropout."""
    values = {"dtype": "float32", "lora": LoraSettings(rank=2, dropout=0.0), **values}
    return DecoderSettings(name=str(name), **{"unmasking": "ccbb", **values})


def build(name: Path | str, **values: Any) -> BuiltDecoder:
    """A decoder whose adapter, if it has one, changes the vectors."""
    torch.manual_seed(0)  # of the new adapter
    built = build_decoder(make_settings(name, **values), {}, device=CPU)
    shake(built.decoder)
    return built


def shake(decoder: LGUDecoder, *, seed: int = 1) -> None:
    """Change all trained weights, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in decoder.trainable():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


def vectors(built: BuiltDecoder) -> torch.Tensor:
    return built.decoder.predict(IDS, LENGTHS, 1000)


def gradients(decoder: LGUDecoder) -> dict[str, torch.Tensor]:
    """Gradients of all trained weights in training mode."""
    decoder.train()
    decoder.zero_grad()
    Y = decoder(BATCH)
    (Y * torch.linspace(-1, 1, Y.numel()).reshape(Y.shape)).sum().backward()
    found = {}
    for name, parameter in decoder.trainable():
        if parameter.grad is None:
            raise ValueError(f"No gradient for {name}.")
        found[name] = parameter.grad.clone()
    decoder.eval()
    return found


def fill_cache(cache: Path, name: str, folders: dict[str, Path]) -> None:
    """Lay folders out as huggingface_hub caches a repository; the last one is `main`."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    for commit, folder in folders.items():
        snapshot, blobs = repository / "snapshots" / commit, repository / "blobs"
        snapshot.mkdir(parents=True)
        blobs.mkdir(exist_ok=True)
        for file in folder.iterdir():
            blob = blobs / f"{commit}-{file.name}"
            shutil.copy(file, blob)
            (snapshot / file.name).symlink_to(blob)
        (repository / "refs" / "main").write_text(commit)
