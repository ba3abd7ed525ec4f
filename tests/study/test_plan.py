"""Descriptions of studies: what is read, what is refused, what is chosen."""

from datetime import date

import pytest
import srsly
from spacy.util import load_config, load_model_from_config

from spacy_lgu.study.plan import CONFIG, System, Task, parse_decoders, read_study

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


@pytest.mark.parametrize("name", ["study", "lora_variants", "smollm2"])
def test_shipped_plans_have_settings_that_configs_have(name):
    study = read_study(ROOT / "benchmarks" / f"{name}.yml")
    for system in study.systems.values():
        if system.config == CONFIG and system.encoder == "decoder":
            config = load_config(CONFIG, overrides=system.overrides)
            load_model_from_config(config, auto_fill=True, validate=True)


def test_pretrained_decoder_is_trained_as_in_the_paper():
    study = read_study(ROOT / "benchmarks" / "smollm2.yml")
    assert list(study.tasks) == ["conll2003", "rest14", "wnut17", "litbank-events"]
    config = load_config(CONFIG, overrides=study.systems["qlora"].overrides)
    model = config["components"]["decoder"]["model"]
    assert (model["quantization"], model["tuning"], model["lora"]["rank"]) == ("nf4", "lora", 64)
    assert model["lora"]["modules"] == "attention"
    assert config["listeners"]["decoder"]["pooling"]["@layers"] == "reduce_first.v1"


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
        (
            {"system": {**DECODER, "patterns": "ccbb"}},
            "System s: expected a list for patterns, but got 'ccbb'",
        ),
        ({"system": {**DECODER, "patterns": [11]}}, "arrived as the integer 11"),
        ({"system": {**SYSTEM, "overrides": None}}, "texts, with values for overrides, but got No"),
        ({"system": {**SYSTEM, "overrides": {3: 1}}}, r"for overrides, but got \{3: 1\}"),
        (
            {"system": {**SYSTEM, "overrides": {"a": date(2020, 1, 2)}}},
            r"for overrides, but got \{'a': datetime.date\(2020, 1, 2\)\}",
        ),
        ({"system": {**SYSTEM, "config": 3}}, "System s: expected a text for config, but got 3"),
        ({"system": {**DECODER, "untrained": "x"}}, "expected true or false for untrained, but g"),
        ({"task": {"max_steps": 0, "epochs": None}}, "Task a: expected at least 1 of epochs or ma"),
        (
            {"task": {"epochs": 0.5}},
            "expected a whole number or null for epochs, but got 0.5",
        ),
        (
            {"task": {"max_steps": "x"}},
            "a whole number or null for max_steps, but got 'x'",
        ),
        ({"task": {"hold_out": True}}, "expected a whole number or a number or null for hold_out"),
        ({"task": {"files": {"train": 3}}}, "values or a text for files, but got {'train': 3}"),
        ({"task": {"title": ["A"]}}, r"Task a: expected a text for title, but got \['A'\]"),
        ({"tasks": {"a": None}}, "Task a: expected title, head, files, .*, but got None"),
        ({"tasks": {"a": {"head": "ner"}}}, "Task a: title is missing"),
        ({"tasks": ["a"]}, r"study.yml: expected names, .* for tasks, but got \['a'\]"),
        ({"tasks": {3: TASK}}, r"study.yml: expected names, .* for tasks, but got \{3: "),
        ({"tasks": {}}, "expected at least one task and one system"),
        ({"tasks": {"differences": TASK}}, "a task cannot be called 'differences'"),
        ({"tasks": {"..": TASK}}, "not at their beginning, but got '..'"),
        ({"systems": {".hidden": SYSTEM}}, "not at their beginning, but got '.hidden'"),
        ({"decoders": {"tiny": 3}}, "expected names, .* for decoders, but got {'tiny': 3}"),
        ({"decoders": None}, "expected names, .* for decoders, but got None"),
        ({"training": None}, "Training: expected batch, .*, but got None"),
        ({"training": {"batch": True}}, "Training: expected a whole number for batch, but got Tr"),
        ({"training": {"warmup": "x"}}, "Training: expected a number for warmup, but got 'x'"),
        (
            {"system": {**DECODER, "decoder": "big"}},
            "decoder is 'big', expected one of the .* tiny",
        ),
        ({"training": {"checkpoint": "first"}}, "checkpoint is 'first': expected last or best"),
        ({"training": {"warmup": 1.0}}, "a warmup from 0 to below 1, but got 16, 5 and 1.0"),
        ({"training": {"batches": 1}}, "Training: there is no batches, expected batch, warmup"),
        (
            {"tasks": {"a/b": TASK}},
            "Expected names of letters, digits, -, .* but got 'a/b'",
        ),
        ({"more": {}}, "there is no more, expected training, decoders, tasks, systems, title, ab"),
        ({"about": ["x"]}, "expected a text for about, but got"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        read_study(write(tmp_path, **change))


@pytest.mark.parametrize("content", ["a: [", "a:\n\t- b", "- !!python/object/apply:os.getcwd []"])
def test_what_is_no_yaml_is_named(tmp_path, content):
    (tmp_path / "study.yml").write_text(content)
    with pytest.raises(ValueError, match="Invalid YAML") as error:
        read_study(tmp_path / "study.yml")
    told = [str(error.value), *getattr(error.value, "__notes__", [])]
    assert str(tmp_path / "study.yml") in "\n".join(told)


def test_patterns_of_one_meaning_are_one(tmp_path):
    study = read_study(write(tmp_path, system={**DECODER, "patterns": ["cb", "01", "bb", "cb"]}))
    assert study.systems["s"].patterns == ["cb", "bb"]


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


@pytest.mark.parametrize("content", ["", "tasks: {}", "[training]"])
def test_sections_that_are_missing(tmp_path, content):
    (tmp_path / "study.yml").write_text(content)
    with pytest.raises(
        ValueError, match="expected the sections training, decoders, tasks, systems"
    ):
        read_study(tmp_path / "study.yml")
