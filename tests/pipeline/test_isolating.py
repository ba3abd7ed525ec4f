"""One Doc that fails does not take its neighbours with it, wherever it stands."""

import numpy
import pytest
import spacy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc
from spacy.util import ignore_error, minibatch

from spacy_lgu.layers import sequence_labeler as head
from spacy_lgu.pipeline.ahead import pipe_ahead
from spacy_lgu.pipeline.isolating import pipe_batches
from spacy_lgu.pipeline.transformer import LGUTransformer

from ..conftest import TEXTS, entity_examples, make_nlp
from .labelers import train

VOCAB = spacy.blank("en").vocab
POISON = st.lists(st.booleans(), max_size=40)


def make_docs(flags):
    docs = [Doc(VOCAB, words=[str(i)], spaces=[False]) for i in range(len(flags))]
    for doc, is_poison in zip(docs, flags, strict=True):
        doc.user_data["poison"] = is_poison
    return docs


class Steps:
    """A step that notes the sizes of its batches, and fails where a Doc is poisoned."""

    def __init__(self):
        self.sizes, self.done, self.told = [], set(), []

    def annotate(self, docs, prepared=None):
        self.sizes.append(len(docs))
        if any(doc.user_data["poison"] for doc in docs):
            raise KeyError("poison")
        self.done.update(doc.text for doc in docs)

    def on_error(self, docs, error):
        self.told.append([doc.text for doc in docs])


def run_one_by_one(steps, docs, batch_size):
    return pipe_batches(minibatch(docs, batch_size), steps.annotate, steps.on_error)


def run_ahead(steps, docs, batch_size):
    batches = minibatch(docs, batch_size)
    return pipe_ahead(batches, prepare=len, finish=steps.annotate, on_error=steps.on_error)


def is_hopeless(batch):
    """Whether all that are tried alone fail: the rest is not tried."""
    n = len(batch)
    return n > 8 and all(batch[i * (n - 1) // 7] for i in range(8))


@pytest.mark.parametrize("run", [run_one_by_one, run_ahead])
@settings(max_examples=150, deadline=None)
@given(flags=POISON, batch_size=st.integers(1, 40))
def test_only_what_is_poisoned_is_told(run, flags, batch_size):
    steps, docs = Steps(), make_docs(flags)
    found = [doc.text for doc in run(steps, docs, batch_size)]
    left, told = [], []
    for start in range(0, len(flags), batch_size):
        batch = flags[start : start + batch_size]
        names = [str(start + i) for i in range(len(batch))]
        if is_hopeless(batch):
            told.append(names)
            continue
        left += [name for name, bad in zip(names, batch, strict=True) if not bad]
        told += [[name] for name, bad in zip(names, batch, strict=True) if bad]
    assert found == left
    assert set(found) <= steps.done
    assert steps.told == told
    if not any(flags):
        assert len(steps.sizes) == -(-len(flags) // batch_size)


def test_one_of_many_costs_a_few_tries():
    steps = Steps()
    assert len(list(run_one_by_one(steps, make_docs([i == 77 for i in range(128)]), 128))) == 127
    assert steps.sizes == [128, 1, 64, 64, 32, 16, 8, 8, 4, 4, 2, 1, 1, 2, 16, 32]
    assert steps.told == [["77"]]


def test_what_fails_for_all_is_not_tried_for_each():
    steps = Steps()
    assert list(run_one_by_one(steps, make_docs([True] * 128), 128)) == []
    assert steps.sizes == [128, *[1] * 8]
    assert steps.told == [[str(i) for i in range(128)]]


def test_errors_of_several_kinds_are_those_of_docs():
    told = []

    def fail(docs):
        raise KeyError("several") if len(docs) > 1 else ValueError(docs[0].text)

    docs = make_docs([False] * 20)
    assert list(pipe_batches([docs], fail, lambda docs, error: told.append(str(error)))) == []
    assert told == [str(i) for i in range(20)]


def test_an_error_that_is_its_own_cause():
    def annotate(docs):
        fault = KeyError("poison")
        raise fault from fault

    steps = Steps()
    assert list(pipe_batches([make_docs([True])], annotate, steps.on_error)) == []
    assert steps.told == [["0"]]


def test_what_a_consumer_throws_is_no_fault_of_the_docs():
    steps = Steps()
    stream = run_one_by_one(steps, make_docs([False, True, False, False]), 4)
    next(stream)
    with pytest.raises(RuntimeError, match="of the consumer"):
        stream.throw(RuntimeError("of the consumer"))
    assert steps.told == []


@pytest.mark.parametrize("is_cause", [False, True])
def test_a_batch_that_failed_is_not_kept_in_memory(is_cause):
    seen = []

    class Large:
        def __del__(self):
            seen.append("freed")

    def annotate(docs):
        large = Large()
        seen.append(len(docs))
        if len(docs) > 1 and not is_cause:
            raise ValueError(f"{large} is too large")
        if len(docs) > 1:
            raise ValueError from fail(large)

    def fail(large):
        try:
            raise MemoryError
        except MemoryError as error:
            return error

    list(pipe_batches([make_docs([False] * 2)], annotate, lambda docs, error: None))
    assert seen == [2, "freed", 1, "freed", 1, "freed"]


# The components.


@pytest.fixture(params=[False, True], ids=["cpu", "ahead"])
def apart(request, monkeypatch):
    """As on a CPU, and as on a GPU."""
    monkeypatch.setattr(LGUTransformer, "_is_apart", request.param)


def poison_spans(nlp, word="naan"):
    attrs = nlp.get_pipe("transformer").model.attrs
    get_spans = attrs["get_spans"]

    def get_some(docs):
        if any(word in doc.text for doc in docs):
            raise LookupError(f"no spans for {word}")
        return get_spans(docs)

    attrs["get_spans"] = get_some


MIXED = [*TEXTS, "", "Ann Lee in Zürich", "naan", "Rome"]


@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_neighbours_get_the_answers_that_they_get_without_it(decoder_folder, batch_size):
    nlp = make_nlp(decoder_folder, pipes=("ner", "tagger"))
    kept = [text for text in MIXED if "naan" not in text]
    expected = list(nlp.pipe(kept))
    poison_spans(nlp)
    nlp.get_pipe("transformer").set_error_handler(ignore_error)
    found = list(nlp.pipe(MIXED, batch_size=batch_size))
    assert [doc.text for doc in found] == kept
    assert [doc.to_json() for doc in found] == [doc.to_json() for doc in expected]
    for one, other in zip(found, expected, strict=True):
        if not len(one):
            continue
        vectors = [d._.trf_data.model_output.last_hidden_state for d in (one, other)]
        torch.testing.assert_close(*map(torch.as_tensor, vectors), atol=1e-5, rtol=1e-4)


@pytest.mark.usefixtures("apart")
def test_the_error_that_is_raised_names_the_doc(decoder_folder):
    nlp = make_nlp(decoder_folder, pipes=())
    poison_spans(nlp)
    found = []
    with pytest.raises(LookupError, match="no spans for naan") as raised:
        found.extend(nlp.pipe(["Ann", "Rome", "naan and more", "Lee"], batch_size=4))
    assert [doc.text for doc in found] == ["Ann", "Rome"]
    assert raised.value.__notes__ == ["In 'transformer', for the Doc that begins 'naan and more'."]


@pytest.mark.usefixtures("apart")
def test_a_doc_that_does_not_fit_is_told_alone(decoder_folder, monkeypatch):
    from spacy_lgu.decoder.decoder import LGUDecoder

    nlp = make_nlp(decoder_folder, pipes=())
    forward, told = LGUDecoder.forward, []

    def limited(self, packed):
        if packed.n_subtokens > 12:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return forward(self, packed)

    monkeypatch.setattr(LGUDecoder, "forward", limited)
    nlp.set_error_handler(lambda name, pipe, docs, error: told.append((docs, str(error))))
    found = list(nlp.pipe(["Ann ate", "naan " * 12, "Rome " * 2, "Lee"]))
    assert [doc.text[:4] for doc in found] == ["Ann ", "Rome", "Lee"]
    (((doc,), error),) = told
    assert doc.text.startswith("naan naan")
    assert "too little memory on cpu for" in error


@pytest.fixture(scope="module")
def labeler_nlp(decoder_folder):
    """Its labeler is to be changed by monkeypatch alone."""
    nlp = make_nlp(decoder_folder, pipes=())
    nlp.add_pipe("sequence_labeler")
    train(nlp, entity_examples(nlp), steps=3)
    return nlp


def test_vectors_that_are_not_finite_are_told_alone(labeler_nlp, monkeypatch):
    labeler = labeler_nlp.get_pipe("sequence_labeler")
    docs = [labeler_nlp.get_pipe("transformer")(labeler_nlp.make_doc(text)) for text in MIXED]
    expected = [doc.to_json() for doc in labeler.pipe([doc.copy() for doc in docs])]
    data = docs[2]._.trf_data.model_output
    data.last_hidden_state = data.last_hidden_state * float("nan")
    told = []
    monkeypatch.setattr(labeler, "error_handler", lambda *args: told.append(args), raising=False)
    found = [doc.to_json() for doc in labeler.pipe(docs, batch_size=4)]
    assert found == [*expected[:2], *expected[3:]]
    ((name, pipe, failed, error),) = told
    assert (name, pipe, failed) == ("sequence_labeler", labeler, [docs[2]])
    assert "are not finite" in str(error)


def test_a_head_without_memory_runs_on_fewer_docs(labeler_nlp, monkeypatch, caplog):
    labeler = labeler_nlp.get_pipe("sequence_labeler")
    docs = [labeler_nlp.get_pipe("transformer")(labeler_nlp.make_doc(text)) for text in MIXED]
    expected = labeler._logits(docs)
    forward, tried = labeler.model._func, []

    def limited(model, docs, is_train):
        tried.append(sum(map(len, docs)))
        if tried[-1] > 20:
            raise MemoryError
        return forward(model, docs, is_train)

    monkeypatch.setattr(labeler, "_halving", head.halve_docs("sequence_labeler"))
    monkeypatch.setattr(labeler.model, "_func", limited)
    with caplog.at_level("WARNING", logger="spacy_lgu"):
        numpy.testing.assert_allclose(labeler._logits(docs), expected, atol=1e-5)
        first, tried[:] = list(tried), []
        numpy.testing.assert_allclose(labeler._logits(docs), expected, atol=1e-5)
        # A group of Docs without tokens alone would have no width.
        empty = [labeler_nlp.get_pipe("transformer")(labeler_nlp.make_doc("")) for _ in range(2)]
        numpy.testing.assert_allclose(labeler._logits([*empty, *docs]), expected, atol=1e-5)
    assert first[0] == sum(map(len, docs))
    assert max(tried) <= 20
    (record,) = caplog.records
    assert f"on cpu for {first[0]} tokens in 'sequence_labeler' at once" in record.getMessage()
