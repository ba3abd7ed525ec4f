"""What a transformer knows of the pipeline that is saved with it."""

import gc
import json
import os
import pickle
import shutil
import tempfile
import threading

import pytest
import spacy
from spacy.training import Example

from spacy_lgu.decoder.verification import list_unknown, verify_decoder
from spacy_lgu.pipeline.transformer import LGUTransformer

from ..conftest import (
    LISTENER,
    TEXTS,
    entity_examples,
    layer_config,
    make_nlp,
    ner_config,
    train_nlp,
)

ALL_PIPES = (
    "ner",
    "tagger",
    "senter",
    "morphologizer",
    "parser",
    "spancat",
    "span_finder",
    "textcat_multilabel",
    "trainable_lemmatizer",
    "entity_ruler",
    "attribute_ruler",
    "sentencizer",
    "doc_cleaner",
)


def description(folder):
    return json.loads((folder / "transformer" / "lgu.json").read_text())


def update_folder(folder, source, names):
    """Let some components of a folder be those of another save."""
    for name in names:
        shutil.rmtree(folder / name)
        shutil.copytree(source / name, folder / name)


def test_record_by_eye(saved):
    found = description(saved[1])
    assert found["heads"] == ["ner"]
    assert sorted(found["pipeline"]) == [
        "config.cfg",
        "entity_ruler/cfg",
        "entity_ruler/patterns.jsonl",
        "meta.json",
        "ner/cfg",
        "ner/model",
        "ner/moves",
        "tokenizer",
        "vocab/key2row",
        "vocab/lookups.bin",
        "vocab/strings.json",
        "vocab/vectors",
        "vocab/vectors.cfg",
    ]
    assert found["pipeline"]["ner/cfg"]["bytes"] == (saved[1] / "ner" / "cfg").stat().st_size


def test_every_pipe_is_written_as_foretold(decoder_folder, tmp_path):
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer", name="first")
    nlp.add_pipe(
        "lgu_transformer", name="transformer", config={"model": layer_config(decoder_folder)}
    )
    for name in ALL_PIPES:
        config = nlp.get_factory_meta(name).default_config
        if "model" in config and "tok2vec" in config["model"]:
            nlp.add_pipe(name, config={"model": {**config["model"], "tok2vec": LISTENER}})
        else:
            nlp.add_pipe(name)
    doc = nlp.make_doc("Ann Lee ate naan .")
    values = {
        "tags": ["N", "N", "V", "N", "."],
        "lemmas": ["Ann", "Lee", "eat", "naan", "."],
        "morphs": ["", "", "Tense=Past", "", ""],
        "pos": ["PROPN", "PROPN", "VERB", "NOUN", "PUNCT"],
        "heads": [1, 2, 2, 2, 2],
        "deps": ["compound", "nsubj", "ROOT", "obj", "punct"],
        "sent_starts": [1, 0, 0, 0, 0],
        "entities": [(0, 7, "PER")],
        "spans": {"sc": [(0, 7, "PER")]},
        "cats": {"A": 1.0, "B": 0.0},
    }
    nlp.initialize(lambda: [Example.from_dict(doc, values)])
    nlp.get_pipe("entity_ruler").add_patterns([{"label": "FOOD", "pattern": "naan"}])
    nlp.get_pipe("attribute_ruler").add([[{"LOWER": "naan"}]], {"TAG": "F"})
    nlp.to_disk(tmp_path / "x")
    found = description(tmp_path / "x")
    on_disk = {f.relative_to(tmp_path / "x").as_posix() for f in (tmp_path / "x").rglob("*")}
    files = {name for name in on_disk if (tmp_path / "x" / name).is_file()}
    assert {n for n in files if not n.startswith("transformer/")} == set(found["pipeline"])
    listening = [n for n in ALL_PIPES if n in nlp.get_pipe("transformer").listening_components]
    assert found["heads"] == listening
    assert len(listening) == 9
    nlp = spacy.load(tmp_path / "x")
    nlp.to_disk(tmp_path / "y")
    for name in ("x", "y"):
        assert verify_decoder(tmp_path / name / "transformer") == []
        assert list_unknown(tmp_path / name / "transformer") == []
    assert spacy.load(tmp_path / "y")(TEXTS[0]).to_json() == nlp(TEXTS[0]).to_json()


@pytest.mark.parametrize("name", ["ner/model", "ner/cfg", "ner/moves"])
def test_a_head_of_another_save(copied, name):
    file = copied / name
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(
        ValueError,
        match=f"{name} in .* is not what was saved with the decoder in 'transformer': the save was "
        "interrupted",
    ):
        spacy.load(copied)


def test_head_that_was_left_out(copied):
    shutil.rmtree(copied / "ner")
    assert spacy.load(copied, exclude=["ner"]).pipe_names == ["transformer", "entity_ruler"]


def test_files_that_users_edit(copied):
    config = (copied / "config.cfg").read_text()
    (copied / "config.cfg").write_text(config.replace("batch_size = 1000", "batch_size = 7"))
    meta = json.loads((copied / "meta.json").read_text())
    (copied / "meta.json").write_text(json.dumps({**meta, "author": "Ann"}))
    assert spacy.load(copied).meta["author"] == "Ann"


def test_transformer_saved_by_itself(saved, tmp_path):
    saved[0].get_pipe("transformer").to_disk(tmp_path / "transformer")
    found = description(tmp_path)
    assert (found["pipeline"], found["heads"]) == (None, [])
    assert "vocab/strings.json" in found["files"]
    (tmp_path / "config.cfg").write_text("[nlp]\npipeline = []\n")
    (tmp_path / "meta.json").write_text("{}")
    saved[0].get_pipe("transformer").to_disk(tmp_path / "transformer")
    assert description(tmp_path)["pipeline"] is None


def test_pipelines_that_share_a_transformer(decoder_folder, tmp_path):
    first = make_nlp(decoder_folder)
    second = spacy.blank("en")
    second.add_pipe("transformer", source=first)
    second.add_pipe("ner", config={"model": first.get_pipe_config("ner")["model"]})
    second.get_pipe("ner").initialize(lambda: entity_examples(second), nlp=second)
    for name, nlp in (("first", first), ("second", second)):
        nlp.to_disk(tmp_path / name)
        # Which of the two it is cannot be known here.
        assert description(tmp_path / name)["heads"] == []
        assert spacy.load(tmp_path / name).pipe_names == ["transformer", "ner"]


def test_pipelines_that_are_gone_are_forgotten(decoder_folder, tmp_path):
    first = make_nlp(decoder_folder, pipes=("tagger",))
    second = spacy.blank("en")
    second.add_pipe("transformer", source=first)
    second.add_pipe("tagger", config={"model": first.get_pipe_config("tagger")["model"]})
    del second
    gc.collect()
    first.to_disk(tmp_path / "first")
    assert description(tmp_path / "first")["heads"] == ["tagger"]


def test_what_is_foretold_is_written_beside_the_target(copied, tmp_path, monkeypatch):
    nlp = spacy.load(copied)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))  # there is no room elsewhere
    nlp.to_disk(tmp_path / "new")
    assert description(tmp_path / "new")["heads"] == ["ner"]
    assert not [path.name for path in (tmp_path / "new").iterdir() if path.name[0] == "."]


def test_neighbours_stay_behind(decoder_folder):
    nlp = make_nlp(decoder_folder)
    neighbours = nlp.get_pipe("transformer").neighbours
    cleaner = nlp.add_pipe("doc_cleaner")  # has no name of its own
    assert neighbours.find(["ner", "x"]) == {"ner": nlp.get_pipe("ner"), "x": cleaner}
    assert neighbours.find(["ner", "tagger", "x"]) == {"ner": nlp.get_pipe("ner")}
    assert pickle.loads(pickle.dumps(neighbours)).find(["ner", "x"]) == {}
    nlp.remove_pipe("ner")
    nlp.add_pipe("ner")
    assert neighbours.find(["doc_cleaner", "ner"]) == {"doc_cleaner": cleaner}


def test_folder_that_is_replaced_while_it_is_read(decoder_folder, tmp_path, monkeypatch):
    nlp = make_nlp(decoder_folder)
    nlp.to_disk(tmp_path / "x")
    shutil.copytree(tmp_path / "x", tmp_path / "y")
    file = tmp_path / "x" / "transformer" / "adapter" / "adapter_model.safetensors"
    file.write_bytes(b"")
    transformer = nlp.get_pipe("transformer")
    load, calls = transformer._load, []

    def load_late(folder):
        calls.append(folder)
        if len(calls) == 1:
            (tmp_path / "x" / "transformer").rename(tmp_path / "away")
            (tmp_path / "y" / "transformer").rename(tmp_path / "x" / "transformer")
            return load(tmp_path / "away")
        return load(folder)

    monkeypatch.setattr(transformer, "_load", load_late)
    transformer.from_disk(tmp_path / "x" / "transformer", exclude=["vocab"])
    assert len(calls) == 2


def test_pipes_that_change_their_names(decoder_folder, tmp_path):
    nlp = make_nlp(decoder_folder)
    nlp.add_pipe("ner", name="other", config=ner_config(LISTENER))
    nlp.get_pipe("other").initialize(lambda: entity_examples(nlp)[:1], nlp=nlp)
    for old, new in (("ner", "x"), ("other", "ner"), ("x", "other")):
        nlp.rename_pipe(old, new)
    nlp.to_disk(tmp_path / "x")
    assert description(tmp_path / "x")["heads"] == ["other", "ner"]
    assert verify_decoder(tmp_path / "x" / "transformer") == []
    assert spacy.load(tmp_path / "x")(TEXTS[0]).to_json() == nlp(TEXTS[0]).to_json()
    # A disabled pipe keeps the name that it had.
    nlp.disable_pipe("ner")
    nlp.rename_pipe("ner", "third")
    nlp.rename_pipe("other", "ner")
    nlp.to_disk(tmp_path / "y")
    assert verify_decoder(tmp_path / "y" / "transformer") == []


def test_two_transformers_keep_records_of_their_own(decoder_folder, tmp_path, monkeypatch):
    nlp = make_nlp(decoder_folder)
    nlp.add_pipe("lgu_transformer", name="second", config={"model": layer_config(decoder_folder)})
    nlp.add_pipe("ner", name="last", config=ner_config({**LISTENER, "upstream": "second"}))
    for name in ("second", "last"):
        nlp.get_pipe(name).initialize(lambda: entity_examples(nlp), nlp=nlp)
    saves, to_disk = [], LGUTransformer.to_disk

    def count(self, path, **options):
        saves.append(self.name)
        to_disk(self, path, **options)

    monkeypatch.setattr(LGUTransformer, "to_disk", count)
    nlp.to_disk(tmp_path / "x")
    nlp.to_disk(tmp_path / "x")
    assert saves == ["transformer", "second", "transformer", "second"]  # gigabytes are written once
    for name in ("transformer", "second"):
        assert verify_decoder(tmp_path / "x" / name) == []
        assert list_unknown(tmp_path / "x" / name) == []
        assert not any("lgu.json" in n for n in description(tmp_path / "x")["pipeline"])
    assert spacy.load(tmp_path / "x")(TEXTS[0]).to_json() == nlp(TEXTS[0]).to_json()


@pytest.fixture
def newer(saved, tmp_path):
    """The folder of a later save of the pipeline, after training."""
    nlp = spacy.load(saved[1])
    train_nlp(nlp, steps=1)
    nlp.to_disk(tmp_path / "newer")
    return tmp_path / "newer"


def test_save_while_the_pipeline_is_loaded(copied, newer, monkeypatch):
    load = LGUTransformer.from_disk

    def load_and_save(self, path, **options):
        load(self, path, **options)
        update_folder(copied, newer, ["transformer", "ner"])

    monkeypatch.setattr(LGUTransformer, "from_disk", load_and_save)
    with pytest.raises(
        ValueError,
        match=r"ner/model in '.*' changed while the pipeline was loaded: .* Load it again\.",
    ):
        spacy.load(copied)
    monkeypatch.undo()
    nlp = spacy.load(copied)
    train_nlp(nlp, steps=1)
    nlp.to_disk(copied)
    nlp.add_pipe("sentencizer")  # what was loaded was right


def test_load_waits_for_the_rest_of_a_save(copied, newer):
    update_folder(copied, newer, ["transformer"])
    os.utime(copied / "transformer" / "lgu.json")
    saver = threading.Timer(0.3, update_folder, [copied, newer, ["ner"]])
    saver.start()
    assert spacy.load(copied)(TEXTS[0]).to_json() == spacy.load(newer)(TEXTS[0]).to_json()
    saver.join()


@pytest.mark.parametrize("content", ["", '[nlp]\nlang = "en"\npipeline = ["transf'])
def test_config_that_another_process_is_writing(saved, copied, content):
    (copied / "config.cfg").write_text(content)
    saved[0].get_pipe("transformer").to_disk(copied / "transformer", exclude=["vocab"])
    assert description(copied)["pipeline"] is None
