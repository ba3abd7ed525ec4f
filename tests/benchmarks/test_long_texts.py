"""The benchmark of long texts trains on the same texts with other borders."""

import spacy
from spacy.tokens import Doc, DocBin, Span
from spacy.util import registry

from benchmarks.long_texts import make_config


def test_only_the_borders_of_the_texts_differ(tmp_path):
    docs = [Doc(spacy.blank("en").vocab, words=["Ann", "left", "."]) for _ in range(40)]
    for doc in docs:
        doc.ents = [Span(doc, 0, 1, label="PER")]
    for part in ("train", "dev"):
        DocBin(docs=docs).to_disk(tmp_path / f"{part}.spacy")
    overrides = {"corpora.train.limit": 30, "system.seed": 4}
    lengths = {}
    for max_length in (None, 30):
        config = make_config(tmp_path, overrides, max_length=max_length, size=64).interpolate()
        assert config["training"]["batcher"]["name"] == "assets/decoder"
        read = registry.resolve({"train": config["corpora"]["train"]})["train"]
        examples = list(read(spacy.blank("en")))
        assert sum(len(example.reference.ents) for example in examples) == 30
        lengths[max_length] = [len(example.reference) for example in examples]
    assert lengths[None] == [3] * 30
    assert sum(lengths[30]) == 90
    assert max(lengths[30]) > 3
