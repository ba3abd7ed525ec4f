"""Requests over HTTP, their answers, and what of a request may fail."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import spacy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_lgu.annotation.annotations import read_annotations, scored_keys
from spacy_lgu.decoder.fleet import FleetDecoder
from spacy_lgu.serving.rendering import Wanted, render

from ..conftest import TEXTS
from .conftest import GO_ON, annotate, code_of, listen, metric, open_service, wait_until


def expect(nlp, text):
    """What is to be answered for a text, without its tokens."""
    doc = nlp(text)
    found = read_annotations(doc, scored_keys(nlp))
    sents = doc.to_json().get("sents")
    return {"ents": found.ents, "spans": found.spans, **({"sents": sents} if sents else {})}


# Answers


def test_a_text(client):
    response = annotate(client, text="Ann saw 😀 Rome")
    assert response.status_code == 200
    assert response.json() == {
        "pipeline": "rules",
        "docs": [
            {
                "ents": [
                    {"start": 0, "end": 3, "label": "<i>"},
                    {"start": 10, "end": 14, "label": "LOC"},
                ],
                "spans": {
                    "sc": [
                        {"start": 0, "end": 3, "label": "", "kb_id": "", "score": 0.5},
                        {"start": 10, "end": 14, "label": "", "kb_id": "", "score": 0.5},
                    ]
                },
                "tokens": [
                    {"text": "Ann", "id": 0, "start": 0, "end": 3},
                    {"text": "saw", "id": 1, "start": 4, "end": 7},
                    {"text": "😀", "id": 2, "start": 8, "end": 9},
                    {"text": "Rome", "id": 3, "start": 10, "end": 14},
                ],
            }
        ],
    }


def test_offsets_of_other_languages(client):
    (doc,) = annotate(client, text="😀😀 Ann 😀 Rome", offsets="utf16").json()["docs"]
    text = "😀😀 Ann 😀 Rome".encode("utf-16-le")
    for place, word in zip([*doc["ents"], *doc["spans"]["sc"]], ["Ann", "Rome"] * 2, strict=True):
        assert text[2 * place["start"] : 2 * place["end"]].decode("utf-16-le") == word
    assert doc["tokens"][-1] == {"text": "Rome", "id": 4, "start": 12, "end": 16}


def test_pictures_have_probabilities_and_nothing_that_runs(client):
    (doc,) = annotate(client, text="<b> Ann & Rome", html=True, tokens=False).json()["docs"]
    assert "&lt;i&gt;" in doc["html"]["ents"]
    assert "&amp; " in doc["html"]["ents"]
    assert "0.50" in doc["html"]["spans"]["sc"]
    assert "<i>" not in str(doc["html"])
    assert "<b>" not in str(doc["html"])
    assert "tokens" not in doc


@pytest.mark.parametrize("pipeline", ["people", "tags", "rules"])
def test_answers_are_those_of_the_pipeline_alone(client, alone, pipeline):
    texts = [*TEXTS, "", " ", "a", "Ann " * 300, "e\u0301\x00\u200d\u202e", "\r\n\ufeff"]
    docs = annotate(client, pipeline, texts=texts, tokens=False).json()["docs"]
    assert docs == [expect(alone[pipeline], text) for text in texts]
    (doc,) = annotate(client, "tags", text=TEXTS[0]).json()["docs"]
    assert [token["tag"] for token in doc["tokens"]] == [t.tag_ for t in alone["tags"](TEXTS[0])]


def test_requests_for_pipelines_on_one_base_share_a_pass(folder, alone, monkeypatch):
    calls = []
    predict = FleetDecoder.predict

    def count(self, ids, lengths, members, max_items):
        calls.append((len(lengths), len(set(members))))
        return predict(self, ids, lengths, members, max_items)

    with open_service(folder) as service, listen(service) as client, ThreadPoolExecutor(7) as pool:
        monkeypatch.setattr(FleetDecoder, "predict", count)
        GO_ON.clear()
        blocking = pool.submit(annotate, client, text="wait")
        wait_until(lambda: service._worker.busy_for and not service._queue.sizes()[0])
        asked = [(name, text) for text in TEXTS for name in ("people", "tags")]
        answers = [pool.submit(annotate, client, name, text=text, tokens=False)
                   for name, text in asked]  # fmt: skip
        wait_until(lambda: service._queue.sizes()[0] == 6)
        assert metric(client, "queue_requests") == 6
        GO_ON.set()
        found = [answer.result().json()["docs"][0] for answer in answers]
        assert blocking.result().status_code == 200
    assert found == [expect(alone[name], text) for name, text in asked]
    assert calls == [(6, 2)]


@settings(deadline=None, max_examples=30)
@given(st.text(max_size=40))
def test_any_text_is_answered_or_refused(client, alone, text):
    response = annotate(client, "rules", text=text, tokens=False)
    try:
        text.encode("utf8")
    except UnicodeEncodeError:
        assert code_of(response) == (422, "invalid_text")
    else:
        assert response.json()["docs"] == [expect(alone["rules"], text)]


def test_a_long_body(client):
    text = "Ann " * 20_000
    (doc,) = annotate(client, text=text, tokens=False).json()["docs"]
    assert doc["ents"][-1] == {"start": len(text) - 4, "end": len(text) - 1, "label": "<i>"}


# Failures of a text


def test_a_text_that_fails_leaves_the_others(client, caplog):
    texts = ["Rome", "poison SECRET", "large", "Ann"]
    response = annotate(client, texts=texts, tokens=False)
    assert response.status_code == 200
    first, second, third, last = response.json()["docs"]
    assert (first["ents"][0]["label"], last["ents"][0]["label"]) == ("LOC", "<i>")
    message = "RuntimeError: cannot read 'poison SECRET'"
    assert second == {"error": {"code": "failed", "message": message}}
    assert third["error"]["code"] == "memory"
    assert metric(client, 'errors_total{kind="memory",pipeline="rules"}') == 1


def test_a_request_of_which_nothing_is_left_fails(client):
    assert code_of(annotate(client, text="poison")) == (500, "failed")
    response = annotate(client, text="large")
    assert code_of(response) == (503, "memory")
    assert response.headers["retry-after"] == "1"
    assert annotate(client, text="Rome").status_code == 200


def test_neighbours_of_a_text_that_fails_are_answered(client):
    texts = ["poison", *["Rome"] * 5, "poison"]
    with ThreadPoolExecutor(7) as pool:
        found = list(pool.map(lambda text: annotate(client, text=text).status_code, texts))
    assert found == [500, *[200] * 5, 500]


def test_the_end_of_the_thread_is_told_and_nobody_hangs(folder, caplog):
    with open_service(folder) as service, listen(service) as client, ThreadPoolExecutor(2) as pool:
        assert client.get("/health/ready").status_code == 200
        GO_ON.clear()
        first = pool.submit(annotate, client, texts=["wait", "exit"])
        wait_until(lambda: service._worker.busy_for and not service._queue.sizes()[0])
        second = pool.submit(annotate, client, text="Rome")
        wait_until(lambda: service._queue.sizes()[0] == 1)
        GO_ON.set()
        assert code_of(first.result()) == (503, "ended")
        assert code_of(second.result()) == (503, "ended")
        wait_until(lambda: not service._worker.is_alive)
        assert "Annotating ended: SystemExit at " in caplog.text
        response = client.get("/health/ready")
        assert response.status_code == 503
        assert response.json()["reason"] == "the service cannot annotate any more"
        assert client.get("/health/live").status_code == 503
        assert code_of(annotate(client, text="Rome")) == (503, "not_ready")


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_lost_device_ends_the_thread(folder, monkeypatch, is_lost):
    def fail(requests):
        return [RuntimeError("CUDA error: device-side assert triggered") for _ in requests]

    def synchronize():
        if is_lost:
            raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    with open_service(folder) as service, listen(service) as client:
        with monkeypatch.context() as patch:
            patch.setattr(service.find("rules").fleet, "run", fail)
            assert code_of(annotate(client, text="Rome")) == (500, "failed")
        if is_lost:
            wait_until(lambda: not service._worker.is_alive)
            assert client.get("/health/live").status_code == 503
        else:  # the words were those of a text
            assert annotate(client, text="Rome").status_code == 200


def test_sentences_are_counted_as_is_asked():
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    found = json.loads(render(nlp("😀. Rome."), [], Wanted(offsets="utf16")))
    assert found["sents"] == [{"start": 0, "end": 3}, {"start": 4, "end": 9}]
