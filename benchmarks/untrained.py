"""Write a decoder with random weights: what is left of a result without pretraining?

python benchmarks/untrained.py assets/decoder training/untrained
"""

from pathlib import Path
from typing import Annotated

import torch
import typer
from transformers import AutoConfig, AutoModelForCausalLM

from spacy_lgu.decoder.source import find_source, load_tokenizer
from spacy_lgu.replacing import replace_folder


def make_untrained(decoder: str, target: Path, *, revision: str | None = None) -> None:
    """A decoder of the same architecture and tokenizer, its weights as before training.

    decoder (str): Folder, or name on the Hugging Face hub; no weight of it is read.
    target (Path): The folder to write.
    revision (str | None): Branch, tag or commit on the hub.
    """
    source = find_source(decoder, revision)
    tokenizer = load_tokenizer(source, {})
    config = AutoConfig.from_pretrained(source.location, revision=source.commit)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)

    def write(folder: Path) -> None:
        tokenizer.save_pretrained(folder)
        model.save_pretrained(folder)

    replace_folder(target, write)


def main(
    decoder: Annotated[str, typer.Argument(help="Folder, or name on the hub")],
    target: Annotated[Path, typer.Argument(help="Folder to write")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub")] = None,
) -> None:
    """Write the decoder."""
    make_untrained(decoder, target, revision=revision)


if __name__ == "__main__":
    typer.run(main)
