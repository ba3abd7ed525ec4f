"""From what a user wants to a config: heads, decoder, machine."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from .choices import Size, choose
from .planning import plan_pipeline
from .writing import write_config


@dataclass(frozen=True, kw_only=True)
class StartingConfig:
    """A config that was written.

    text (str): The config.
    command (str): How to train.
    remarks (tuple[str, ...]): What the user should know before training.
    """

    text: str
    command: str
    remarks: tuple[str, ...]


def make_config(
    *,
    output: str,
    lang: str,
    heads: Sequence[str],
    decoder: str,
    revision: str | None = None,
    unmasking: str | None = None,
    optimize: str = "efficiency",
    gpu: bool = False,
) -> StartingConfig:
    """Write a training config, after a check of all that can be checked without the network.

    output (str): The file it will be in, for the command.
    lang (str): A language that spaCy has.
    heads (Sequence[str]): Names in HEADS, in the order of the pipeline.
    decoder (str): Name on the Hugging Face hub, or a folder.
    revision (str | None): Branch, tag or commit on the hub.
    unmasking (str | None): The pattern. None: the upper half of the layers unmasked.
    optimize (str): "efficiency" or "accuracy".
    gpu (bool): Whether a GPU will train.
    RETURNS (StartingConfig): Raises ValueError saying what is possible, for heads, a language, a
        pattern or a value of `optimize` that are not, and for a decoder at hand that cannot be
        unmasked or has fewer layers than the pattern has letters.
    """
    pipeline = plan_pipeline(heads)
    size = _find_size(decoder, revision)
    choices = choose(
        size=size, heads=pipeline.heads, optimize=optimize, gpu=gpu, unmasking=unmasking
    )
    command = ["python", "-m", "spacy", "train", output]
    command += ["--paths.train", "train.spacy", "--paths.dev", "dev.spacy"]
    if "entity_linker" in pipeline.heads:
        command += ["--paths.kb", "kb"]
    command += ["--output", "training"] + (["--gpu-id", "0"] if gpu else [])
    text = write_config(
        lang=lang,
        pipeline=pipeline,
        decoder=decoder,
        revision=revision,
        choices=choices,
        command=shlex.join(command),
    )
    unknown = (
        f"{decoder!r} is neither a folder here nor in the local cache: the values are those for "
        f"large decoders. `python -m spacy lgu fetch {shlex.quote(decoder)}` downloads and checks "
        "it."
    )
    remarks = (*(() if size else (unknown,)), *pipeline.remarks)
    return StartingConfig(text=text, command=shlex.join(command), remarks=remarks)


def _find_size(decoder: str, revision: str | None) -> Size | None:
    # transformers takes seconds to import, which a bad name in the pipeline need not wait for.
    from ..decoder.local import read_usable

    found = read_usable(decoder, revision)
    if found is None:
        return None
    shape = found.shape
    return Size(n_parameters=shape.n_parameters, n_layers=shape.n_layers, kinds=shape.kinds)
