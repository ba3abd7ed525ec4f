"""Bytes on disk of a saved transformer component, by what the save holds.

    python benchmarks/saved_size.py --decoder assets/decoder

"first" is one save, "each further" what another nlp.to_disk into another folder adds. A bundled
base is copied, or linked with base_weights = "link", where the file system has hard links; a save
over an earlier one of the same run is always linked to it. For comparison: a pickle of the
state_dict of decoder and adapter, and what spacy-transformers writes for the same decoder, where
it is installed (else --no-peer).
"""

import json
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import spacy
import torch
import typer
from spacy.language import Language
from tqdm import tqdm
from transformers import AutoTokenizer

from spacy_lgu.replacing import replace_file

DECODER = Path(__file__).parent.parent / "assets" / "decoder"
LORA, PICKLE, PEER = "adapter only", "torch.save of the state_dict", "spacy-transformers"

# Name -> settings of the component's model, and base_weights.
VARIANTS: dict[str, tuple[dict[str, Any], str]] = {
    LORA: ({"quantization": "none"}, "reference"),
    "bundle, nf4": ({"quantization": "nf4"}, "bundle"),
    "link, nf4": ({"quantization": "nf4"}, "link"),
    "bundle, unquantized": ({"quantization": "none"}, "bundle"),
    "full": ({"quantization": "none", "tuning": "full"}, "auto"),
}


@dataclass(frozen=True)
class Size:
    """Bytes of one kind of save.

    kind (str): What the table calls it.
    first (int): Bytes of one save.
    further (int): Bytes that one more save of the same run adds.
    """

    kind: str
    first: int
    further: int


def make_ours(decoder: str, model: dict[str, Any], base_weights: str) -> Language:
    """An initialized pipeline with lgu_transformer alone.

    decoder (str): Hub name or folder.
    model (dict): Settings of its model.
    base_weights (str): What a save holds of the base.
    """
    nlp = spacy.blank("en")
    config = {
        "base_weights": base_weights,
        "model": {"name": decoder, "unmasking": "ccbb", **model},
    }
    nlp.add_pipe("lgu_transformer", name="transformer", config=config)
    nlp.initialize()
    return nlp


def make_peer(decoder: str) -> Language:
    """An initialized pipeline with spacy-transformers' component alone.

    decoder (str): Hub name or folder.
    """
    nlp = spacy.blank("en")
    model = {
        "@architectures": "spacy-transformers.TransformerModel.v3",
        "name": decoder,
        "tokenizer_config": {"pad_token": AutoTokenizer.from_pretrained(decoder).eos_token},
    }
    nlp.add_pipe("transformer", config={"model": model})
    nlp.initialize()
    return nlp


def measure(kind: str, nlp: Language) -> Size:
    """Save a pipeline's transformer twice and count.

    kind (str): What the table calls it.
    nlp (Language): The pipeline.
    """
    with tempfile.TemporaryDirectory(prefix="saved-size-") as name:
        folders = [Path(name) / "model-best", Path(name) / "model-last"]
        for folder in folders:
            nlp.to_disk(folder)
        first = count_bytes([folders[0] / "transformer"])
        return Size(kind, first, count_bytes(folder / "transformer" for folder in folders) - first)


def measure_pickle(nlp: Language) -> Size:
    """The state_dict of decoder and adapter as torch pickles it, at each checkpoint.

    nlp (Language): A pipeline with an unquantized decoder.
    """
    decoder = nlp.get_pipe("transformer").shim.ready.decoder
    with tempfile.TemporaryDirectory(prefix="saved-size-") as name:
        torch.save(decoder.state_dict(), Path(name) / "decoder.pt")
        n_bytes = count_bytes([Path(name)])
    return Size(PICKLE, n_bytes, n_bytes)


def count_bytes(folders: Iterable[Path]) -> int:
    """Bytes of all files, those linked to one another counted once.

    folders (Iterable[Path]): Folders of one file system.
    """
    stats = [file.stat() for folder in folders for file in folder.rglob("*") if file.is_file()]
    return sum({stat.st_ino: stat.st_size for stat in stats}.values())


def print_table(sizes: list[Size]) -> None:
    """One line per kind of save."""
    print(f"{'save':30}{'first MiB':>12}{'each further MiB':>18}")
    for size in sizes:
        print(f"{size.kind:30}{size.first / 2**20:12,.2f}{size.further / 2**20:18,.2f}")


def main(
    decoder: Annotated[str, typer.Option(help="Hub name or folder")] = str(DECODER),
    peer: Annotated[bool, typer.Option(help="Save with spacy-transformers as well")] = True,
    output: Annotated[Path | None, typer.Option(help="Write the results as JSON")] = None,
) -> None:
    """Save every variant and print a table."""
    sizes = []
    for kind, (model, base_weights) in tqdm(VARIANTS.items(), desc="Saves"):
        nlp = make_ours(decoder, model, base_weights)
        sizes.append(measure(kind, nlp))
        if kind == LORA:
            sizes.append(measure_pickle(nlp))
    if peer:
        sizes.append(measure(PEER, make_peer(decoder)))
    print_table(sizes)
    if output is not None:
        report = {"decoder": decoder, "sizes": [asdict(size) for size in sizes]}
        replace_file(output, json.dumps(report, indent=2).encode("utf8") + b"\n")


if __name__ == "__main__":
    typer.run(main)
