"""What is asked of a cluster, and how much room it has. Ray itself is tested where it is used."""

from importlib.util import find_spec

import pytest

from spacy_lgu import cluster
from spacy_lgu.cluster import check_ray, count_places


def test_without_ray(monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", {}.get)
    with pytest.raises(ImportError, match=r"--ray needs Ray: pip install 'spacy-lgu\[ray\]'"):
        check_ray(1, 0, each="trial")


@pytest.mark.parametrize(("cpus", "gpus"), [(0, 0), (1, -1), (1, 1.5)])
def test_what_ray_does_not_take(cpus, gpus, monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", {"ray": find_spec("os")}.get)
    with pytest.raises(ValueError, match=f"0 CPUs for each trial, .* got {cpus} and {gpus}"):
        check_ray(cpus, gpus, each="trial")


def test_how_many_have_room():
    resources = {"CPU": 16.0, "GPU": 4.0}
    counts = [
        count_places(resources, cpus, gpus, each="worker")
        for cpus, gpus in ((1, 0), (1, 0.5), (1, 0.4), (1, 1), (4, 2), (0.1, 0.1), (0.2, 0.2))
    ]
    assert counts == [16, 8, 8, 4, 2, 40, 20]
    message = r"no room for a worker of 1 CPUs and 8 GPUs: .* 16 and 4\. .*--cpus-per-worker"
    with pytest.raises(ValueError, match=message):
        count_places(resources, 1, 8, each="worker")
