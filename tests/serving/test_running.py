"""The command as a process: signals, the log, and a folder that is read again."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import uvicorn

from spacy_lgu.serving.running import Place, _Server, serve
from spacy_lgu.serving.settings import Limits, check_token, is_loopback

from .conftest import annotate, make_rules, wait_until

SLOW = """
import time
from pathlib import Path
from spacy.language import Language

@Language.component("test_serving_rules")
def be_slow(doc):
    if doc.text.startswith("wait"):
        (Path(__file__).parent / "begun").touch()
        for _ in range(2000):
            if (Path(__file__).parent / "go on").exists():
                break
            time.sleep(0.01)
    if doc.text.startswith("poison"):
        raise RuntimeError(doc.text)
    return doc
"""


class Process:
    """A service of the rules in a process. RETURNS: What it prints, and a client."""

    def __init__(self, folder, code, *options) -> None:
        self.printed: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "spacy", "lgu", "serve", "--folder", folder, "--port", "0",
             "--code", code, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf8",
            env={**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout:
            self.printed.append(line)

    @property
    def text(self) -> str:
        return "".join(self.printed)

    def connect(self) -> httpx.Client:
        wait_until(lambda: re.search("Serving .*rules at", self.text) or self._process.poll(), 60)
        (address,) = re.findall(r"Serving .*rules at (\S+)", self.text)
        return httpx.Client(base_url=address, timeout=20)

    def signal(self, number) -> None:
        self._process.send_signal(number)

    def end(self) -> int:
        code = self._process.wait(20)
        self._reader.join()
        self._process.stdout.close()
        return code


@pytest.fixture
def start(folder, tmp_path):
    """Starts a process with the rules alone in a folder of its own."""
    (tmp_path / "code.py").write_text(SLOW)
    own = tmp_path / "pipelines"
    shutil.copytree(folder / "rules", own / "rules")
    started = []

    def run(*options):
        started.append(Process(own, tmp_path / "code.py", *options))
        return started[-1], own

    yield run
    for process in started:
        process.signal(signal.SIGKILL)
        process.end()


def test_a_service_from_its_first_to_its_last_moment(start):
    process, own = start()
    with process.connect() as client, ThreadPoolExecutor(2) as pool:
        assert annotate(client, text="Rome").status_code == 200
        assert annotate(client, text="poison SECRET").status_code == 500
        # A folder that is read again.
        make_rules().to_disk(own / "more")
        process.signal(signal.SIGHUP)
        wait_until(lambda: "Serving more, rules" in process.text)
        assert annotate(client, "more", text="Rome").status_code == 200
        shutil.rmtree(own / "more")
        process.signal(signal.SIGHUP)
        wait_until(lambda: process.text.count("Serving rules") > 1)
        assert annotate(client, "more", text="Rome").status_code == 404
        make_rules().to_disk(own / "not a name")
        process.signal(signal.SIGHUP)
        wait_until(lambda: "All pipelines stay as they are" in process.text)
        # The end.
        taken = [pool.submit(annotate, client, text="wait")]
        wait_until((own.parent / "begun").exists)  # not in one batch with the next
        taken.append(pool.submit(annotate, client, text="Rome"))
        wait_until(lambda: "queue_requests 1.0" in client.get("/metrics").text)
        process.signal(signal.SIGTERM)
        wait_until(lambda: client.get("/health/ready").status_code == 503)
        refused = annotate(client, text="Rome")
        assert refused.status_code == 503
        assert "shutting down" in refused.text
        assert client.get("/health/live").status_code == 200
        (own.parent / "go on").touch()
        assert [answer.result().status_code for answer in taken] == [200, 200]
    assert process.end() == 0
    assert process.printed[-1] == "✔ All that was taken is answered.\n"
    assert "RuntimeError" in process.text
    assert "SECRET" not in process.text


def test_a_pipeline_by_name_is_read_again(start, tmp_path):
    make_rules("LOC").to_disk(tmp_path / "named")
    process, _ = start(f"named={tmp_path / 'named'}")
    with process.connect() as client:
        assert '"LOC"' in annotate(client, "named", text="Rome").text
        make_rules("GPE").to_disk(tmp_path / "named")
        process.signal(signal.SIGHUP)
        wait_until(lambda: process.text.count("Serving named, rules") > 1)
        assert '"GPE"' in annotate(client, "named", text="Rome").text
    process.signal(signal.SIGTERM)
    assert process.end() == 0


def test_a_second_signal_ends_it_at_once(monkeypatch):
    ended, began = [], []
    monkeypatch.setattr(os, "_exit", ended.append)
    server = _Server(uvicorn.Config(None), lambda: began.append(True))
    server.handle_exit(signal.SIGTERM, None)
    assert (began, ended) == ([True], [])
    server.handle_exit(signal.SIGINT, None)
    assert ended == [130]


# Before it listens


def run_serve(named=None, folder=None, host="127.0.0.1", port=0, token=None):
    said = []
    place = Place(host=host, port=port, token=token)
    serve(named or {}, folder, place, Limits(), lambda text, kind: said.append((kind, text)))
    return said


def test_nothing_to_serve():
    with pytest.raises(ValueError, match="Expected pipelines to serve, as NAME=PATH or PATH"):
        run_serve()


def test_an_address_that_is_taken(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"Cannot listen at 127.0.0.1, port {port}: "):
            run_serve(folder=folder, port=port)
    with pytest.raises(OSError, match=r"Cannot listen at no\.such\.host\.invalid, port 0: "):
        run_serve(folder=folder, host="no.such.host.invalid")


def test_pipelines_that_cannot_be_loaded_end_it(folder, tmp_path):
    own = shutil.copytree(folder, tmp_path / "own")
    config = own / "rules" / "config.cfg"
    config.write_text(config.read_text("utf8").replace('"entity_ruler"', '"entity_rules"'), "utf8")
    (own / "tags" / "meta.json").write_text("{")
    with pytest.raises(ValueError, match=r"(?s)cannot be served:\nrules: .*\ntags: .*meta\.json"):
        run_serve(folder=own)


# Settings


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("127.9.9.9", True),
     ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("example.org", False)],
)  # fmt: skip
def test_addresses_of_this_machine_alone(host, expected):
    assert is_loopback(host) == expected


def test_tokens_that_cannot_be():
    assert check_token("  " + "a" * 16 + "\n", "a file") == "a" * 16
    with pytest.raises(ValueError, match=r"at least 16 characters in a file, but it has 6\."):
        check_token("SECRET\n", "a file")
    for token in ("SECRET with white space", "SECRETé1234567890"):
        with pytest.raises(ValueError, match=r"ASCII letters, digits and signs in a file") as told:
            check_token(token, "a file")
        assert "SECRET" not in str(told.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_queue": 0}, "Expected --max-queue to be more than 0, but got 0."),
        ({"timeout": float("nan")}, "Expected --timeout to be more than 0, but got nan."),
        ({"max_wait": 60}, "--max-wait to be from 0 to less than --timeout, which is 60 seconds"),
        ({"max_wait": -1.0}, "but got -1."),
    ],
)
def test_limits_that_cannot_be(options, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        Limits(**options)
