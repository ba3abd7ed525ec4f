"""The line: who is next, what fits, what is dropped."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_lgu.serving.queueing import FairQueue, Job, QueueClosedError, QueueFullError


def nothing(job) -> None:
    pass


def by_length(job, place) -> int:
    return len(job.texts[place])


def take(queue, max_cost=100, max_items=100, count=by_length, **options):
    return [
        item.text for item in queue.take(count, max_cost=max_cost, max_items=max_items, **options)
    ]


def fill(*requests, max_jobs=100):
    queue = FairQueue(max_jobs)
    jobs = [Job("x", texts, nothing) for texts in requests]
    for job in jobs:
        queue.put(job)
    return queue, jobs


def test_a_batch_takes_of_each_request_in_turn():
    queue, _ = fill(["a0", "a1", "a2", "a3"], ["b0"], ["c0", "c1"])
    assert take(queue, max_items=4) == ["a0", "b0", "c0", "a1"]
    assert take(queue, max_items=4) == ["c1", "a2", "a3"]
    assert take(queue) == []


def test_what_does_not_fit_begins_the_next_batch():
    queue, _ = fill(["aa", "a" * 9], ["b" * 9], ["c"])
    assert take(queue, max_cost=10) == ["aa"]
    assert take(queue, max_cost=10) == ["b" * 9, "c"]
    assert take(queue, max_cost=10) == ["a" * 9]


def test_a_text_over_the_limit_is_a_batch_by_itself():
    queue, _ = fill(["a" * 50], ["b"])
    assert take(queue, max_cost=10) == ["a" * 50]
    assert take(queue, max_cost=10) == ["b"]


def test_dropped_requests_are_not_taken_and_leave_their_place():
    queue, (first, _) = fill(["a0", "a1"], ["b0"], max_jobs=2)
    with pytest.raises(QueueFullError, match="2 requests are waiting"):
        queue.put(Job("x", ["c"], nothing))
    queue.drop(first)
    queue.put(Job("x", ["c"], nothing))
    assert queue.sizes() == (2, 2, 3)
    assert take(queue) == ["b0", "c"]


def test_a_request_that_is_dropped_while_it_is_counted_is_not_put_back():
    queue, _ = fill(["a0", "a1"])

    def count(job, place):
        queue.drop(job)
        return 1

    assert take(queue, count=count) == ["a0"]
    assert queue.sizes() == (0, 0, 0)


def test_texts_that_need_no_batch_are_left_out():
    queue, _ = fill(["a", "bad", "c"])

    def count(job, place):
        return None if job.texts[place] == "bad" else 1

    assert take(queue, count=count) == ["a", "c"]


def test_a_closed_line_says_why():
    queue, _ = fill(["a"])
    queue.close("it is late")
    queue.close("another reason")
    assert not queue.wait()
    assert take(queue) == []
    with pytest.raises(QueueClosedError, match="it is late"):
        queue.put(Job("x", ["c"], nothing))


def test_a_batch_that_is_not_full_may_wait_for_more():
    queue, _ = fill(["a"])
    late = threading.Timer(0.05, queue.put, [Job("x", ["b"], nothing)])
    late.start()
    assert take(queue, max_items=2, max_wait=20) == ["a", "b"]


def test_without_a_wait_a_batch_is_what_is_there():
    queue, _ = fill(["a"])
    assert take(queue) == ["a"]


def test_results_come_once_and_in_their_order():
    done = []
    job = Job("x", ["a", "b"], done.append)
    job.give(1, "B")
    assert not done
    job.give_up("none")
    assert done == [job]
    assert job.results == ["none", "B"]
    job.give_up("again")
    assert done == [job]


REQUESTS = st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=6), max_size=8)
# What happens next: a request comes, an earlier one is dropped, a batch is annotated.
EVENTS = st.lists(st.sampled_from(["put", "put", "take", "take", "drop"]), max_size=20)


@settings(deadline=None, max_examples=60)
@given(REQUESTS, EVENTS, st.integers(1, 20), st.integers(1, 5))
def test_each_request_gets_its_own_answers_whatever_the_order(
    requests, events, max_cost, max_items
):
    queue, dropped = FairQueue(100), set()
    jobs = [
        Job("x", [f"{i}.{k}".ljust(size, "x") for k, size in enumerate(sizes)], nothing)
        for i, sizes in enumerate(requests)
    ]
    n_put = 0
    for event in [*events, *["put"] * len(jobs), *["take"] * 60]:
        if event == "put" and n_put < len(jobs):
            queue.put(jobs[n_put])
            n_put += 1
        elif event == "drop" and n_put:
            queue.drop(jobs[n_put // 2])
            dropped.add(jobs[n_put // 2])
        elif event == "take":
            waiting = [j for j in jobs[:n_put] if j.n_waiting and j not in dropped]
            batch = queue.take(by_length, max_cost=max_cost, max_items=max_items)
            assert bool(batch) == bool(waiting)  # it never waits needlessly
            assert len(batch) <= max_items
            assert len(batch) == 1 or sum(item.cost for item in batch) <= max_cost
            # In turn: no request that had more to give gave two less than another.
            n_each = {job: sum(item.job is job for item in batch) for job in waiting}
            assert all(n_each[j] >= max(n_each.values()) - 1 for j in waiting if j.n_waiting)
            for item in batch:
                item.job.give(item.place, item.text.upper())
    for job in set(jobs) - dropped:
        assert job.results == [text.upper() for text in job.texts]


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.integers(1, 30))
def test_no_text_is_lost_between_threads(sizes, max_cost):
    queue = FairQueue(1000)
    answered = threading.Semaphore(0)

    def work() -> None:
        while queue.wait():
            for item in queue.take(by_length, max_cost=max_cost, max_items=7):
                item.job.give(item.place, item.text[::-1])

    jobs = [Job(i, [f"{i}-{k}" for k in range(n)], lambda job: answered.release())
            for i, n in enumerate(sizes)]  # fmt: skip
    worker = threading.Thread(target=work)
    worker.start()
    putters = [threading.Thread(target=queue.put, args=[job]) for job in jobs]
    for thread in putters:
        thread.start()
    for _ in jobs:
        assert answered.acquire(timeout=20)
    queue.close("done")
    worker.join()
    assert all(job.results == [text[::-1] for text in job.texts] for job in jobs)
