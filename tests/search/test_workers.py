"""Trials in threads of this machine."""

from threading import Barrier

from spacy_lgu.search.space import Candidate
from spacy_lgu.search.trials import Trial
from spacy_lgu.search.workers import LocalWorkers


def test_trials_at_the_same_time_have_gpus_of_their_own():
    used = []
    both = Barrier(2)

    def run(trial, gpu_id, processes, report):
        used.append(gpu_id)
        both.wait(10)
        return {}

    workers = LocalWorkers(run, size=2, gpu_ids=(0, 1))
    for seed in (0, 1):
        workers.start(Trial("train", Candidate("c"), seed, 1), None)
    n_found = 0
    while n_found < 2:
        n_found += len(workers.wait(10))
    workers.close()
    assert sorted(used) == [0, 1]
