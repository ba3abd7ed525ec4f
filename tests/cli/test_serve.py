"""`python -m spacy lgu serve`: what is checked before anything is loaded."""

import sys

import pytest
import spacy

from .conftest import failure

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
