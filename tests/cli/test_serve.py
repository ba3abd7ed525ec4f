"""`python -m spacy lgu serve`: what is checked before anything is loaded."""

import sys

import pytest
import spacy

from .conftest import failure, run

pytest.importorskip("fastapi", reason="the extra serve is not installed")


@pytest.fixture
def pipeline(tmp_path):
    spacy.blank("en").to_disk(tmp_path / "nlp")
    return tmp_path / "nlp"


def serve(*arguments):
    return failure("lgu", "serve", *arguments)


def test_the_extra_is_named_where_it_is_missing(pipeline, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("spacy_lgu.serving")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert "Serving needs uvicorn: pip install 'spacy-lgu[serve]'." in serve(pipeline)


def test_a_token_in_two_places_or_too_short(pipeline, tmp_path, monkeypatch):
    (tmp_path / "token").write_text("short\n")
    assert "at least 16 characters in" in serve(pipeline, "--token-file", tmp_path / "token")
    monkeypatch.setenv("SPACY_LGU_SERVE_TOKEN", "short")
    assert "at least 16 characters in $SPACY_LGU_SERVE_TOKEN" in serve(pipeline)
    assert "not in both" in serve(pipeline, "--token-file", tmp_path / "token")


def test_pipelines_and_limits_are_checked(pipeline):
    assert "Two pipelines are named 'nlp'" in serve(pipeline, pipeline)
    assert "Expected --max-texts to be more than 0" in serve(pipeline, "--max-texts", 0)
    assert "Expected pipelines to serve" in serve()


def test_all_options_reach_the_service(tmp_path, monkeypatch):
    from spacy_lgu.serving import running
    from spacy_lgu.serving.settings import Limits

    values = {
        "max_batch_subtokens": 11, "max_batch_texts": 12, "max_wait": 0.5, "max_queue": 13,
        "max_body": 14, "max_texts": 15, "max_characters": 16, "timeout": 17.0,
    }  # fmt: skip
    seen = []
    monkeypatch.setattr(running, "serve", lambda *arguments: seen.append(arguments))
    marker = tmp_path / "imported"
    (tmp_path / "code.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    (tmp_path / "token").write_text("a" * 20 + "\n")
    options = [part for n, v in values.items() for part in (f"--{n.replace('_', '-')}", v)]
    run(
        "lgu", "serve", "--folder", tmp_path, "--host", "0.0.0.0", "--port", 18,
        "--token-file", tmp_path / "token", "--code", tmp_path / "code.py", *options,
    )  # fmt: skip
    ((named, folder, place, limits, _),) = seen
    assert (named, folder) == ({}, tmp_path)
    assert (place.host, place.port, place.token) == ("0.0.0.0", 18, "a" * 20)
    assert limits == Limits(**values)
    assert marker.exists()
