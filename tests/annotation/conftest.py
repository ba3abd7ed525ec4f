"""A pipeline of rules, and runs of it in this process."""

import json
from pathlib import Path

import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import SpanGroup

from spacy_lgu.annotation.running import annotate_corpus
from spacy_lgu.annotation.settings import Settings


@Language.component("test_annotation_spans")
def find_capitals(doc):
    """A span group with scores, as span categorizers write it; and a text that it fails on."""
    if "poison" in doc.text:
        raise RuntimeError("cannot read this")
    spans = [doc[t.i : t.i + 1] for t in doc if t.text[0].isupper()]
    attrs = {"scores": [0.5] * len(spans)}
    doc.spans["sc"] = SpanGroup(doc, name="sc", attrs=attrs, spans=spans)
    return doc


def make_rules():
    nlp = spacy.blank("en")
    patterns = [{"label": "LOC", "pattern": "Rome"}, {"label": "PER", "pattern": "Ann", "id": "q1"}]
    nlp.add_pipe("entity_ruler").add_patterns(patterns)
    nlp.add_pipe("test_annotation_spans")
    return nlp


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory) -> Path:
    """Finds Ann and Rome, and capitals as spans. Not to be changed."""
    folder = tmp_path_factory.mktemp("annotation") / "nlp"
    make_rules().to_disk(folder)
    return folder


@pytest.fixture
def annotate(pipeline, tmp_path):
    """Runs a command in this process. RETURNS: Its summary, and what it said."""

    def run(
        *inputs,
        output=None,
        nlp=pipeline,
        workers=None,
        code=None,
        batch_tokens=8192,
        also=None,
        **options,
    ):
        said: list[str] = []
        also = {name: str(path) for name, path in (also or {}).items()}
        summary = annotate_corpus(
            str(nlp),
            [str(file) for file in inputs],
            output or tmp_path / "out",
            settings=Settings(**options, also=tuple(also)),
            also=also,
            code=code,
            batch_tokens=batch_tokens,
            workers=workers,
            say=said.append,
        )
        return summary, said

    return run


def write_jsonl(path: Path, records) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf8")
    return path


def read_jsonl(path: Path) -> list:
    return [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]


def read_all(output: Path, pattern: str = "*.jsonl-*.jsonl") -> list:
    return [record for path in sorted(output.rglob(pattern)) for record in read_jsonl(path)]


def contents(output: Path) -> dict[str, bytes]:
    """What a run leaves for users."""
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in output.rglob("*")
        if path.is_file() and ".annotation" not in path.parts
    }


@pytest.fixture
def lost_device(monkeypatch):
    """A GPU that answers nothing but errors."""

    def synchronize():
        raise RuntimeError("CUDA error: an illegal memory access")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
