"""Runs: what is refused before they begin, what a kill leaves, and several processes."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest
import torch

from spacy_lgu.annotation import running
from spacy_lgu.annotation.folder import held, write_manifest
from spacy_lgu.annotation.running import Workers
from spacy_lgu.annotation.scheduling import Event
from spacy_lgu.replacing import replace_file

from ..conftest import make_nlp
from ..killing import kill_everywhere
from .conftest import contents, make_rules, read_all, read_jsonl, write_jsonl

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
RECORDS = [{"id": i, "text": f"Ann saw Rome {i}"} for i in range(7)]
RECORDS[3]["text"] = "poison"
CODE = """
import os, signal
import spacy

@spacy.Language.component("test_annotation_dying")
def die(doc):
    marker = os.environ["TEST_ANNOTATION_MARKER"]
    if doc.text == "die" or (doc.text == "die once" and not os.path.exists(marker)):
        open(marker, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    if doc.text == "slow":
        import time
        time.sleep(600)
    return doc
"""


@pytest.fixture
def corpus(tmp_path):
    write_jsonl(tmp_path / "data" / "a.jsonl", RECORDS)
    write_jsonl(tmp_path / "data" / "de" / "b.jsonl", [{"id": 7, "text": "Rom"}])
    (tmp_path / "data" / "notes.md").touch()
    return tmp_path / "data"


@pytest.fixture
def dying(tmp_path, monkeypatch):
    """A pipeline that dies over some texts. RETURNS: Its folder, and the code that it needs."""
    code = tmp_path / "code.py"
    code.write_text(CODE)
    monkeypatch.setenv("TEST_ANNOTATION_MARKER", str(tmp_path / "marker"))
    nlp = make_rules()
    nlp.remove_pipe("test_annotation_spans")
    nlp.to_disk(tmp_path / "dying")
    config = nlp.config
    config["nlp"]["pipeline"].append("dying")
    config["components"]["dying"] = {"factory": "test_annotation_dying"}
    config.to_disk(tmp_path / "dying" / "config.cfg")
    return tmp_path / "dying", code


def test_a_folder(annotate, corpus, tmp_path):
    summary, said = annotate(corpus, shard_size=3)
    assert (summary.n_records, summary.n_before, summary.n_failed, summary.n_shards) == (8, 0, 1, 4)
    assert said[0] == f"1 files of no known format left out, such as {corpus / 'notes.md'}"
    assert said[1] == "Counting the records of 2 files, 0.0 MB"
    out = tmp_path / "out"
    assert sorted(contents(out)) == [
        "a.jsonl-000000.jsonl", "a.jsonl-000001.jsonl", "a.jsonl-000002.jsonl",
        "de/b.jsonl-000000.jsonl", "failed.log", "manifest.json",
    ]  # fmt: skip
    assert [record["id"] for record in read_all(out)] == [0, 1, 2, 4, 5, 6, 7]
    assert read_jsonl(out / "failed.log") == [
        {"file": "a.jsonl", "line": 4, "reason": "RuntimeError: cannot read this"}
    ]
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["pipeline"].keys() == {"lang", "name", "version", "digest"}
    assert [entry["n_records"] for entry in manifest["inputs"]] == [7, 1]


def test_a_finished_run_is_not_repeated(annotate, corpus, tmp_path):
    annotate(corpus, shard_size=3)
    before = contents(tmp_path / "out")
    shard = tmp_path / "out" / "a.jsonl-000001.jsonl"
    shard.write_bytes(before.pop("a.jsonl-000001.jsonl") + b" ")  # would show if it were redone
    (tmp_path / "out" / "a.jsonl-000000.jsonl").unlink()
    summary, said = annotate(corpus, shard_size=3)
    assert (summary.n_records, summary.n_before, summary.n_failed) == (8, 5, 1)
    assert not any("Counting" in text for text in said)
    after = contents(tmp_path / "out")
    assert after.pop("a.jsonl-000001.jsonl").endswith(b" ")
    assert after == before


def test_killed_at_every_change_of_a_file_and_gone_on(annotate, corpus, tmp_path):
    """Nothing is lost, twice there or left behind, wherever the process is killed."""
    annotate(corpus, shard_size=3)
    expected = contents(tmp_path / "out")
    current = tmp_path / "current"

    def prepare():
        shutil.rmtree(current, ignore_errors=True)

    def begin():
        annotate(corpus, output=current, shard_size=3)

    kills = 0
    for event in kill_everywhere(begin, below=current, prepare=prepare, every=5):
        kills += event is not None
        done = [name for name in contents(current) if name.startswith(("a.", "de/b."))]
        assert all(contents(current)[name] == expected[name] for name in done)
        summary, _ = annotate(corpus, output=current, shard_size=3)
        assert summary.n_failed == 1
        assert contents(current) == expected
    assert kills > 10


def test_another_command_is_refused(annotate, corpus, tmp_path):
    annotate(corpus, shard_size=3)
    nlp = make_rules()
    nlp.meta["version"] = "2.0"
    nlp.to_disk(tmp_path / "other")
    with pytest.raises(ValueError, match=r"was en pipeline 0.0.0 \(digest .* but is .* 2.0"):
        annotate(corpus, shard_size=3, nlp=tmp_path / "other")
    with pytest.raises(ValueError, match="was 'ents', but is 'found'; --shard-size was 3"):
        annotate(corpus, shard_size=4, ents_field="found")
    with pytest.raises(ValueError, match=r"the input de/b.jsonl is missing"):
        annotate(corpus / "a.jsonl", shard_size=3)
    write_jsonl(corpus / "c.jsonl", RECORDS)
    with pytest.raises(ValueError, match=r"the input c.jsonl is new. Go on with what it was"):
        annotate(corpus, shard_size=3)
    (corpus / "c.jsonl").unlink()
    paths = [corpus / "de", corpus / "a.jsonl"]
    with pytest.raises(ValueError, match=r"the input b.jsonl is new"):
        annotate(*paths, shard_size=3)


def test_what_was_begun_without_a_shard_binds_nobody(annotate, corpus, tmp_path):
    with held(tmp_path / "out"):
        write_manifest(tmp_path / "out", {"version": 0})
    assert annotate(corpus)[0].n_records == 8
    manifest = tmp_path / "out" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(
        ValueError, match=r"manifest.json is of version 2, but this one .* writes 1"
    ):
        annotate(corpus)


def test_inputs_are_compared_by_their_content(annotate, corpus):
    annotate(corpus, shard_size=3)
    os.utime(corpus / "a.jsonl", (1, 1))
    assert annotate(corpus, shard_size=3)[0].n_before == 8
    write_jsonl(corpus / "a.jsonl", [*RECORDS[:-1], {"id": 6, "text": "Ann saw Oslo 6"}])
    with pytest.raises(ValueError, match=r"input a.jsonl has changed \(2.. bytes then, 2.. now\)"):
        annotate(corpus, shard_size=3)


def test_a_file_that_changes_during_the_run(annotate, corpus, monkeypatch):
    from spacy_lgu.annotation import working

    def change(path, content):
        replace_file(path, content)
        write_jsonl(corpus / "a.jsonl", [])

    monkeypatch.setattr(working, "replace_file", change)
    with pytest.raises(ValueError, match=r"a.jsonl has changed since its records were counted"):
        annotate(corpus, shard_size=3)


def test_one_process_at_a_time(annotate, corpus, tmp_path):
    with held(tmp_path / "out"):
        message = f"is being written by process {os.getpid()} on {socket.gethostname()}"
        with pytest.raises(FileExistsError, match=message):
            annotate(corpus)
    assert annotate(corpus)[0].n_records == 8


def test_folders_of_others_are_left_alone(annotate, corpus, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(FileExistsError, match=r"holds other files \('mine'\), and no annotated"):
        annotate(corpus)
    with pytest.raises(NotADirectoryError, match="is a file: expected a folder"):
        annotate(corpus, output=tmp_path / "out" / "mine")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "csv"}, "--format to be one of jsonl, .*, but got 'csv'"),
        ({"shard_size": 0}, "at least 1 record in a shard, but got 0"),
        ({"batch_tokens": 0}, "at least 1 token in a batch, but got 0"),
        ({"ents_field": "text"}, "different names .*, but got text, text, spans"),
        ({"format": "parquet", "text_field": "record"}, "none to be record, but got record"),
        ({"nlp": "no/such"}, "no pipeline 'no/such': expected a folder"),
        ({"text_field": "body"}, r"none of the first 7 records .* --text-field"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(annotate, corpus, tmp_path, options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        annotate(corpus, **options)
    assert contents(tmp_path / "out") == {}


def test_without_what_a_format_needs(annotate, corpus, monkeypatch):
    from spacy_lgu.annotation import parquet

    monkeypatch.setattr(parquet, "find_spec", {}.get)
    with pytest.raises(ImportError, match=r"pip install 'spacy-lgu\[parquet\]'"):
        annotate(corpus, format="parquet")


def test_an_empty_corpus(annotate, tmp_path):
    (tmp_path / "a.jsonl").touch()
    assert annotate(tmp_path / "a.jsonl")[0].n_records == 0


def test_a_decoder_gives_what_it_gives_one_by_one(annotate, decoder_folder, tmp_path):
    nlp = make_nlp(decoder_folder)
    nlp.to_disk(tmp_path / "nlp")
    texts = [f"Ann Lee ate naan in New York on {i} May. " * (1 + i % 4) for i in range(12)]
    source = write_jsonl(tmp_path / "a.jsonl", [{"text": text} for text in texts])
    annotate(source, nlp=tmp_path / "nlp", shard_size=5, batch_tokens=50)
    expected = [[(e.start_char, e.end_char, e.label_) for e in nlp(text).ents] for text in texts]
    found = [
        [(e["start"], e["end"], e["label"]) for e in record["ents"]]
        for record in read_all(tmp_path / "out")
    ]
    assert found == expected
    assert sum(map(len, found)) > 12


def test_processes_give_the_same_and_one_may_die(dying, annotate, tmp_path):
    nlp, code = dying
    records = [{"id": i, "text": f"Ann saw Rome {i}"} for i in range(9)]
    records[4]["text"] = "die once"
    source = write_jsonl(tmp_path / "a.jsonl", records)
    annotate(source, nlp=nlp, code=code, shard_size=2, workers=Workers(2))
    assert (tmp_path / "marker").exists()
    assert [record["id"] for record in read_all(tmp_path / "out")] == list(range(9))
    assert [len(record["ents"]) for record in read_all(tmp_path / "out")] == [2] * 4 + [0] + [2] * 4
    left = [path.name for path in (tmp_path / "out").rglob("*") if "partial" in path.name]
    assert left == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, 130)])
def test_workers_end_with_the_process_that_began_them(dying, tmp_path, number, status):
    nlp, code = dying
    source = write_jsonl(tmp_path / "a.jsonl", [{"text": "slow"}, {"text": "slow"}])
    command = [
        sys.executable, "-m", "spacy", "lgu", "annotate", nlp, source, tmp_path / "out",
        "--code", code, "--shard-size", 1, "--workers", 1,
    ]  # fmt: skip
    words = [str(word) for word in command]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, cwd=tmp_path) as process:
        while not (started := list((tmp_path / "out").glob(".a.jsonl-*.partial-*"))):
            assert process.poll() is None
            time.sleep(0.1)
        worker = int(started[0].name.split("partial-")[1].split("-")[0])
        assert worker != process.pid
        process.send_signal(number)
    assert process.returncode == status
    deadline = time.monotonic() + 30
    while is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_running(worker)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Dying:
    """An engine whose workers die over every shard but the first."""

    def __init__(self, job, *, threads, gpu_id):
        self.events = []
        self.n_started = 0

    def start(self):
        self.events.append(Event(self.n_started, "ready"))
        self.n_started += 1
        return self.n_started - 1

    def give(self, worker, shard):
        self.events.append(Event(worker, "died" if shard.number else "done", reason="status -9"))

    def wait(self):
        return [self.events.pop(0)]

    def close(self):
        """Nothing runs."""


def test_shards_over_which_workers_die_are_named(annotate, corpus, monkeypatch):
    monkeypatch.setattr(running, "Processes", Dying)
    message = r"1 shards are not written, .*: a.jsonl-000001.jsonl \(status -9\). A document may"
    with pytest.raises(RuntimeError, match=message):
        annotate(corpus, shard_size=4, workers=Workers(1))


def test_a_pipeline_that_no_process_can_load(annotate, corpus, tmp_path):
    config = corpus.parent / "broken"
    config.mkdir()
    (config / "config.cfg").write_text("[nlp]\nlang = none\n")
    (config / "meta.json").write_text('{"lang": "en"}')
    with pytest.raises(RuntimeError):
        annotate(corpus, nlp=config, workers=Workers(1))


@pytest.mark.parametrize(
    ("n_gpus", "workers", "message"),
    [
        (0, Workers(gpu_id=0), "--gpu-id 0: this machine has no GPU that torch can use"),
        (1, Workers(gpu_id=1), "--gpu-id 1: this machine has one, number 0. Name another one, or"),
        (2, Workers(3, gpu_id=1), "takes the GPUs 1 to 3, one for each worker, but this machine "),
        (1, Workers(2, gpu_id=0), "To have several share one, give --ray auto --gpus-per-worker"),
    ],
)
def test_gpus_that_are_not_there(annotate, corpus, monkeypatch, n_gpus, workers, message):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_gpus)
    with pytest.raises(ValueError, match=re.escape(message)):
        annotate(corpus, workers=workers)


def test_gpus_that_are_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for workers in (Workers(), Workers(0, gpu_id=1), Workers(2, gpu_id=0), Workers(9, "auto")):
        running.check_gpus(workers)


@needs_ray
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_actors_of_ray_give_the_same_and_one_may_die(annotate, dying, tmp_path):
    nlp, code = dying
    records = [{"id": i, "text": f"Ann saw Rome {i}"} for i in range(6)]
    records[2]["text"] = "die once"
    source = write_jsonl(tmp_path / "a.jsonl", records)
    command = [
        sys.executable, "-m", "spacy", "lgu", "annotate", nlp, source, tmp_path / "out",
        "--code", code, "--shard-size", 2, "--workers", 1, "--ray", "auto",
        "--cpus-per-worker", 0.5,
    ]  # fmt: skip
    subprocess.run([str(word) for word in command], check=True, cwd=tmp_path, capture_output=True)
    assert (tmp_path / "marker").exists()
    found = read_all(tmp_path / "out")
    assert [record["id"] for record in found] == list(range(6))
    assert [len(record["ents"]) for record in found] == [2, 2, 0, 2, 2, 2]
    annotate(source, nlp=nlp, code=code, shard_size=2, output=tmp_path / "here")
    assert contents(tmp_path / "out") == contents(tmp_path / "here")
