"""What init-config writes trains as it is, for every head that a decoder can have."""

import pytest
import spacy
from spacy.cli.debug_config import debug_config
from spacy.cli.init_config import fill_config
from spacy.cli.train import train
from spacy.util import load_config

from spacy_lgu.configs.heads import HEADS
from spacy_lgu.configs.starting import make_config

from .conftest import WORDS

PIPELINES = [
    *([name] for name in HEADS),
    ["span_finder", "spancat"],
    ["span_finder", "spancat_singlelabel"],
    ["ner", "spancat", "sequence_labeler"],
    ["tagger", "morphologizer", "trainable_lemmatizer", "parser", "senter", "ner", "entity_linker"],
    ["spancat", "spancat_singlelabel", "textcat", "textcat_multilabel"],
]
ATTRIBUTES = {
    "tagger": "TAG",
    "morphologizer": "POS",
    "trainable_lemmatizer": "LEMMA",
    "parser": "DEP",
    "senter": "SENT_START",
    "ner": "ENT_IOB",
    "entity_linker": "SENT_START",
}


def is_annotated(doc, name) -> bool:
    if name in ATTRIBUTES:
        return doc.has_annotation(ATTRIBUTES[name])
    if name.startswith("textcat"):
        return set(doc.cats) == {"travel", "food"}
    return ("sequence_labeler" if name == "sequence_labeler" else "sc") in doc.spans


def write(folder, decoder, **options):
    options = {"heads": ["ner"], "lang": "en", "output": "x.cfg", **options}
    path = folder / "x.cfg"
    path.write_text(make_config(decoder=str(decoder), **options).text, encoding="utf8")
    return path


@pytest.mark.parametrize("heads", PIPELINES, ids=",".join)
def test_trained_pipeline_loads_and_annotates(heads, decoder_folder, annotated, kb, tmp_path):
    # Text categorizers alone differ, of which those for accuracy are in a pipeline together.
    optimize = "accuracy" if len(heads) > 1 else "efficiency"
    path = write(tmp_path, decoder_folder, heads=heads, optimize=optimize)
    overrides = {
        "paths.train": str(annotated),
        "paths.dev": str(annotated),
        "training.max_steps": 2,
        "training.eval_frequency": 1,
    }
    if "entity_linker" in heads:
        overrides["paths.kb"] = str(kb)
    train(path, tmp_path / "out", overrides=overrides)
    nlp = spacy.load(tmp_path / "out" / "model-last")
    assert [name for name in nlp.pipe_names if name in HEADS] == heads
    doc = nlp(" ".join(WORDS))
    assert [name for name in heads if not is_annotated(doc, name)] == []
    scores = nlp.meta["performance"]
    assert sorted({key for name in heads for key in HEADS[name].scores} - scores.keys()) == []


@pytest.mark.parametrize("optimize", ["efficiency", "accuracy"])
@pytest.mark.parametrize("heads", [PIPELINES[0], *PIPELINES[-4:], ["span_finder", "textcat"]])
def test_nothing_is_left_to_fill(heads, optimize, decoder_folder, tmp_path):
    path = write(tmp_path, decoder_folder, heads=heads, optimize=optimize)
    fill_config(tmp_path / "filled.cfg", path, silent=True)
    assert load_config(tmp_path / "filled.cfg") == load_config(path)


def test_debug_config_passes(decoder_folder, annotated, tmp_path):
    path = write(tmp_path, decoder_folder, heads=["ner", "spancat"])
    debug_config(path, overrides={"paths.train": str(annotated), "paths.dev": str(annotated)})
