"""What damage to a saved pipeline goes unnoticed? Flips a bit in, or cuts, each of its files.

    python benchmarks/damage.py --decoder assets/decoder --flips 4

Every trial is a copy with one damage. It is "refused" by spacy.load; else "noticed" by `lgu
verify`; else "harmless", if vectors and predictions are those of the whole pipeline; else "silent",
which none should be.
"""

import gc
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy
import spacy
import torch
import typer
from spacy.language import Language
from spacy.tokens import Span
from spacy.training import Example
from tqdm import tqdm

from spacy_lgu.decoder.storage import verify_decoder

DECODER = Path(__file__).parent.parent / "assets" / "decoder"
TEXT = "Ingrid Vasquez left Halden Robotics in Oslo on 3 May."
KINDS = ("refused", "noticed", "harmless", "silent")
# spaCy's own heads listen through this.
LISTENER = {
    "@architectures": "spacy-lgu.TransformerListener.v1",
    "grad_factor": 1.0,
    "pooling": {"@layers": "reduce_mean.v1"},
}


def make_pipeline(decoder: str, quantization: str) -> Language:
    """A pipeline with all kinds of parts, its weights changed as if trained.

    decoder (str): Hub name or folder.
    quantization (str): Of the decoder.
    RETURNS (Language): Transformer, sequence labeler, ner, ruler.
    """
    nlp = spacy.blank("en")
    model: dict[str, Any] = {"name": decoder, "unmasking": "ccbb", "quantization": quantization}
    nlp.add_pipe("lgu_transformer", name="transformer", config={"model": model})
    nlp.add_pipe("sequence_labeler")
    ner = nlp.get_factory_meta("ner").default_config["model"]
    nlp.add_pipe("ner", config={"model": {**ner, "tok2vec": LISTENER}})
    ruler = nlp.add_pipe("entity_ruler")
    doc = nlp.make_doc(TEXT)
    doc.set_ents([Span(doc, 0, 2, label="PERSON"), Span(doc, 3, 5, label="ORG")])
    nlp.initialize(lambda: [Example(nlp.make_doc(TEXT), doc)])
    ruler.add_patterns([{"label": "DATE", "pattern": "May"}])
    torch.manual_seed(0)
    for _, parameter in nlp.get_pipe("transformer").shim.ready.decoder.trainable():
        parameter.data += 0.02 * torch.randn_like(parameter)
    rng = numpy.random.default_rng(0)
    for name in ("sequence_labeler", "ner"):
        for node in nlp.get_pipe(name).model.walk():
            for key in node.param_names:
                if node.has_param(key) and not node.shims:
                    shape = node.get_param(key).shape
                    node.set_param(key, rng.normal(size=shape, scale=0.2).astype("float32"))
    return nlp


def damages(content: bytes, n_flips: int, rng: random.Random) -> Iterator[bytes]:
    """Copies of a file's content, each with one damage.

    content (bytes): Not empty.
    n_flips (int): Copies with one flipped bit; one more is cut.
    rng (Random): Draws the places.
    """
    for _ in range(n_flips):
        place = rng.randrange(len(content))
        flipped = bytes([content[place] ^ (1 << rng.randrange(8))])
        yield content[:place] + flipped + content[place + 1 :]
    yield content[: rng.randrange(len(content))]


def predict(nlp: Language) -> tuple[numpy.ndarray, dict[str, Any]]:
    """The vectors of the text and all that the pipes made of it."""
    doc = nlp(TEXT)
    group = doc.spans["sequence_labeler"]
    spans = [(s.start, s.end, s.label_) for s in group]
    vectors = numpy.array(doc._.trf_data.model_output.last_hidden_state)
    return vectors, {**doc.to_json(), "spans": spans, "scores": list(group.attrs["scores"])}


def try_damaged(folder: Path, expected: tuple[numpy.ndarray, dict[str, Any]]) -> tuple[str, str]:
    """Load and verify a damaged pipeline.

    folder (Path): Its folder.
    expected (tuple): What the whole one predicts.
    RETURNS (tuple[str, str]): One of KINDS, and the error or what differs.
    """
    gc.collect()  # an earlier pipeline would lend its base
    try:
        vectors, answer = predict(spacy.load(folder))
    except Exception as error:  # noqa: BLE001  damage in spaCy's own files may raise anything
        return "refused", f"{type(error).__name__}: {str(error)[:100]}"
    if changed := verify_decoder(folder / "transformer"):
        return "noticed", ", ".join(changed)
    same = numpy.array_equal(vectors, expected[0]) and answer == expected[1]
    return ("harmless" if same else "silent"), ""


def main(
    decoder: Annotated[str, typer.Option(help="Hub name or folder")] = str(DECODER),
    quantization: Annotated[str, typer.Option(help="none, nf4 or int8")] = "nf4",
    flips: Annotated[int, typer.Option(help="Flipped bits per file, beside one cut")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the places")] = 0,
) -> None:
    """Damage every file and print a table."""
    rng = random.Random(seed)
    counts: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory(prefix="damage-") as place:
        whole, copy = Path(place) / "whole", Path(place) / "copy"
        make_pipeline(decoder, quantization).to_disk(whole)
        expected = predict(spacy.load(whole))
        files = [f for f in sorted(whole.rglob("*")) if f.is_file() and f.stat().st_size]
        for file in tqdm(files, desc="Files"):
            name = str(file.relative_to(whole))
            for damaged in damages(file.read_bytes(), flips, rng):
                shutil.copytree(whole, copy)
                (copy / name).write_bytes(damaged)
                kind, detail = try_damaged(copy, expected)
                counts.setdefault(name, Counter())[kind] += 1
                if kind == "silent":
                    tqdm.write(f"SILENT: {name} {detail}")
                shutil.rmtree(copy)
    print(f"{'file':52}" + "".join(f"{kind:>10}" for kind in KINDS))
    for name, found in counts.items():
        print(f"{name:52}" + "".join(f"{found[kind]:10}" for kind in KINDS))
    total: Counter[str] = sum(counts.values(), Counter())
    print(f"{'all ' + str(total.total()):52}" + "".join(f"{total[kind]:10}" for kind in KINDS))


if __name__ == "__main__":
    typer.run(main)
