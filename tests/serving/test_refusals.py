"""Requests that get no annotations: refused, too many, too late, or from who may not ask."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from spacy_lgu.serving.rendering import MAX_DRAWN

from .conftest import GO_ON, annotate, code_of, listen, metric, open_service, wait_until

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("body", "expected", "words"),
    [
        ("[", (400, "invalid_json"), "at column 2"),
        ("", (400, "invalid_json"), "Expecting value"),
        ("NaN", (400, "invalid_json"), "NaN is not a JSON number"),
        ("[" * 100_000, (400, "invalid_json"), "nested too deeply"),
        ('{"text": "a", "text": "b"}', (400, "invalid_json"), "occurs twice"),
        (b'{"text": "\xff"}', (400, "invalid_json"), "byte 10 is none"),
        ("[]", (422, "invalid_request"), ""),
        ('{"text": 1}', (422, "invalid_request"), "valid string"),
        ('{"text": null}', (422, "invalid_request"), "valid string"),
        ('{"texts": "a"}', (422, "invalid_request"), "valid list"),
        ('{"texts": []}', (422, "invalid_request"), "at least 1 item"),
        ('{"texts": ["a", 1, 2]}', (422, "invalid_request"), '["texts", 1]'),
        ('{"text": "a", "html": 1}', (422, "invalid_request"), "valid boolean"),
        ('{"text": "a", "offsets": "bytes"}', (422, "invalid_request"), "codepoints"),
        ('{"text": "a", "texts": ["a"]}', (422, "invalid_request"), "but got both"),
        ('{"pipeline": "rules"}', (422, "invalid_request"), "but got neither"),
        ('{"text": "a", "txt": "a"}', (422, "unknown_field"), "no field 'txt'. Known are pipeline"),
        ('{"text": "a", "\\ud800": "a"}', (422, "unknown_field"), "no field"),
        ('{"text": "a"}', (404, "no_pipeline"), "Those served: people, rules, tags."),
        ('{"text": "a", "pipeline": "x"}', (404, "unknown_pipeline"), "people, rules, tags."),
        ('{"text": "a", "pipeline": "\\ud800"}', (404, "unknown_pipeline"), "Those served"),
        ('{"text": "a\\ud83d", "pipeline": "rules"}', (422, "invalid_text"), "character 1 is"),
        ('{"texts": ["", "\\ude00"], "pipeline": "rules"}', (422, "invalid_text"), "texts[1]"),
    ],
)  # fmt: skip
def test_bodies_that_are_refused(client, body, expected, words):
    response = client.post("/v1/annotate", content=body, headers=JSON)
    assert code_of(response) == expected
    # Escaped in JSON: it may have half an emoji.
    error = response.json()["error"]
    assert words in error["message"] or words in json.dumps(error["details"])


def test_limits(folder):
    limits = {"max_body": 200, "max_texts": 3, "max_characters": 20}
    with open_service(folder, **limits) as service, listen(service) as client:
        assert code_of(annotate(client, texts=["a"] * 4)) == (422, "too_many_texts")
        assert code_of(annotate(client, text="a" * 21)) == (422, "too_many_characters")
        assert annotate(client, texts=["a" * 10, "b" * 10]).status_code == 200
        assert code_of(annotate(client, text="a" * 200)) == (413, "body_too_large")
        parts = (b"x" * 50 for _ in range(100))  # without a length
        response = client.post("/v1/annotate", content=parts, headers=JSON)
        assert code_of(response) == (413, "body_too_large")
        service.find("rules").nlp.max_length = 15
        response = annotate(client, text="a" * 16)
        assert code_of(response) == (422, "too_many_characters")
        assert "takes texts of at most 15 characters" in response.json()["error"]["message"]


def test_pictures_have_a_limit_of_their_own(client):
    assert code_of(annotate(client, text="a" * 5001, html=True)) == (422, "too_many_characters")


def test_other_types_are_refused(client):
    response = client.post("/v1/annotate", content="{}", headers={"content-type": "text/plain"})
    assert code_of(response) == (415, "content_type")
    response = client.post(
        "/v1/annotate", content=b"", headers={**JSON, "content-encoding": "gzip"}
    )
    assert code_of(response) == (415, "content_encoding")


def test_other_paths_and_methods(client):
    assert code_of(client.get("/docs")) == (404, "not_found")
    response = client.get("/v1/annotate")
    assert code_of(response) == (405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


def test_a_mistake_of_ours_is_told_without_its_words(client, service, monkeypatch, caplog):
    def fail(name):
        raise KeyError("SECRET")

    monkeypatch.setattr(service, "find", fail)
    assert code_of(annotate(client, text="a")) == (500, "unexpected")
    wait_until(lambda: "KeyError at " in caplog.text)
    assert "SECRET" not in caplog.text


# Waiting


def test_a_full_line_and_what_nobody_waits_for(folder):
    with (
        open_service(folder, max_queue=1, timeout=20) as service,
        listen(service) as client,
        ThreadPoolExecutor(2) as pool,
    ):
        GO_ON.clear()
        first = pool.submit(annotate, client, text="wait")
        wait_until(lambda: service._worker.busy_for and not service._queue.sizes()[0])
        second = pool.submit(annotate, client, text="Rome")
        wait_until(lambda: service._queue.sizes()[0])
        response = annotate(client, text="Rome")
        assert code_of(response) == (503, "queue_full")
        assert int(response.headers["retry-after"]) >= 1
        GO_ON.set()
        assert [answer.result().status_code for answer in (first, second)] == [200, 200]
        # A client that goes away.
        GO_ON.clear()
        first = pool.submit(annotate, client, text="wait")
        wait_until(lambda: service._worker.busy_for and not service._queue.sizes()[0])
        before = metric(client, 'texts_total{pipeline="rules"}')
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/annotate", json={"pipeline": "rules", "text": "Rome"}, timeout=0.1)
        gone = 'requests_total{path="/v1/annotate",status="499"}'
        wait_until(lambda: metric(client, gone) == 1)
        assert not service._queue.sizes()[0]
        GO_ON.set()
        assert first.result().status_code == 200
        assert metric(client, 'texts_total{pipeline="rules"}') == before + 1
    assert not service._open


def test_a_request_that_takes_too_long(folder):
    with open_service(folder, timeout=0.3) as service, listen(service) as client:
        GO_ON.clear()
        assert code_of(annotate(client, text="wait")) == (504, "timeout")
        wait_until(lambda: service._worker.busy_for > 0.6)
        reason = client.get("/health/ready").json()["reason"]
        assert reason == "a batch has taken more than 0.6 seconds"
        GO_ON.set()
        wait_until(lambda: annotate(client, text="Rome").status_code == 200)
        # A body that does not arrive.
        port = client.base_url.port
        with socket.create_connection(("127.0.0.1", port)) as slow:
            head = "POST /v1/annotate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
            slow.sendall(f"{head}Content-Type: application/json\r\n\r\n{{".encode())
            assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")


# Who may ask, and what is shown


def test_a_token(service):
    token = "correct horse battery".replace(" ", "-")
    with listen(service, token=token, local=False) as client:
        for path in ("/v1/pipelines", "/metrics", "/openapi.json"):
            assert client.get(path).status_code == 401
        for wrong in ("", "Bearer", f"Bearer {token}x", f"Basic {token}", b"Bearer \xff"):
            response = client.get("/v1/pipelines", headers={"authorization": wrong})
            assert code_of(response) == (401, "unauthorized")
            assert response.headers["www-authenticate"] == "Bearer"
        assert code_of(annotate(client, text="a")) == (401, "unauthorized")
        for path in ("/", "/health/live", "/health/ready"):
            assert client.get(path).status_code == 200
        client.headers["authorization"] = f"Bearer {token}"
        assert client.get("/metrics").status_code == 200
        assert annotate(client, text="a").status_code == 200
        assert (
            "401"
            in client.get("/openapi.json").json()["paths"]["/v1/annotate"]["post"]["responses"]
        )


def test_pages_of_others_cannot_ask_by_a_name_of_theirs(client):
    response = client.get("/v1/pipelines", headers={"host": "evil.example"})
    assert code_of(response) == (421, "unknown_host")
    for host in ("localhost", "localhost:8000", "[::1]:8000", "127.0.0.1"):
        assert client.get("/health/live", headers={"host": host}).status_code == 200


def test_pipelines_are_listed(client):
    found = {one["name"]: one for one in client.get("/v1/pipelines").json()["pipelines"]}
    assert list(found) == ["people", "rules", "tags"]
    assert found["people"]["runs"].startswith("ccbb in 4 layers, adapter of ")
    assert found["rules"] == {
        "name": "rules",
        "lang": "en",
        "version": "0.0.0",
        "pipes": ["entity_ruler", "test_serving_rules"],
        "labels": {"entity_ruler": ["<i>", "LOC"]},
        "runs": "apart, because it has no decoder",
    }


def test_metrics(client):
    before = metric(client, 'subtokens_total{pipeline="rules"}')
    annotate(client, texts=["a b c", "d"])
    assert metric(client, 'subtokens_total{pipeline="rules"}') == before + 4
    assert metric(client, "queue_texts") == 0
    assert metric(client, "ready") == 1
    assert metric(client, "pipelines") == 3
    assert metric(client, "batch_texts_count") > 0
    client.get("/no/such/path")
    assert metric(client, 'requests_total{path="other",status="404"}') > 0
    assert "/no/such" not in client.get("/metrics").text


def test_the_page_runs_its_own_script_alone(client):
    response = client.get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert f'maxlength="{MAX_DRAWN}"' in response.text
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy
    assert not [word for word in ("http://", "https://", "src=") if word in response.text]
    assert client.get("/health/live").headers["x-content-type-options"] == "nosniff"
