"""Settings, builds and a fake hub cache for the tests of what is loaded, adapted and saved."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from spacy_lgu.decoder import loading
from spacy_lgu.decoder.adapter import load_adapter
from spacy_lgu.decoder.attention import ATTENTION
from spacy_lgu.decoder.building import (
    BuiltDecoder,
    CheckedDecoder,
    build_decoder,
    check_settings,
)
from spacy_lgu.decoder.decoder import LGUDecoder
from spacy_lgu.decoder.description import DESCRIPTION, _checksum
from spacy_lgu.decoder.packing import PackedBatch
from spacy_lgu.decoder.restoring import load_decoder_folder
from spacy_lgu.decoder.settings import DecoderSettings, LoraSettings
from spacy_lgu.decoder.storage import save_decoder

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
    built = build_unshaken(name, **values)
    shake(built.decoder)
    return built


def build_unshaken(name: Path | str, **values: Any) -> BuiltDecoder:
    """A decoder as its users build it."""
    return build_decoder(check(name, **values), device=CPU)


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


def check(name: Path | str, **values: Any) -> CheckedDecoder:
    """What is found without reading a weight."""
    return check_settings(make_settings(name, **values), {})


def edit_json(file: Path, **values: Any) -> None:
    """Give a file of JSON other values."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def edit_description(folder: Path, **values: Any) -> None:
    """Give lgu.json other values, as a version that writes them would."""
    edit_json(folder / DESCRIPTION, **values)
    edit_json(
        folder / DESCRIPTION, checksum=_checksum(json.loads((folder / DESCRIPTION).read_text()))
    )


def edit_rotary_base(file: Path, base: float) -> None:
    """Change the base of the rotary frequencies, whatever version wrote the config."""
    found = json.loads(file.read_text()).get("rope_parameters")
    edit_json(
        file,
        rope_theta=base,
        **({"rope_parameters": {**found, "rope_theta": base}} if found else {}),
    )


def shard(folder: Path) -> None:
    """Split model.safetensors in two, with an index."""
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    files = {"model-00001-of-00002.safetensors": names[:9]}
    files["model-00002-of-00002.safetensors"] = names[9:]
    for file, members in files.items():
        save_file({n: tensors[n] for n in members}, folder / file, metadata={"format": "pt"})
    weight_map = {name: file for file, members in files.items() for name in members}
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()


def load_on(folder: Path, adapter_folder: Path) -> Any:
    """An adapter on a decoder as transformers loads it."""
    module = AutoModel.from_pretrained(folder, attn_implementation=ATTENTION)
    return load_adapter(module, adapter_folder, trainable=True)


def save(built: BuiltDecoder, folder: Path, base_weights: str = "auto") -> None:
    save_decoder(built, folder, base_weights=base_weights)


def restore(folder: Path, built: BuiltDecoder, **values: Any) -> BuiltDecoder:
    """A decoder as saved, under the settings that it was built with, or others."""
    loading._shared_bases.clear()  # read the weights, do not find them in memory
    settings = built.settings
    if values:
        names = ("quantization", "tuning", "unmasking", "dtype", "lora")
        old = {name: getattr(settings, name) for name in names}
        settings = make_settings(settings.name, **{**old, **values})
    return load_decoder_folder(folder, settings, device=CPU)


def read_description_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "lgu.json").read_text())


def make_format_1(folder: Path, **values: Any) -> None:
    """lgu.json as the first versions wrote it."""
    saved = {**read_description_of(folder), "format": 1, **values}
    for name in ("subtokens", "files", "pipeline", "heads", "checksum"):
        del saved[name]
    (folder / "lgu.json").write_text(json.dumps(saved))


def list_names(folder: Path) -> list[str]:
    """All files below a folder."""
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())
