"""The thread that annotates."""

import contextvars

import pytest

from spacy_lgu.serving.metrics import Metrics
from spacy_lgu.serving.pipelines import Pipelines
from spacy_lgu.serving.queueing import FairQueue, Job
from spacy_lgu.serving.rendering import Wanted
from spacy_lgu.serving.settings import Limits
from spacy_lgu.serving.working import Failure, Worker, make_thread

from .conftest import GO_ON, open_service, wait_until

PLACE = contextvars.ContextVar("place")


def test_threads_have_the_context_of_who_starts_them():
    """thinc keeps in it where arrays are."""
    PLACE.set("gpu")
    seen = []
    thread = make_thread(lambda: seen.append(PLACE.get(None)), "test")
    thread.start()
    thread.join()
    assert seen == ["gpu"]


def test_a_text_that_cannot_be_counted_fails_alone(folder, monkeypatch):
    with open_service(folder) as service:
        served, done = service.find("rules"), []
        count = type(served).count

        def fail(self, text):
            if text == "bad":
                raise MemoryError("no room")
            return count(self, text)

        monkeypatch.setattr(type(served), "count", fail)
        job = service.submit(served, ["bad", "Rome", "bad"], Wanted(tokens=False), done.append)
        wait_until(lambda: done)
        assert job.results[0] == job.results[2] == Failure("memory", "MemoryError: no room")
        assert '"label": "LOC"' in job.results[1]


def test_what_is_left_out_by_an_error_handler_is_told(folder):
    with open_service(folder) as service:
        served, done = service.find("rules"), []
        served.nlp.set_error_handler(lambda name, pipe, docs, error: None)
        job = service.submit(served, ["poison"], Wanted(), done.append)
        wait_until(lambda: done)
        message = "An error handler of the pipeline left the text out."
        assert job.results == [Failure("failed", message)]


def test_nobody_gets_the_errors_of_anothers_texts(folder):
    with open_service(folder) as service:
        served, done = service.find("rules"), []
        GO_ON.clear()
        service.submit(served, ["wait"], Wanted(), done.append)
        wait_until(lambda: service._worker.busy_for)
        service.submit(served, [f"poison SECRET {i}" for i in range(40)], Wanted(), done.append)
        job = service.submit(served, ["Rome", "poison"], Wanted(tokens=False), done.append)
        GO_ON.set()
        wait_until(lambda: len(done) == 3)
        assert '"label": "LOC"' in job.results[0]
        assert job.results[1] == Failure("failed", "RuntimeError: cannot read 'poison'")


def test_annotations_that_json_lacks_fail_alone(folder):
    with open_service(folder) as service:
        served, done = service.find("rules"), []

        def add_cats(doc):
            doc.cats["x"] = float("nan") if "Ann" in doc.text else 0.25
            return doc

        served.nlp.get_pipe("test_serving_rules")
        served.nlp._components.append(("cats", add_cats))
        job = service.submit(served, ["Ann", "Rome"], Wanted(tokens=False), done.append)
        wait_until(lambda: done)
        assert job.results[0].message.startswith("ValueError: Out of range float")
        assert '"cats": {"x": 0.25}' in job.results[1]


@pytest.mark.parametrize("is_dropped", [False, True])
def test_texts_that_nobody_waits_for_are_not_run(is_dropped):
    """The client goes between the moments that its text is taken and run."""

    class Fleet:
        ran = 0

        def __contains__(self, seat):
            return True

        def run(self, requests):
            self.ran += len(requests)
            return [ValueError("ran")] * len(requests)

    class Served:
        name, seat, fleet, keys = "x", "x", Fleet(), ()

        class nlp:
            from contextlib import nullcontext as memory_zone

        def count(self, text):
            if is_dropped:
                queue.drop(job)
            return 1

    queue, served = FairQueue(9), Served()
    worker = Worker(queue, Pipelines(), Limits(), Metrics(), on_end=lambda: None)
    done = []
    job = Job(served, ["a"], done.append, Wanted())
    queue.put(job)
    worker._do_batch()
    assert served.fleet.ran == (not is_dropped)
    assert done == [job]
