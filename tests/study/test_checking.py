"""What is wrong with a study is found before anything is trained."""

from dataclasses import replace

import pytest
import spacy
from spacy.tokens import Doc, DocBin

from spacy_lgu.study.checking import check_config, check_study
from spacy_lgu.study.plan import CONFIG, Study, System, Task, Training

from ..conftest import needs_stock

FILES = {"train": "a", "dev": "b", "test": "c"}


@pytest.fixture
def corpora(tmp_path):
    vocab = spacy.blank("en").vocab
    docs = [Doc(vocab, ["Ann", "left"], ents=["B-PER", "O"])]
    for part in ("train", "dev", "test"):
        (tmp_path / "names").mkdir(exist_ok=True)
        DocBin(docs=docs).to_disk(tmp_path / "names" / f"{part}.spacy")
    return tmp_path


@pytest.fixture
def study(decoder_folder):
    return Study(
        Training(),
        {"tiny": str(decoder_folder)},
        {"names": Task("names", "Names", "ner", FILES, epochs=1)},
        {
            "decoder": System("decoder", "D", "decoder", decoder="tiny", patterns=["cccc", "bb"]),
            "untrained": System(
                "untrained", "U", "decoder", decoder="tiny", untrained=True, patterns=["bb"]
            ),
            "cnn": System("cnn", "CNN", "cnn"),
        },
    )


def check(study, corpora, work):
    decoders, problems = check_study(study, corpora, work, 0)
    return decoders, problems


def test_nothing_is_wrong_and_nothing_is_written(study, corpora, tmp_path):
    decoders, problems = check(study, corpora, tmp_path / "work")
    assert problems == []
    assert list(decoders) == ["decoder", "untrained", "cnn"]
    assert decoders["cnn"] is None
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patterns": ["cbcbcb"]}, r"names decoder cbcbcb: .*6.*4"),
        (
            {"overrides": {"components.decoder.model.tunning": "full"}},
            "names decoder cccc: .*tunning",
        ),
        ({"overrides": {"components.decoder.model.tuning": "half"}}, "tuning is 'half'"),
        ({"overrides": {"trainning.max_steps": 3}}, "names decoder cccc: .*trainning"),
        (
            {"overrides": {"training.optimizer.learn_rate.@schedules": "none.v1"}},
            "names decoder cccc: .*none.v1",
        ),
        ({"overrides": {"training.dropout": "much"}}, "names decoder cccc: .*dropout"),
    ],
)
def test_what_is_wrong_with_a_system(study, corpora, tmp_path, changes, message):
    systems = {"decoder": replace(study.systems["decoder"], **changes), "cnn": study.systems["cnn"]}
    _, problems = check(replace(study, systems=systems), corpora, tmp_path)
    assert problems
    with pytest.raises(ValueError, match=message):
        raise ValueError(problems[0])


def test_a_decoder_that_is_not_there(study, corpora, tmp_path):
    chosen = replace(study, decoders={"tiny": str(tmp_path / "nowhere")})
    _, problems = check(chosen, corpora, tmp_path)
    assert [problem.split(":")[0] for problem in problems] == ["System decoder", "System untrained"]


ENCODER = {
    "nlp.pipeline": ["encoder", "ner"],
    "head.listener": "${listeners.encoder}",
    "paths.encoder": "no/such-encoder",
}


@needs_stock
def test_an_encoder_that_is_not_there(corpora):
    files = {f"paths.{part}": str(corpora / "names" / f"{part}.spacy") for part in ("train", "dev")}
    with pytest.raises(OSError, match="There is no encoder 'no/such-encoder'"):
        check_config(CONFIG, {**files, **ENCODER})


def test_an_encoder_without_its_library(corpora, monkeypatch):
    monkeypatch.setattr("spacy_lgu.study.checking.uses_stock", bool)
    with pytest.raises(ImportError, match=r"'encoder' is one of spacy-transformers, which is not"):
        check_config(CONFIG, ENCODER)
