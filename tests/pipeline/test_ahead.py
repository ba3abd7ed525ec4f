"""Batches that are prepared while others are computed: order, errors, what is read ahead."""

import itertools
import threading

import pytest
import spacy
from numpy.testing import assert_array_equal
from spacy.tokens import Doc
from spacy.util import minibatch
from thinc.api import to_numpy

from spacy_lgu.listeners.stock import PackedTransformerBatch
from spacy_lgu.pipeline.ahead import pipe_ahead
from spacy_lgu.pipeline.transformer import LGUTransformer

from ..conftest import TEXTS, make_nlp

MIXED = [*TEXTS, "", " \n ", "naan", "Ann Lee in Zürich"] * 3
VOCAB = spacy.blank("en").vocab


def make_docs(n):
    return [Doc(VOCAB, words=[str(i)], spaces=[False]) for i in range(n)]


def run(batches, *, prepare=len, finish=None, on_error=None):
    def keep(docs, prepared):
        assert prepared == len(docs)

    def reraise(docs, error):
        raise error

    options = {"prepare": prepare, "finish": finish or keep, "on_error": on_error or reraise}
    return pipe_ahead(iter(batches), **options)


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("spacy-lgu-prepare")]


def test_docs_come_in_order():
    docs = make_docs(7)
    assert list(run([docs[:3], docs[3:6], docs[6:]])) == docs
    assert list(run([])) == []
    assert threads() == []


def test_one_batch_is_read_ahead_and_none_computed():
    log = []

    def read():
        for i, doc in enumerate(make_docs(4)):
            log.append(f"read {i}")
            yield [doc]

    def finish(docs, prepared):
        log.append(f"compute {docs[0].text}")

    stream = run(read(), finish=finish)
    assert next(stream).text == "0"
    assert log == ["read 0", "read 1", "compute 0"]
    next(stream)
    assert log[3:] == ["read 2", "compute 1"]


def test_the_thread_prepares_while_the_batch_before_is_computed():
    prepared = {str(i): threading.Event() for i in range(3)}

    def prepare(docs):
        assert threading.current_thread() is not threading.main_thread()
        prepared[docs[0].text].set()

    def finish(docs, _):
        following = prepared.get(str(int(docs[0].text) + 1))
        assert following is None or following.wait(10)

    list(run([[doc] for doc in make_docs(3)], prepare=prepare, finish=finish))


@pytest.mark.parametrize("step", ["prepare", "finish"])
def test_a_doc_that_fails_is_told_alone(step):
    failed = []

    def fail(docs, *_):
        if docs[0].text == "2":
            raise KeyError("2")

    def on_error(docs, error):
        failed.append(([doc.text for doc in docs], repr(error)))

    docs = make_docs(6)
    steps = {"finish": lambda docs, prepared: None, step: fail}
    found = list(run([docs[:2], docs[2:4], docs[4:]], **steps, on_error=on_error))
    assert [doc.text for doc in found] == ["0", "1", "3", "4", "5"]
    assert failed == [(["2"], "KeyError('2')")]


def test_an_error_that_is_raised_ends_the_thread():
    def prepare(docs):
        raise ValueError("no subtokens")

    with pytest.raises(ValueError, match="no subtokens"):
        list(run([[doc] for doc in make_docs(3)], prepare=prepare))
    assert threads() == []


def test_an_error_of_the_stream_comes_after_the_docs_before_it():
    def read():
        yield from ([doc] for doc in make_docs(2))
        raise OSError("the file ends here")

    found = []
    with pytest.raises(OSError, match="the file ends here"):
        found.extend(run(read()))
    assert [doc.text for doc in found] == ["0", "1"]


def test_a_stream_that_is_left_ends_the_thread():
    stream = run([doc] for doc in itertools.chain(make_docs(100)))
    next(stream)
    assert len(threads()) == 1
    stream.close()
    assert threads() == []


# The component, as on a GPU.


@pytest.fixture
def apart(monkeypatch):
    monkeypatch.setattr(LGUTransformer, "_is_apart", True)


@pytest.fixture(scope="module")
def nlp(decoder_folder):
    """Not to be changed."""
    return make_nlp(decoder_folder, pipes=("ner", "tagger"))


def answers(docs):
    return [
        (
            [(ent.text, ent.label_) for ent in doc.ents],
            [token.tag_ for token in doc],
            to_numpy(doc._.trf_data.model_output.last_hidden_state) if len(doc) else None,
            doc._.trf_data.wordpieces.strings,
        )
        for doc in docs
    ]


@pytest.mark.parametrize("batch_size", [1, 2, 4, 100])
def test_answers_are_the_same(nlp, monkeypatch, batch_size):
    expected = answers(nlp.pipe(MIXED, batch_size=batch_size))
    monkeypatch.setattr(LGUTransformer, "_is_apart", True)
    found = answers(nlp.pipe(MIXED, batch_size=batch_size))
    for (*labels, X, strings), (*wanted, Y, wanted_strings) in zip(found, expected, strict=True):
        assert (labels, strings) == (wanted, wanted_strings)
        assert_array_equal(X, Y)


@pytest.mark.usefixtures("apart")
def test_the_error_handler_gets_the_doc_that_fails(decoder_folder):
    nlp = make_nlp(decoder_folder, pipes=())
    failed = []
    nlp.set_error_handler(lambda name, pipe, docs, error: failed.append((name, docs, str(error))))
    transformer = nlp.get_pipe("transformer")
    get_spans = transformer.model.attrs["get_spans"]

    def get_some(docs):
        return [[] for _ in docs] if docs[0].text == "naan" else get_spans(docs)

    transformer.model.attrs["get_spans"] = get_some
    found = list(nlp.pipe(["Ann", "Lee", "naan", "Rome", "ate"], batch_size=2))
    assert [doc.text for doc in found] == ["Ann", "Lee", "Rome", "ate"]
    ((name, docs, error),) = failed
    assert (name, [doc.text for doc in docs]) == ("transformer", ["naan"])
    assert "get_spans returned no span" in error


@pytest.mark.usefixtures("apart")
def test_single_docs_are_never_waited_for(nlp):
    sent = []

    def ask():
        for text in MIXED[:4]:
            sent.append(text)
            yield text

    for n, _ in enumerate(nlp.pipe(ask(), batch_size=1), start=1):
        assert len(sent) == n  # each text may depend on the answer to the one before


@pytest.mark.usefixtures("apart")
def test_annotations_are_set_for_every_batch(decoder_folder):
    nlp = make_nlp(decoder_folder, pipes=())
    transformer = nlp.get_pipe("transformer")
    seen = []
    transformer.set_extra_annotations = lambda docs, batch: seen.append((len(docs), type(batch)))
    list(nlp.pipe(["Ann", "Lee", "", " "[:0], "ate"], batch_size=2))
    assert seen == [(n, PackedTransformerBatch) for n in (2, 2, 1)]


def test_without_weights_the_error_is_the_usual_one(decoder_folder):
    transformer = LGUTransformer(
        VOCAB, make_nlp(decoder_folder, pipes=()).get_pipe("transformer").model
    )
    transformer.shim.built = None
    with pytest.raises(ValueError, match="The decoder has no weights yet"):
        list(transformer.pipe(make_docs(3)))


def test_batches_are_those_of_spacy(nlp, monkeypatch):
    monkeypatch.setattr(LGUTransformer, "_is_apart", True)
    seen = []
    prepare = LGUTransformer.prepare
    monkeypatch.setattr(
        LGUTransformer, "prepare", lambda pipe, docs: seen.append(len(docs)) or prepare(pipe, docs)
    )
    docs = [nlp.make_doc(text) for text in MIXED]
    list(nlp.get_pipe("transformer").pipe(docs, batch_size=5))
    assert seen == [len(batch) for batch in minibatch(docs, 5)]


def test_what_a_consumer_throws_is_no_fault_of_the_docs():
    told = []
    stream = run([make_docs(2)], on_error=lambda docs, error: told.append(error))
    assert next(stream).text == "0"
    with pytest.raises(RuntimeError, match="of the consumer"):
        stream.throw(RuntimeError("of the consumer"))
    assert told == []
    assert threads() == []
