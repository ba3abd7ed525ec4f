import json

import pytest
import spacy
import typer
from decoder_scores import System, main, parse_systems, print_table
from spacy.tokens import Doc, DocBin

WORDS = ["Ann", "Lee", "lives", "in", "Oslo", "."]


@pytest.fixture
def corpus(tmp_path):
    vocab = spacy.blank("en").vocab
    docs = [Doc(vocab, WORDS, ents=["B-PER", "I-PER", "O", "O", "B-LOC", "O"]) for _ in range(40)]
    DocBin(docs=docs).to_disk(tmp_path / "corpus.spacy")
    return tmp_path / "corpus.spacy"


def test_systems():
    assert parse_systems(["a=b/c@cc,cb", "untrained@bb", "cnn"]) == [
        System("a", "b/c", "cc"),
        System("a", "b/c", "cb"),
        System("untrained", None, "bb"),
        System("cnn", None, ""),
    ]


@pytest.mark.parametrize("entry", ["a=b", "a@cc", "assets/decoder"])
def test_a_system_without_decoder_or_pattern(entry):
    with pytest.raises(typer.BadParameter, match="expected NAME=DECODER@PATTERN"):
        parse_systems([entry])


def test_table_of_means_over_seeds(capsys):
    runs = [("a ccbb", 80.0, 82.0), ("a ccbb", 82.0, 82.0), ("cnn", 70.0, 71.0)]
    print_table([{"system": s, "f1": f, "f1_first_1000": g, "seconds": 9.6} for s, f, g in runs])
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| a ccbb | 81.0 | 1.4 | 82.0 | 2 | 10 |",
        "| cnn | 70.0 | - | 71.0 | 1 | 10 |",
    ]


def test_finished_runs_are_not_repeated(decoder_folder, corpus, tmp_path, capsys):
    output = tmp_path / "scores.jsonl"
    systems = [f"tiny={decoder_folder}@bbbb", "untrained@cccc", "cnn"]
    main(corpus, corpus, output, systems, seeds=1, epochs=4, rate=0.01, limit=0)
    entries = [json.loads(line) for line in output.read_text().splitlines()]
    assert [entry["system"] for entry in entries] == ["tiny bbbb", "untrained cccc", "cnn"]
    assert all(0 <= entry["f1"] <= 100 for entry in entries)
    main(corpus, corpus, output, systems[:1], seeds=2, epochs=4, rate=0.01, limit=0)
    entries = [json.loads(line) for line in output.read_text().splitlines()]
    assert [entry["seed"] for entry in entries] == [0, 0, 0, 1]
    assert "| tiny bbbb |" in capsys.readouterr().out
    main(corpus, corpus, output, systems[:1], seeds=1, epochs=1, rate=0.01, limit=0)
    printed = capsys.readouterr().out  # of the same system, but another experiment
    assert "| 1 |" in printed.splitlines()[-1]
