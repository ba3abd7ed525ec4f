"""What do savers leave behind that are killed, at each event that changes a file?

    python -m benchmarks.kills

Every saver writes over what an earlier one left. It is killed (SIGKILL) right before its first
change of a file, then before its second, and so on until it runs to its end. What is found then is
all as it was before, all as it should become, or an error says what is wrong. There must never be
parts of both without an error.
"""

import os
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy
import spacy
import torch
import typer
from safetensors.torch import load_file
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.training import Example
from thinc.api import fix_random_seed

from spacy_lgu.cli import app as commands
from spacy_lgu.cli.package import package_pipeline
from spacy_lgu.decoder.adapter import check_adapter
from spacy_lgu.decoder.settings import DecoderSettings, LoraSettings
from spacy_lgu.pretraining import adaptation
from spacy_lgu.pretraining.adaptation import AdaptationSettings, adapt_decoder
from spacy_lgu.replacing import finished_folder
from tests.conftest import (
    ENTITY_TEXTS,
    LISTENER,
    TEXTS,
    layer_config,
    make_decoder,
    ner_config,
    shake_adapter,
)
from tests.killing import kill_everywhere

OLD, NEW, NOTICED, MIXED = "whole old", "whole new", "noticed", "silent mixture"


@dataclass(frozen=True)
class Sweep:
    """A saver, and what tells what it left.

    old (Callable): Saves what is there before, in the folder that it gets.
    new (Callable): Saves over it; is killed.
    look (Callable): RETURNS: What is found, which is compared with what `old` and `new` leave.
        Raises ValueError or OSError, or returns None, where something is missing or wrong.
    """

    old: Callable[[Path], Any]
    new: Callable[[Path], Any]
    look: Callable[[Path], Any]


def sweep(saver: Sweep, place: Path, every: int) -> tuple[Counter[str], set[str]]:
    """RETURNS (tuple): How often each outcome was found, and the errors."""
    before, after, current = place / "before", place / "after", place / "current"
    for folder in (before, after):
        folder.mkdir()
        saver.old(folder)
    saver.new(after)
    expected = {OLD: saver.look(before), NEW: saver.look(after)}
    outcomes: Counter[str] = Counter()
    errors = set()

    def prepare() -> None:
        shutil.rmtree(current, ignore_errors=True)
        shutil.copytree(before, current)

    def save() -> None:
        with open(os.devnull, "w") as null:
            os.dup2(null.fileno(), 1)
            os.dup2(null.fileno(), 2)
        saver.new(current)

    for _ in kill_everywhere(save, below=current, prepare=prepare, every=every):
        try:
            found = saver.look(current)
        except (ValueError, OSError) as error:
            errors.add(str(error).replace(str(current), ""))
            found = None
        same = [name for name, state in expected.items() if _is_same(found, state)]
        outcomes[NOTICED if found is None else same[0] if same else MIXED] += 1
    return outcomes, errors


def save_pipeline(decoder: Path, head: str) -> Sweep:
    """nlp.to_disk, with a head that listens to the decoder."""

    def save(seed: int) -> Callable[[Path], None]:
        return make_pipeline(decoder, head, seed).to_disk

    return Sweep(_below("pipeline", save(0)), _below("pipeline", save(1)), look_at_pipeline)


def calibrate(decoder: Path) -> Sweep:
    """lgu calibrate, the pipeline itself being the output."""
    docs = [example.reference for example in _examples(spacy.blank("en"))]

    def run(place: Path) -> None:
        dev = place.with_name("dev.spacy")
        DocBin(docs=docs).to_disk(dev)
        pipeline = str(place / "pipeline")
        commands(["calibrate", pipeline, str(dev), pipeline, "--force"], standalone_mode=False)

    return Sweep(_below("pipeline", make_pipeline(decoder, "sequence_labeler", 0).to_disk), run,
                 look_at_pipeline)  # fmt: skip


def package(decoder: Path) -> Sweep:
    """lgu package --force, up to the build of the wheel."""

    def run(version: int) -> Callable[[Path], None]:
        nlp = make_pipeline(decoder, "sequence_labeler", version)
        nlp.meta["description"] = str(version)

        def save(place: Path) -> None:
            with tempfile.TemporaryDirectory() as source, warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                nlp.to_disk(source)
                package_pipeline(Path(source), place, name="x", build=False, force=True)

        return save

    def look(place: Path) -> Any:
        (data,) = (place / "x-0.0.0" / "x").glob("en_x-*")
        described = (place / "x-0.0.0" / "pyproject.toml").read_text(encoding="utf8")
        return [*load_state(data), described]

    return Sweep(run(0), run(1), look)


def convert(decoder: Path) -> Sweep:
    """lgu convert --hold-out."""

    def run(seed: int) -> Callable[[Path], None]:
        def save(place: Path) -> None:
            source = place.with_name("source.conll")
            source.write_text("".join(f"word{i}\tO\n\n" for i in range(20)))
            train, dev = str(place / "train.spacy"), str(place / "dev.spacy")
            commands(
                ["convert", str(source), train, "--format", "conll", "--hold-out", "5",
                 "--hold-out-to", dev, "--seed", str(seed)],
                standalone_mode=False,
            )  # fmt: skip

        return save

    def look(place: Path) -> Any:
        vocab = spacy.blank("en").vocab
        return [
            [doc.text for doc in DocBin().from_disk(place / name).get_docs(vocab)]
            for name in ("train.spacy", "dev.spacy")
        ]

    return Sweep(run(0), run(1), look)


def adapt(decoder: Path) -> Sweep:
    """lgu adapt --force. What counts as found is the adapter that lora.path would load; the same
    call has to end with the new one.
    """

    def run(steps: int) -> Callable[[Path], None]:
        def save(place: Path) -> None:
            text = place.with_name("text.jsonl")
            text.write_text("".join(f'{{"text": "{t} "}}\n' for t in TEXTS * 20), encoding="utf8")
            lora = LoraSettings(rank=4, alpha=8)
            adapt_decoder(
                DecoderSettings(name=str(decoder), unmasking="ccbb", dtype="float32", lora=lora),
                {},
                AdaptationSettings(
                    objective="masked-next", steps=steps, batch_size=64, window=32, warmup_steps=1
                ),
                texts=[text],
                valid=text,
                output=place / "adapted",
                device=torch.device("cpu"),
                force=True,
            )

        return save

    def look(place: Path) -> Any:
        check_adapter(place / "adapted")
        file = finished_folder(place / "adapted") / "adapter_model.safetensors"
        return [tensor.numpy() for _, tensor in sorted(load_file(file).items())]

    def look_and_go_on(place: Path) -> Any:
        found = look(place)
        if place.name == "current":
            run(8)(place)
            if not _is_same(look(place), look(place.with_name("after"))):
                return []
        return found

    return Sweep(run(2), run(8), look_and_go_on)


def make_pipeline(decoder: Path, head: str, seed: int) -> Language:
    """A pipeline with an adapter and a head as if trained, different ones for each seed."""
    fix_random_seed(0)
    nlp = spacy.blank("en")
    config = {"model": layer_config(decoder), "base_weights": "bundle"}
    nlp.add_pipe("lgu_transformer", name="transformer", config=config)
    nlp.add_pipe(head, config=ner_config(LISTENER) if head == "ner" else {})
    examples = _examples(nlp)

    def get_examples() -> list[Example]:
        return examples

    nlp.initialize(get_examples)
    shake_adapter(nlp.get_pipe("transformer").model, seed)
    rng = numpy.random.default_rng(seed)
    for node in nlp.get_pipe(head).model.walk():
        for name in node.param_names:
            if node.has_param(name):
                shape = node.get_param(name).shape
                node.set_param(name, rng.normal(scale=0.2, size=shape).astype("float32"))
    return nlp


def look_at_pipeline(place: Path) -> Any:
    """What a pipeline computes and knows."""
    return load_state(finished_folder(place / "pipeline"))


def load_state(folder: Path) -> list[Any]:
    """The vectors of a saved pipeline for a text, its head's weights, and its temperature."""
    nlp = spacy.load(folder)
    doc = nlp.get_pipe("transformer")(nlp.make_doc(ENTITY_TEXTS[0][0]))
    head = nlp.get_pipe(nlp.pipe_names[-1])
    weights = [
        node.get_param(name)
        for node in head.model.walk()
        for name in node.param_names
        if node.has_param(name)
    ]
    temperature = getattr(head, "temperature", None)
    return [doc._.trf_data.model_output.last_hidden_state, *weights, temperature]


def _examples(nlp: Language) -> list[Example]:
    return [Example.from_dict(nlp.make_doc(text), values) for text, values in ENTITY_TEXTS]


def _below(name: str, save: Callable[[Path], None]) -> Callable[[Path], None]:
    def save_below(place: Path) -> None:
        save(place / name)

    return save_below


def _is_same(found: Any, expected: Any) -> bool:
    return (
        found is not None
        and len(found) == len(expected)
        and all(numpy.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    )


def main(
    only: Annotated[list[str] | None, typer.Option(help="Savers, such as adapt")] = None,
    every: Annotated[int, typer.Option(help="Leave events out: 2 is every other")] = 1,
) -> None:
    """Kill every saver everywhere and print the table."""
    print(f"| saver | events | {OLD} | {NEW} | {NOTICED} | {MIXED} |\n|---|---|---|---|---|---|")
    savers: dict[str, Callable[[Path], Sweep]] = {
        "nlp.to_disk, sequence_labeler": partial(save_pipeline, head="sequence_labeler"),
        "nlp.to_disk, ner": partial(save_pipeline, head="ner"),
        "adapt": adapt,
        "convert": convert,
        "package": package,
        "calibrate": calibrate,
    }
    adaptation._VALIDATION_SUBTOKENS = 256
    messages: dict[str, set[str]] = {}
    for name in only or savers:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder).resolve()
            saver = savers[name](make_decoder(place / "decoder"))
            outcomes, errors = sweep(saver, place, every)
        cells = " | ".join(str(outcomes[key]) for key in (OLD, NEW, NOTICED, MIXED))
        print(f"| {name} | {outcomes.total()} | {cells} |", flush=True)
        messages[name] = errors
    for name, errors in messages.items():
        for error in sorted(errors):
            print(f"\n{name}: {error}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    typer.run(main)
