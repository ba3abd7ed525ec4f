"""Pipelines to be served, and a service of them behind a real server in this process."""

import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

import httpx
import spacy
import torch
import uvicorn
from spacy.language import Language
from spacy.tokens import SpanGroup

from spacy_lgu.serving.app import make_app
from spacy_lgu.serving.naming import find_pipelines
from spacy_lgu.serving.service import Service
from spacy_lgu.serving.settings import Limits

from ..conftest import make_nlp

# While it is set, texts that begin with "wait" are annotated.
GO_ON = threading.Event()
GO_ON.set()


@Language.component("test_serving_rules")
def follow_rules(doc):
    """Capitals as spans with scores; and texts that are too much for it."""
    if doc.text.startswith("poison"):
        raise RuntimeError(f"cannot read {doc.text!r}")
    if doc.text.startswith("large"):
        raise torch.OutOfMemoryError("CUDA out of memory.")
    if doc.text.startswith("wait") and not GO_ON.wait(20):
        raise TimeoutError("nobody let it go on")
    if doc.text.startswith("exit"):
        raise SystemExit
    spans = [doc[t.i : t.i + 1] for t in doc if t.text[0].isupper()]
    group = SpanGroup(doc, name="sc", attrs={"scores": [0.5] * len(spans)}, spans=spans)
    doc.spans["sc"] = group
    return doc


def make_rules(label="LOC"):
    nlp = spacy.blank("en")
    patterns = [{"label": label, "pattern": "Rome"}, {"label": "<i>", "pattern": "Ann"}]
    nlp.add_pipe("entity_ruler").add_patterns(patterns)
    nlp.add_pipe("test_serving_rules")
    return nlp


@pytest.fixture(scope="session")
def folder(decoder_folder, tmp_path_factory) -> Path:
    """Two pipelines on one base, and one of rules. Not to be changed."""
    root = tmp_path_factory.mktemp("serving")
    reference = {"component": {"base_weights": "reference"}}
    make_nlp(decoder_folder, **reference).to_disk(root / "people")
    options = {"unmasking": "bbbb", "pipes": ("tagger",)}
    make_nlp(decoder_folder, **reference, **options).to_disk(root / "tags")
    make_rules().to_disk(root / "rules")
    return root


@pytest.fixture(scope="session")
def alone(folder):
    """The pipelines as spaCy loads them."""
    return {name: spacy.load(folder / name) for name in ("people", "rules", "tags")}


@contextmanager
def open_service(folder, **limits):
    """A service of the pipelines in a folder, or one that has loaded none yet."""
    service = Service(Limits(**limits))
    service.start()
    if folder is not None:
        assert service.update(find_pipelines(folder, {})) == {}
    try:
        yield service
    finally:
        GO_ON.set()
        service.stop()


@contextmanager
def listen(service, **options):
    """A server for it. RETURNS: A client."""
    app = make_app(service, **options)
    config = uvicorn.Config(
        app, port=0, lifespan="off", log_config=None, access_log=False, ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    address = server.servers[0].sockets[0].getsockname()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{address[1]}", timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def service(folder):
    with open_service(folder) as service:
        yield service


@pytest.fixture(scope="module")
def client(service):
    with listen(service) as client:
        yield client


def annotate(client, pipeline="rules", **body):
    return client.post("/v1/annotate", json={"pipeline": pipeline, **body})


def wait_until(condition, seconds=20) -> None:
    """Wait for what another thread or process does."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it does not come about"
        time.sleep(0.005)


def code_of(response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def metric(client, name: str) -> float:
    """RETURNS: A number as Prometheus reads it, 0 if it is not there yet."""
    lines = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines())
    return float(lines.get(f"spacy_lgu_{name}", 0))
