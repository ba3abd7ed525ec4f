"""The runner on a corpus of a few sentences and a tiny decoder, from raw text to the report."""

import json
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import spacy
import spacy.cli
import srsly
import typer
from spacy.tokens import DocBin, Span
from typer.testing import CliRunner

from benchmarks import instruction_baseline
from spacy_lgu.cli.study import commands
from spacy_lgu.study import engine, machine, process, running, runs, tasks
from spacy_lgu.study.plan import read_study
from spacy_lgu.study.results import read_results

from ..benchmarks.conftest import ROOT

SENTENCES = ["Ann/B-PER Lee/I-PER lives/O in/O Rome/B-LOC", "Bo/B-PER left/O Oslo/B-LOC ./O"]
TRAINING = {"batch": 2, "warmup": 0.5, "evaluations": 2, "checkpoint": "last"}


def make_conll(n_sentences: int) -> str:
    lines = [sentence.split() for sentence in SENTENCES]
    texts = ["\n".join(word.replace("/", " ") for word in words) for words in lines]
    return "\n\n".join(texts[i % 2] for i in range(n_sentences)) + "\n"


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data" / "mini"
    folder.mkdir(parents=True)
    (folder / "train.txt").write_text(make_conll(8))
    (folder / "test.txt").write_text(make_conll(4))
    return folder.parent


@pytest.fixture
def plan(tmp_path):
    """Two tasks on one corpus; a decoder under two patterns, a CNN, and a decoder not at hand."""
    mini = {"train": "mini/train.txt", "test": "mini/test.txt"}
    overrides = {"training.optimizer.learn_rate.initial_rate": 0.01}
    content = {
        "training": TRAINING,
        "decoders": {"tiny": None, "twin": None},
        "tasks": {
            "mini": {
                "title": "Names",
                "head": "sequence_labeler",
                "epochs": 2,
                "convert": {"format": "conll"},
                "hold_out": 2,
                "files": mini,
            },
            "spans": {
                "title": "Spans",
                "head": "spancat",
                "max_steps": 3,
                "convert": {"format": "conll", "spans_key": "sc"},
                "hold_out": 0.25,
                "files": mini,
                "overrides": {"components.spancat.suggester.max_size": 2},
            },
        },
        "systems": {
            "decoder": {
                "title": "decoder",
                "encoder": "decoder",
                "decoder": "tiny",
                "patterns": ["cccc", "ccbb"],
                "overrides": overrides,
            },
            "untrained": {
                "title": "random",
                "encoder": "decoder",
                "decoder": "tiny",
                "untrained": True,
                "patterns": ["bbbb"],
            },
            "twin": {
                "title": "twin",
                "encoder": "decoder",
                "decoder": "twin",
                "patterns": ["bbbb"],
            },
            "cnn": {"title": "CNN", "encoder": "cnn", "overrides": overrides},
            "instruction": {
                "title": "writes",
                "encoder": "instruction",
                "config": str(ROOT / "benchmarks" / "instruction_baseline.py"),
                "decoder": "tiny",
                "overrides": {"quantization": "none", "tuning": "full"},
            },
        },
    }
    srsly.write_yaml(tmp_path / "study.yml", content)
    return tmp_path / "study.yml"


@pytest.fixture
def in_process(monkeypatch):
    """Commands run here instead of in processes of their own, which take seconds to start.
    Gives their arguments."""
    script = typer.Typer()
    script.command()(instruction_baseline.main)
    called = []
    # The input of the tests ends at once, which ends a training process.
    monkeypatch.setattr(process, "end_with_input", list)

    def call(arguments, log, report, processes=None):
        called.append(arguments)
        if arguments[:2] == ["-m", "spacy"]:
            app, rest = spacy.cli.app, arguments[2:]
        elif arguments[0] == "-m":
            app, rest = process.app, arguments[2:]
        else:
            app, rest = script, arguments[1:]
        result = CliRunner().invoke(app, rest)
        log.write_text(result.output)
        for line in result.output.splitlines():
            progress = engine._read_progress(line)
            if progress is not None:
                report(progress)
        if result.exit_code != 0:
            raise engine.RunError(f"see {log}") from result.exception

    monkeypatch.setattr(engine, "call_python", call)
    return called


def invoke(*arguments) -> str:
    result = CliRunner().invoke(commands, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.fixture
def options(tmp_path, plan, data, decoder_folder):
    common = [plan, "--corpus", tmp_path / "corpus"]
    invoke("convert", *common, "--data", data)
    return [
        *common,
        *("--decoders", f"tiny={decoder_folder}"),
        *("--results", tmp_path / "results.jsonl"),
        *("--work", tmp_path / "work"),
    ]


def test_study_end_to_end(tmp_path, options, in_process):
    chosen = ["--task", "mini", "--system", "decoder", "--seeds", 2]
    planned = invoke("plan", *options, *chosen)
    assert re.search(r"mini +decoder +ccbb +6 +0 of 2 +\?", planned)
    assert "4 of 4 runs are left; their training: not known" in planned
    printed = invoke("run", *options, *chosen)
    assert "run 1 of 4, mini decoder cccc 0: 6 steps\n" in printed
    results = read_results(tmp_path / "results.jsonl")
    assert [(line["seed"], line["pattern"]) for line in results] == [
        (0, "cccc"), (0, "ccbb"), (1, "cccc"), (1, "ccbb"),
    ]  # fmt: skip
    line = results[0]
    # 6 of 8 sentences are for training: 3 batches of 2, 2 epochs.
    assert (line["task"], line["system"], line["limit"], line["steps"]) == (
        "mini", "decoder", 0, 6,
    )  # fmt: skip
    assert sum(gold for _, _, gold in line["labels"].values()) == 8
    assert [gold for _, _, gold in line["documents"]] == [2, 2, 2, 2]
    correct, predicted, gold = map(sum, zip(*line["documents"], strict=True))
    assert line["f1"] == pytest.approx(100 * 2 * correct / (predicted + gold))
    assert line["tokens_per_second"] > 0
    assert line["checkpoint_bytes"] > 100_000
    assert line["decoder"]["bits_per_byte"] is None
    assert line["machine"]["cores"] > 0
    assert f"mini decoder cccc 0: F1 {line['f1']:.2f}" in printed
    assert results[0]["settings"] == results[2]["settings"] != results[1]["settings"]
    # Logs stay, checkpoints do not.
    (folder,) = (tmp_path / "work" / "mini" / "decoder" / "cccc").glob("0-*")
    left = sorted(path.name for path in folder.iterdir())
    assert left == ["evaluate.log", "scores.json", "train.log"]

    # An interrupted study goes on: the third run is lost, and made again as it was.
    lines = (tmp_path / "results.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "results.jsonl").write_text(lines[0] + lines[1] + lines[3])
    in_process.clear()
    planned = invoke("plan", *options, *chosen)
    assert re.search(r"mini +decoder +cccc +6 +1 of 2 +\d+ s", planned)
    assert "1 of 4 runs are left" in planned
    printed = invoke("run", *options, *chosen)
    assert printed.count("done before") == 3
    assert len(in_process) == 2
    again = read_results(tmp_path / "results.jsonl")[-1]
    assert {k: again[k] for k in ("seed", "f1", "documents", "settings")} == {
        k: results[2][k] for k in ("seed", "f1", "documents", "settings")
    }

    report = tmp_path / "docs" / "results.md"
    shown = [options[0], "--results", tmp_path / "results.jsonl", "--output", report]
    invoke("report", *shown)
    text, picture = report.read_bytes(), (report.parent / "results-mini.svg").read_bytes()
    assert b"| decoder | ccbb |" in text
    assert b"Not run: random (bbbb); twin (bbbb); CNN; writes.\n" in text
    assert b"## Not run\n\nspans\n" in text
    invoke("report", *shown)
    assert report.read_bytes() == text
    assert (report.parent / "results-mini.svg").read_bytes() == picture


def test_other_systems_and_a_span_categorizer(tmp_path, options, in_process):
    printed = invoke("run", *options, "--task", "spans", "--seeds", 1, "--pattern", "bc", "--keep")
    assert "twin: left out, --decoders twin=FOLDER is not given" in printed
    results = read_results(tmp_path / "results.jsonl")
    assert [(line["system"], line["pattern"]) for line in results] == [
        ("decoder", "bc"), ("untrained", "bc"), ("cnn", None), ("instruction", None),
    ]  # fmt: skip
    assert all(0.05 <= line["threshold"] <= 0.95 for line in results[:3])
    assert [line["steps"] for line in results] == [3, 3, 3, 3]
    assert results[3]["threshold"] is None
    assert results[1]["decoder"]["identity"] == f"untrained {results[0]['decoder']['identity']}"
    assert results[2]["decoder"] is None
    (file,) = (tmp_path / "work" / "spans" / "cnn").glob("0-*/model-last/config.cfg")
    config = spacy.util.load_config(file)
    assert list(config["components"]) == ["cnn", "spancat"]
    assert config["components"]["spancat"]["suggester"]["max_size"] == 2


@pytest.mark.parametrize("system", ["decoder", "cnn"])
def test_a_span_categorizer_of_found_candidates(tmp_path, options, in_process, system):
    plan = srsly.read_yaml(options[0])
    task = plan["tasks"]["spans"]
    plan["tasks"]["found"] = {**task, "head": "spancat_found", "max_steps": 20, "overrides": {}}
    srsly.write_yaml(options[0], plan)
    convert = ["--corpus", options[2], "--data", tmp_path / "data", "--task", "found"]
    invoke("convert", options[0], *convert)
    chosen = ["--task", "found", "--system", system, "--pattern", "bb", "--seeds", 1]
    invoke("run", *options, *chosen, "--keep")
    (line,) = read_results(tmp_path / "results.jsonl")
    assert line["threshold"] is not None
    assert line["f1"] > 50
    (folder,) = (tmp_path / "work" / "found" / system).glob("**/model-last")
    nlp = spacy.load(folder)
    assert nlp.pipe_names[:3] == [system, "span_finder", "spancat_found"]
    # Both steps read the encoder: without it the finder would have learned from zeros.
    assert nlp.config["training"]["annotating_components"] == [system, "span_finder"]


def test_processes_share_the_runs(tmp_path, options, in_process, monkeypatch):
    chosen = ["--task", "mini", "--system", "decoder,cnn", "--seeds", 1]
    execute = running.execute
    executed = []

    def execute_while_another_waits(job, *arguments, **named):
        figures = execute(job, *arguments, **named)
        if not executed:
            executed.append(job)
            printed = invoke("run", *options, *chosen)
            assert "mini decoder cccc 0: left to the process that runs it" in printed
        return figures

    monkeypatch.setattr(running, "execute", execute_while_another_waits)
    printed = invoke("run", *options, *chosen)
    assert printed.count("done before") == 2
    results = read_results(tmp_path / "results.jsonl")
    assert [(line["system"], line["pattern"]) for line in results] == [
        ("decoder", "ccbb"), ("cnn", None), ("decoder", "cccc"),
    ]  # fmt: skip


def test_limit_is_another_experiment(tmp_path, options, in_process):
    chosen = ["--task", "mini", "--system", "cnn", "--seeds", 1]
    invoke("run", *options, *chosen, "--limit", 2)
    assert "done before" not in invoke("run", *options, *chosen)
    limited, full = read_results(tmp_path / "results.jsonl")
    assert (limited["limit"], limited["steps"], len(limited["documents"])) == (2, 2, 2)
    assert (full["limit"], full["steps"], len(full["documents"])) == (0, 6, 4)


def test_a_changed_corpus_is_run_again(tmp_path, options, data, in_process):
    chosen = ["--task", "mini", "--system", "cnn", "--seeds", 1]
    invoke("run", *options, *chosen)
    invoke("convert", *options[:3], "--data", data)
    assert "done before" in invoke("run", *options, *chosen)
    (data / "mini" / "test.txt").write_text(make_conll(3))
    invoke("convert", *options[:3], "--data", data)
    assert "done before" not in invoke("run", *options, *chosen)


@pytest.mark.parametrize(
    ("task", "part", "docs", "message"),
    [
        ("mini", "test", ["[Ann] ran", "[] No one looked"], None),
        ("mini", "test", ["[Ann] ran", "No one looked"], r"test\.spacy: Doc 1 has no annotation"),
        ("mini", "train", ["[] It rained"], r"train\.spacy: there is no span in doc\.ents, where"),
        (
            "spans",
            "dev",
            ["[Ann] ran"],
            r"there is no span in doc\.spans\['sc'\].* spancat of task",
        ),
    ],
)
def test_a_corpus_for_another_head_is_refused_before_training(
    tmp_path, plan, options, task, part, docs, message
):
    """[Ann]: an entity; []: annotated, but there is none."""
    nlp = spacy.blank("en")
    made = []
    for text in docs:
        made.append(nlp.make_doc(text.replace("[] ", "").replace("[", "").replace("]", "")))
        if text.startswith("["):
            ents = [] if text.startswith("[]") else [Span(made[-1], 0, 1, label="PER")]
            made[-1].set_ents(ents)
    corpus = tmp_path / "corpus" / task
    DocBin(docs=made).to_disk(corpus / f"{part}.spacy")
    chosen = read_study(plan).tasks[task]
    if message is None:
        tasks.check_corpus(chosen, corpus, 0)
        return
    for command in ("plan", "run"):
        with pytest.raises(SystemExit):
            invoke(command, *options, "--task", task, "--system", "cnn")
    result = CliRunner().invoke(
        commands, ["run", *map(str, options), "--task", task, "--system", "cnn"]
    )
    assert result.exit_code == 1
    assert re.search(message, result.output)


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "model.safetensors"])
def test_a_changed_decoder_or_adapter_is_another_experiment(
    tmp_path, options, decoder_folder, name
):
    def find(decoder, adapter):
        chosen = read_study(options[0]).choose(decoders={"tiny": str(decoder)})
        run = runs.list_runs(chosen, 1)[0]
        found = runs.find_decoder(run.system, chosen, tmp_path)
        overrides = {"components.decoder.model.lora.path": str(adapter)}
        corpus = tmp_path / "corpus" / "mini"
        return runs.find_settings(run, chosen, corpus, overrides, found)

    decoder, adapter = tmp_path / "decoder", tmp_path / "adapter"
    shutil.copytree(decoder_folder, decoder)
    shutil.copytree(decoder_folder, adapter)
    before = find(decoder, adapter)
    (decoder / "README.md").write_text("Not a part of it.")
    assert find(decoder, adapter) == before
    for folder in (decoder, adapter):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content + b" ")
        assert find(decoder, adapter) != before
        (folder / name).write_bytes(content)


def test_a_failed_run_is_named_and_the_others_go_on(tmp_path, options, in_process):
    plan = srsly.read_yaml(options[0])
    plan["systems"]["decoder"]["overrides"] = {"paths.vectors": "no/such/vectors"}
    srsly.write_yaml(options[0], plan)
    chosen = ["--task", "mini", "--system", "decoder,cnn", "--seeds", "1"]
    result = CliRunner().invoke(commands, ["run", *map(str, options), *chosen])
    assert result.exit_code == 1
    assert "mini decoder cccc 0: failed, see" in result.output
    assert "✘ 2 runs failed" in result.output
    assert [line["system"] for line in read_results(tmp_path / "results.jsonl")] == ["cnn"]


def test_convert_leaves_out_what_is_not_there(tmp_path, plan, data):
    content = srsly.read_yaml(plan)
    content["tasks"]["own"] = {
        "title": "Own",
        "head": "ner",
        "epochs": 1,
        "files": {part: f"own/{part}.spacy" for part in ("train", "dev", "test")},
    }
    srsly.write_yaml(plan, content)
    common = [plan, "--corpus", tmp_path / "corpus"]
    printed = invoke("convert", *common, "--data", data)
    assert "left out: There is no file own/train.spacy in the folder" in printed
    with pytest.raises(FileNotFoundError, match=r"There is no file own/train\.spacy"):
        invoke("convert", *common, "--data", data, "--task", "own")
    with pytest.raises(FileNotFoundError, match="No task has its files in the folder"):
        invoke("convert", *common, "--data", tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"Not converted yet: own\. Run"):
        invoke("run", *common, "--task", "own")
    (data / "own").mkdir()
    for part in ("train", "dev", "test"):
        (data / "own" / f"{part}.spacy").write_bytes(
            (tmp_path / "corpus" / "mini" / f"{part}.spacy").read_bytes()
        )
    invoke("convert", *common, "--data", data, "--task", "own")
    assert (tmp_path / "corpus" / "own" / "test.spacy").is_file()
    shutil.rmtree(data / "own")
    (tmp_path / "corpus" / "own" / "notes.txt").touch()
    with pytest.raises(FileExistsError, match=r"own', where .* holds other files: notes\.txt\."):
        invoke("convert", *common, "--data", data)
    (tmp_path / "corpus" / "own" / "notes.txt").unlink()
    printed = invoke("convert", *common, "--data", data)
    assert f"removed: {tmp_path / 'corpus' / 'own'}, converted from other files" in printed
    assert not (tmp_path / "corpus" / "own").exists()


def test_convert_replaces_no_folder_of_another_kind(tmp_path, plan, data):
    """Here --corpus is the folder of the raw files, and a task has the name of one in it."""
    before = sorted((data / "mini").iterdir())
    assert before
    with pytest.raises(FileExistsError, match=r"mini', where .* goes, holds other files: "):
        invoke("convert", plan, "--corpus", data, "--data", data)
    assert sorted((data / "mini").iterdir()) == before


def test_tenths_go_by_the_number_that_begins_a_name(tmp_path, plan):
    content = srsly.read_yaml(plan)
    content["tasks"] = {
        "books": {
            "title": "Books",
            "head": "sequence_labeler",
            "epochs": 1,
            "convert": {"format": "litbank-events"},
            "files": "books/*.tsv",
            "tenths": {"dev": 1, "test": 2},
        }
    }
    srsly.write_yaml(plan, content)
    task = read_study(plan).tasks["books"]
    (tmp_path / "books").mkdir()
    for number in (3, 20, 100, 1):
        (tmp_path / "books" / f"{number}_title.tsv").touch()
    names = {
        part: [file.name for file in files]
        for part, files in tasks.find_files(task, tmp_path).items()
    }
    assert names == {
        "train": ["1_title.tsv", "100_title.tsv"],
        "dev": ["3_title.tsv"],
        "test": ["20_title.tsv"],
    }
    (tmp_path / "books" / "title.tsv").touch()
    with pytest.raises(ValueError, match="tenths need names that begin with a number"):
        tasks.find_files(task, tmp_path)


def test_bits_per_byte_of_a_decoder(tmp_path, plan, decoder_folder):
    folder = tmp_path / "decoder"
    folder.mkdir()
    for file in decoder_folder.iterdir():
        (folder / file.name).symlink_to(file)
    record = {"metric": "bits per byte", "history": [[1, 1.0, 2.0, 2.5], [2, 2.0, None, 1.25]]}
    (folder / "training.json").write_text(json.dumps(record))
    study_ = read_study(plan).choose(decoders={"tiny": str(folder)})
    found = runs.find_decoder(study_.systems["decoder"], study_, tmp_path)
    assert found.bits_per_byte == 1.25


def test_processes_write_one_decoder_with_random_weights(
    tmp_path, plan, decoder_folder, monkeypatch
):
    written = []

    def make(name, folder, *, revision):
        written.append(folder)
        folder.mkdir()
        time.sleep(0.05)

    monkeypatch.setattr(runs, "make_untrained", make)
    study_ = read_study(plan).choose(decoders={"tiny": str(decoder_folder)})
    system = next(s for s in study_.systems.values() if s.untrained)
    with ThreadPoolExecutor(2) as pool:
        found = runs.find_decoder(system, study_, tmp_path)
        list(pool.map(lambda _: runs.write_untrained(system, study_, found), range(2)))
    assert [str(folder) for folder in written] == [found.name]


def test_the_machine_is_described_where_a_package_is_missing(monkeypatch):
    monkeypatch.setattr(machine, "_PACKAGES", ("spacy", "no-such-package"))
    described = machine.describe_machine(-1)
    assert described["spacy"] == spacy.__version__
    assert described["no-such-package"] is None


def test_commit_is_none_without_git(monkeypatch):
    monkeypatch.setattr("shutil.which", {}.get)
    assert machine.find_commit() is None


def test_compressed_results_are_not_added_to(tmp_path):
    with pytest.raises(ValueError, match=r"is compressed, for reports only: unpack it"):
        invoke("run", "--results", tmp_path / "results.jsonl.xz")
