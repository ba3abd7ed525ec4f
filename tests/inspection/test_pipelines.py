"""Pipelines read as data: nothing of theirs is imported, built or run."""

import json
import sys

import pytest

from spacy_lgu.inspection.pipelines import find_pipeline, read_config_file, read_pipeline


@pytest.fixture
def folder(tmp_path):
    """A pipeline without weights, whose config asks for functions that do not exist."""
    (tmp_path / "meta.json").write_text(json.dumps({"lang": "en", "name": "x", "version": "1.0"}))
    (tmp_path / "config.cfg").write_text(
        '[nlp]\nlang = "en"\npipeline = ["transformer","ner","tagger"]\n'
        "[components]\n"
        '[components.ner]\nfactory = "evil.factory"\n'
        '[components.ner.model]\n@architectures = "evil.run_me"\n'
        '[components.ner.model.tok2vec]\n@architectures = "spacy-lgu.Tok2VecLGU.v1"\n'
        'name = ${paths.decoder}\nunmasking = "cb"\n'
        '[components.tagger]\nfactory = "tagger"\n'
        '[components.tagger.model]\n@architectures = "spacy.Tagger.v2"\n'
        "[components.tagger.model.tok2vec]\n"
        '@architectures = "spacy-transformers.TransformerListener.v1"\nupstream = "transformer"\n'
    )
    return tmp_path


def test_functions_of_the_config_are_not_looked_up(folder):
    pipeline = read_pipeline(folder)
    assert pipeline.pipes == ["transformer", "ner", "tagger"]
    assert pipeline.listens_to("tagger") == ["transformer"]
    assert pipeline.listens_to("ner") == []
    assert pipeline.own_decoders()["ner"]["unmasking"] == "cb"
    assert pipeline.decoders == []


def test_installed_package_is_found_and_not_imported(folder, tmp_path, monkeypatch):
    package = tmp_path / "site" / "lgu_inspected"
    (package / "en_x-1.0").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "en_x-1.0" / "config.cfg").write_text("[nlp]\n")
    monkeypatch.syspath_prepend(package.parent)
    assert find_pipeline("lgu_inspected") == package / "en_x-1.0"
    assert "lgu_inspected" not in sys.modules
    assert find_pipeline("org/decoder") is None
    assert find_pipeline("json") is None


@pytest.mark.parametrize(
    "content", ["no config", "[nlp\na = 1", "[nlp]\n[nlp]\n", "[a]\nb = 1\nb = 2\n"]
)
def test_damaged_config_is_named(tmp_path, content):
    file = tmp_path / "config.cfg"
    file.write_text(content)
    with pytest.raises(ValueError, match=r"config.cfg' is damaged"):
        read_config_file(file)


def test_config_of_more_than_16_mb(tmp_path):
    file = tmp_path / "config.cfg"
    with file.open("wb") as stream:
        stream.truncate(17 * 2**20)
    with pytest.raises(ValueError, match=r"it has 17,825,792 bytes, more than 16,777,216"):
        read_config_file(file)
