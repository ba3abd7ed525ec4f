"""The folder of a search: one holder, one search, and outcomes that survive kills."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
from thinc.api import Config

from spacy_lgu.search.folder import check_identity, held, keep_result, make_outcome, read_trials
from spacy_lgu.search.jobs import Search, find_identity
from spacy_lgu.search.space import Candidate, Space
from spacy_lgu.search.trials import Task, Trial

from ..killing import kill_everywhere

IDENTITY = {"config": {"training.max_steps": 400, "paths.train": "a"}, "space": {"groups": 4}}
TRIAL = Trial("train", Candidate("cb", 3), 1, 40, (("draw", "even"), ("most", 9)))
FIGURES = {"score": 0.5, "seconds": 2.0}


def test_outcomes_are_read_as_they_were_kept(tmp_path):
    keep_result(tmp_path, TRIAL, FIGURES)
    keep_result(tmp_path, TRIAL, {**FIGURES, "score": 0.9})
    ((trial, line),) = read_trials(tmp_path)
    assert trial == TRIAL
    assert make_outcome(trial, line).score == 0.5


def test_outcomes_of_shared_trainings(tmp_path):
    found = [{"pattern": "cb", "n_layers": None, "repeat": 2, "score": 0.25}]
    line = keep_result(tmp_path, TRIAL, {**FIGURES, "found": found, "gates": [0.1, 0.9]})
    outcome = make_outcome(TRIAL, line)
    assert outcome.found == {Candidate("cb", None, 2): 0.25}
    assert outcome.gates == (0.1, 0.9)


def test_a_line_that_was_cut_off_is_left_out(tmp_path, capsys):
    keep_result(tmp_path, TRIAL, FIGURES)
    other = Trial("train", Candidate("bb"), 0, 40)
    whole = json.dumps(keep_result(tmp_path, other, FIGURES))
    file = tmp_path / "results.jsonl"
    content = file.read_bytes()
    for length in range(1, len(whole)):
        file.write_bytes(content[: -length - 1])
        assert [trial for trial, _ in read_trials(tmp_path)] == [TRIAL]
    assert "the last line was cut off" in capsys.readouterr().err
    keep_result(tmp_path, other, FIGURES)
    assert [trial for trial, _ in read_trials(tmp_path)] == [TRIAL, other]


def test_wherever_it_is_killed_an_outcome_is_whole_or_not_there(tmp_path):
    folder = tmp_path / "out"

    def prepare():
        folder.mkdir(exist_ok=True)
        (folder / "results.jsonl").unlink(missing_ok=True)
        keep_result(folder, TRIAL, FIGURES)

    other = Trial("train", Candidate("bb"), 0, 40)
    for _ in kill_everywhere(
        lambda: keep_result(folder, other, FIGURES), below=folder, prepare=prepare
    ):
        assert [trial for trial, _ in read_trials(folder)] in ([TRIAL], [TRIAL, other])


def test_what_is_no_outcome_is_named(tmp_path):
    (tmp_path / "results.jsonl").write_text('{"score": 1}\n')
    with pytest.raises(ValueError, match=r"results\.jsonl: expected trials of a search, but found"):
        read_trials(tmp_path)
    (tmp_path / "results.jsonl").write_text('{"f1": 1}\n{"score": 1}\n')
    with pytest.raises(ValueError, match=r"results\.jsonl:1: expected a result as JSON"):
        read_trials(tmp_path)


def test_a_second_search_is_refused(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from spacy_lgu.search.folder import held\n"
        "with held(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "held\n"
        place = re.escape(f"is being searched by process {other.pid} on {socket.gethostname()}.")
        with pytest.raises(FileExistsError, match=place), held(tmp_path):
            pass
    finally:
        other.send_signal(signal.SIGKILL)
        other.communicate()
    deadline = time.monotonic() + 30
    while True:  # what was killed holds nothing
        try:
            with held(tmp_path):
                assert json.loads((tmp_path / "holder.json").read_text())["pid"] == os.getpid()
            break
        except FileExistsError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert not (tmp_path / "holder.json").exists()


def test_the_same_search_goes_on_and_another_one_is_refused(tmp_path):
    check_identity(tmp_path, IDENTITY)
    check_identity(tmp_path, json.loads(json.dumps(IDENTITY)))
    other = {
        "config": {"training.max_steps": 200, "paths.train": "a"},
        "space": {"groups": 4, "depths": [2]},
    }
    message = (
        r"holds a search of something else: config training.max_steps was 400, now it is 200; "
        r"space depths was not set, now it is \[2\]\. Go on with what it was"
    )
    with pytest.raises(ValueError, match=message):
        check_identity(tmp_path, other)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    message = r"file is a file\. Name a new or an empty folder"
    with pytest.raises(FileExistsError, match=message), held(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(
        FileExistsError, match=r"holds other files \('thesis\.tex'\), and no search"
    ):
        check_identity(tmp_path, IDENTITY)


def test_all_that_paths_name_is_part_of_what_is_searched(tmp_path):
    (tmp_path / "vectors" / "vocab").mkdir(parents=True)
    (tmp_path / "texts").mkdir()
    paths = {name: str(tmp_path / name) for name in ("vectors", "texts", "none")}
    config = Config({"paths": paths, "model": {"name": "x/y"}})
    search = Search(config, ("model",), Task(Space(1), (0,), 4), code=None)
    found = []
    for content in ("1", "2"):
        (tmp_path / "vectors" / "vocab" / "key2row").write_text(content)
        (tmp_path / "texts" / "train.jsonl").write_text(content)
        found.append(find_identity(search, "greedy", {})["file"])
    assert [list(files) for files in found] == [[paths["vectors"], paths["texts"]]] * 2
    assert all(found[0][name] != found[1][name] for name in found[0])


def test_code_and_adapters_are_part_of_what_is_searched(tmp_path):
    code, lora = tmp_path / "code.py", tmp_path / "lora"
    code.write_text("a = 1")
    lora.mkdir()
    (lora / "adapter.json").write_text("1")
    config = Config({"paths": {}, "model": {"name": "x/y", "lora": {"path": str(lora)}}})
    search = Search(config, ("model",), Task(Space(1), (0,), 4), code=str(code))
    before = find_identity(search, "greedy", {})["file"]
    code.write_text("a = 2")
    (lora / "adapter.json").write_text("2")
    after = find_identity(search, "greedy", {})["file"]
    assert before.keys() == after.keys() == {str(code), str(lora)}
    assert all(before[name] != after[name] for name in before)
