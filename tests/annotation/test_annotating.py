"""Records through a pipeline: all of them, in order, once each, whatever their neighbours are."""

import json

import pytest
import spacy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.language import Language
from spacy.tokens import Span, SpanGroup

from spacy_lgu.annotation import annotating
from spacy_lgu.annotation.annotating import Annotator
from spacy_lgu.annotation.annotations import read_annotations, scored_keys
from spacy_lgu.annotation.lines import LineReader, scan_lines
from spacy_lgu.annotation.records import Record
from spacy_lgu.annotation.settings import Settings

from ..conftest import entity_examples
from ..pipeline.labelers import blank, train
from .conftest import make_rules


class Kept:
    """A writer that keeps what it gets."""

    def __init__(self):
        self.written = []

    def write(self, record, fields, found, doc):
        self.written.append((record.line, fields["text"], found.ents))

    def close(self):
        """Nothing to close."""


@pytest.fixture(scope="module")
def nlp():
    return make_rules()


def records(*texts):
    return iter([Record(i, text, {"text": text}) for i, text in enumerate(texts, 1)])


def annotate(nlp, found, *, batch_tokens=20, **options):
    kept, told = Kept(), []
    annotator = Annotator(nlp, Settings(**options), batch_tokens=batch_tokens)
    failures = annotator.annotate(found, kept, told.append)
    return kept.written, failures, told


def test_neighbours_of_a_document_that_fails_are_not_lost(nlp):
    written, failures, told = annotate(nlp, records("Rome", "poison", "Ann", "poison Rome", "end"))
    assert [line for line, _, _ in written] == [1, 3, 5]
    assert [ent["label"] for _, _, ents in written for ent in ents] == ["LOC", "PER"]
    assert [(bad.line, bad.reason) for bad in failures] == [
        (2, "RuntimeError: cannot read this"), (4, "RuntimeError: cannot read this")
    ]  # fmt: skip
    assert told == [5]


def test_a_text_that_the_pipeline_calls_too_long(nlp):
    text = "a " * (nlp.max_length // 2 + 1)
    written, (bad,), _ = annotate(nlp, records("Rome", text, "Ann"))
    assert [line for line, _, _ in written] == [1, 3]
    assert bad.line == 2
    assert bad.reason.startswith("ValueError: [E088] Text of length 1000002")


def test_batches_are_bounded_by_tokens(nlp):
    """A document costs its tokens and one; without spaces, a fifth of its characters and one."""
    texts = ["a b c"] * 5 + ["long " * 50, "a", "", "", "x" * 100]
    _, _, told = annotate(nlp, records(*texts), batch_tokens=8)
    assert told == [2, 2, 1, 1, 3, 1]


def test_a_component_that_leaves_documents_out(nlp):
    def ignore(*_):
        """As nlp.set_error_handler lets users do."""

    own = make_rules()
    own.set_error_handler(ignore)
    written, (bad,), _ = annotate(own, records("Rome", "poison", "Ann"))
    assert [line for line, _, _ in written] == [1, 3]
    assert bad.reason == "the pipeline gave 0 Docs for 1"


def test_a_pipeline_that_fails_on_all_ends_the_run(nlp, monkeypatch):
    monkeypatch.setattr(annotating, "_FAILURES", 3)
    texts = ["poison", "poison", "Rome", "poison", "poison"]
    _, failures, _ = annotate(nlp, records(*texts))
    assert len(failures) == 4
    with pytest.raises(ValueError, match=r"failed on 3 documents in a row, .* cannot read this"):
        annotate(nlp, records(*texts, "poison"))


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("CUDA error: an illegal memory access")]
)
def test_what_all_documents_would_fail_on_is_raised(error, lost_device):
    nlp = spacy.blank("en")

    def fail(doc):
        raise error

    name = f"test_annotation_{type(error).__name__}"
    Language.component(name, func=fail)
    nlp.add_pipe(name)
    with pytest.raises(type(error)):
        annotate(nlp, records("Rome"))


def test_a_text_that_speaks_of_cuda_fails_alone(lost_device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)  # the GPU is well
    nlp = spacy.blank("en")

    def fail(doc):
        if "CUDA" in doc.text:
            raise RuntimeError(f"cannot read {doc.text!r}")
        return doc

    Language.component("test_annotation_cuda", func=fail)
    nlp.add_pipe("test_annotation_cuda")
    written, failures, _ = annotate(nlp, records("Rome", "a CUDA error: help", "Oslo"))
    assert [text for _, text, _ in written] == ["Rome", "Oslo"]
    assert [bad.line for bad in failures] == [2]


LINES = st.lists(
    st.one_of(
        st.sampled_from(["", "not json", '{"text": 1}', '{"text": "poison"}']),
        st.text("ab 🙂\nÄ", max_size=30).map(lambda text: json.dumps({"text": text})),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(lines=LINES, shard_size=st.integers(1, 9), batch_tokens=st.integers(1, 60))
def test_each_record_comes_out_once_in_order(tmp_path_factory, lines, shard_size, batch_tokens):
    nlp = _RULES
    path = tmp_path_factory.getbasetemp() / "property.jsonl"
    path.write_text("\n".join(lines), encoding="utf8")
    n_records, starts, _ = scan_lines(path, "jsonl", shard_size)
    reader = LineReader(path, "jsonl", "text")
    written, failed = [], []
    for number, start in enumerate(starts):
        found = reader.read(start, min(shard_size, n_records - number * shard_size))
        some, failures, told = annotate(nlp, found, batch_tokens=batch_tokens)
        assert sum(told) == len(some) + len(failures)
        written += [(line, text) for line, text, _ in some]
        assert [bad.line for bad in failures] == sorted(bad.line for bad in failures)
        failed += [bad.line for bad in failures]
    reader.close()
    good = [
        i
        for i, line in enumerate(lines, 1)
        if line.startswith('{"text": "') and "poison" not in line
    ]
    texts = [json.loads(lines[i - 1])["text"] for i in good]
    assert written == list(zip(good, texts, strict=True))
    assert failed == [i for i, line in enumerate(lines, 1) if line and i not in good]


_RULES = make_rules()


def test_memory_of_words_is_given_back(nlp):
    texts = [f"word{i} other{i}" for i in range(200)]
    n_before = len(nlp.vocab.strings)
    annotate(nlp, records(*texts))
    assert len(nlp.vocab.strings) == n_before


def test_probabilities_of_a_sequence_labeler_are_those_of_the_entities():
    nlp = blank()
    labeler = train(nlp, entity_examples(nlp))
    assert scored_keys(nlp) == ["sequence_labeler"]
    doc = nlp("Ann Lee ate naan in New York")
    found = read_annotations(doc, scored_keys(nlp))
    probabilities = doc.spans["sequence_labeler"].attrs["scores"]
    assert [(e["start"], e["end"], e["label"]) for e in found.ents] == [
        (0, 7, "PER"), (20, 28, "LOC")
    ]  # fmt: skip
    assert [ent["score"] for ent in found.ents] == probabilities.tolist()
    assert found.spans == {"sequence_labeler": [{**ent, "kb_id": ""} for ent in found.ents]}
    labeler.annotate_ents = False
    assert scored_keys(nlp) == []


def test_scores_of_another_number_of_spans_are_not_written(nlp):
    doc = nlp("Ann saw Rome")
    doc.spans["sc"].append(doc[1:2])
    assert "score" not in read_annotations(doc, []).spans["sc"][0]
    assert read_annotations(nlp("Ann"), []).spans["sc"][0]["score"] == 0.5


def test_a_score_is_of_the_component_that_found_the_entity():
    doc = spacy.blank("en")("Ann saw Rome")
    doc.ents = [Span(doc, 0, 1, label="PER")]
    doc.spans["sc"] = SpanGroup(doc, name="sc", attrs={"scores": [0.5]}, spans=[doc.ents[0]])
    assert "score" not in read_annotations(doc, ["sequence_labeler"]).ents[0]
    assert read_annotations(doc, ["sc"]).ents[0]["score"] == 0.5
