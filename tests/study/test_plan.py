"""Descriptions of studies: what is read, what is refused, what is chosen."""

import pytest
import srsly

from spacy_lgu.study.plan import System, Task, parse_decoders, read_study

from ..benchmarks.conftest import ROOT

TASK = {"title": "A", "head": "ner", "epochs": 1, "files": {"train": "a", "dev": "b", "test": "c"}}
PATTERN = {"files": "*.tsv", "convert": {"format": "litbank-events"}}
SYSTEM = {"title": "S", "encoder": "cnn"}
DECODER = {"title": "D", "encoder": "decoder", "decoder": "tiny", "patterns": ["cb"]}


def write(path, *, task=None, system=None, **sections):
    content = {
        "training": {},
        "decoders": {"tiny": None},
        "tasks": {"a": {**TASK, **(task or {})}},
        "systems": {"s": system or SYSTEM},
        **sections,
    }
    srsly.write_yaml(path / "study.yml", content)
    return path / "study.yml"


def test_shipped_study_is_valid():
    study = read_study(ROOT / "benchmarks" / "study.yml")
    assert list(study.tasks)[:3] == ["conll2003", "conll2003-ner", "conll2003-chunks"]
    assert study.tasks["litbank-nested"].spans_key == "sc"
    assert study.tasks["conll2003"].spans_key is None
    assert study.systems["decoder"].patterns == ["cccc", "cccb", "ccbb", "bbbb"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": {"head": "tagger"}}, "head is 'tagger', expected sequence_labeler, ner"),
        ({"task": {"max_steps": 3}}, "Task a: expected either epochs or max_steps"),
        ({"task": {"epochs": None}}, "Task a: expected either epochs or max_steps"),
        ({"task": {"epoch": 3}}, "Task a: there is no epoch, expected title, head, files"),
        ({"task": {"files": "*.tsv"}}, "or a pattern for all files and tenths"),
        ({"task": {"tenths": {"dev": 8, "test": 9}}}, "or a pattern for all files and tenths"),
        ({"task": {**PATTERN, "tenths": {"dev": 8}}}, "expected tenths of dev and of test"),
        ({"task": {"hold_out": 3}}, "expected the files test, train, but got dev, test, train"),
        (
            {"task": {"hold_out": 3, "files": {"train": "a", "test": "b"}}},
            "hold_out and tenths need convert",
        ),
        ({"task": {"convert": {"colum": 1, "format": "conll"}}}, "convert needs a format and may"),
        ({"task": {"convert": {"column": 1}}}, "convert needs a format and may have the options"),
        ({"system": {**SYSTEM, "encoder": "rnn"}}, "System s: encoder is 'rnn', expected decoder"),
        ({"system": {**SYSTEM, "patterns": ["c"]}}, "a decoder is needed by the encoders"),
        ({"system": {**DECODER, "patterns": []}}, "a decoder is needed by the encoders"),
        ({"system": {**DECODER, "patterns": ["cx"]}}, "cx"),
        ({"system": {**DECODER, "patterns": "ccbb"}}, r"expected a list .* \[ccbb\], but got"),
        (
            {"system": {**DECODER, "decoder": "big"}},
            "decoder is 'big', expected one of the .* tiny",
        ),
        ({"training": {"checkpoint": "first"}}, "checkpoint is 'first': expected last or best"),
        ({"training": {"warmup": 1.0}}, "a warmup from 0 to below 1, but got 16, 5 and 1.0"),
        ({"training": {"batches": 1}}, "Training: there is no batches, expected batch, warmup"),
        ({"tasks": {"a/b": TASK}}, "Expected names of letters, digits, -, _ and ., but got 'a/b'"),
        ({"more": {}}, "expected the sections training, decoders, tasks, systems"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        read_study(write(tmp_path, **change))


def test_a_config_is_named_from_the_folder_of_the_study(tmp_path):
    script = {**DECODER, "encoder": "instruction", "patterns": [], "config": "mine/script.py"}
    with pytest.raises(FileNotFoundError, match=r"System s: there is no config '.*script\.py'"):
        read_study(write(tmp_path, system=script))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "script.py").touch()
    study = read_study(write(tmp_path, system=script))
    assert study.systems["s"].config == tmp_path / "mine" / "script.py"
    del script["config"]
    with pytest.raises(ValueError, match=r"instruction needs a script as its config, .* but got"):
        read_study(write(tmp_path, system=script))


def test_a_system_without_a_config_gets_that_of_the_package(tmp_path):
    study = read_study(write(tmp_path))
    assert study.systems["s"].config.name == "benchmark.cfg"
    assert study.systems["s"].config.is_file()


def test_a_study_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no study '.*none\.yml': give a YAML"):
        read_study(tmp_path / "none.yml")


def test_choose_keeps_the_order_of_the_study(tmp_path):
    tasks = {name: TASK for name in ("one", "two", "three")}
    study = read_study(write(tmp_path, tasks=tasks, systems={"s": SYSTEM, "d": DECODER}))
    chosen = study.choose(
        tasks="three,one", systems="d", patterns="bb,cc", decoders={"tiny": "folder"}
    )
    assert list(chosen.tasks) == ["one", "three"]
    assert list(chosen.systems) == ["d"]
    assert chosen.systems["d"].patterns == ["bb", "cc"]
    assert chosen.decoders == {"tiny": "folder"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": "b"}, "There is no task b, expected a"),
        ({"systems": "s,t"}, "There is no system t, expected s"),
        ({"decoders": {"huge": "x"}}, "There is no decoder huge, expected tiny"),
    ],
)
def test_choose_refuses_unknown_names(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        read_study(write(tmp_path)).choose(**options)


def test_parse_decoders():
    assert parse_decoders("a=x/y,b=null,c=") == {"a": "x/y", "b": None, "c": None}
    assert parse_decoders("") == {}
    with pytest.raises(ValueError, match="Expected NAME=FOLDER for a decoder, but got 'x/y'"):
        parse_decoders("a=b,x/y")


def test_options_of_convert_are_those_of_the_command():
    task = Task("a", convert={"format": "conll", "spans_key": "sc", "scheme": "iob1"}, **TASK)
    assert task.convert["scheme"] == "iob1"


def test_digits_of_patterns_become_letters():
    system = System("a", "A", "decoder", decoder="tiny", patterns=["0011", "cccc"])
    assert system.patterns == ["ccbb", "cccc"]
