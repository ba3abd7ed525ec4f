"""Cores that a process may use, with the limits of containers."""

import os

import pytest
import torch

from spacy_lgu import cores
from spacy_lgu.inspection import machine


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A machine with 64 cores, none of them limited."""
    monkeypatch.setattr(cores, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(cores, "_MOUNT", tmp_path / "mount")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (tmp_path / "groups").write_text("0::/\n")
    (tmp_path / "mount").mkdir()
    return tmp_path


def limit(host, place, **files):
    folder = host / "mount" / place
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(text)


@pytest.mark.parametrize(
    ("groups", "place", "quota", "expected"),
    [
        ("0::/\n", ".", "200000 100000\n", 2),
        ("0::/\n", ".", "150000 100000\n", 2),  # one core and a half
        ("0::/\n", ".", "10000 100000\n", 1),
        ("0::/\n", ".", "max 100000\n", 64),
        ("0::/\n", ".", "9900000 100000\n", 64),  # more than there are
        ("0::/user.slice/job\n", "user.slice/job", "400000 100000\n", 4),
        ("0::/user.slice/job\n", "user.slice", "400000 100000\n", 4),  # of the group around it
        ("0::/docker/4f6a\n", ".", "400000 100000\n", 4),  # a path of the host's
        ("4:memory:/\n0::/\n", ".", "300000 100000\n", 3),
    ],
)
def test_a_quota_of_version_2_counts(host, groups, place, quota, expected):
    (host / "groups").write_text(groups)
    limit(host, place, cpu_max=quota)
    assert cores.count_cores() == expected


@pytest.mark.parametrize(("quota", "expected"), [("200000\n", 2), ("250000\n", 3), ("-1\n", 64)])
@pytest.mark.parametrize("folder", ["cpu,cpuacct", "cpu"])
def test_a_quota_of_version_1_counts(host, folder, quota, expected):
    (host / "groups").write_text("9:name=systemd:/\n3:cpuset:/\n2:cpu,cpuacct:/docker/4f6a\n0::/\n")
    limit(host, f"{folder}/docker/4f6a", cpu_cfs_quota_us=quota, cpu_cfs_period_us="100000\n")
    assert cores.count_cores() == expected


def test_the_smallest_limit_counts(host):
    (host / "groups").write_text("0::/pod/container\n")
    limit(host, "pod", cpu_max="300000 100000\n")
    limit(host, "pod/container", cpu_max="max 100000\n")
    assert cores.count_cores() == 3


def test_without_groups_the_affinity_counts(host):
    (host / "groups").unlink()
    assert cores.count_cores() == 64


@pytest.mark.parametrize(
    "groups",
    [
        b"",
        b"\n",
        b"no group\n",
        b"0::/caf\xe9\n",  # a name that is no UTF-8
        b"0::/a\xe2\x80\xa8b\n",  # one with a line separator of Unicode
        b"0::/" + b"long" * 2000 + b"\n",  # the system refuses to look
    ],
)
def test_odd_groups_end_no_program(host, groups):
    (host / "groups").write_bytes(groups)
    assert cores.count_cores() == 64
    limit(host, ".", cpu_max="300000 100000\n")
    assert cores.count_cores() == (3 if b"::/" in groups else 64)


@pytest.mark.parametrize(
    "files",
    [
        {"cpu_max": ""},
        {"cpu_max": "200000\n"},
        {"cpu_max": "200000 0\n"},
        {"cpu_max": "two 100000\n"},
        {"cpu_cfs_quota_us": "200000\n"},  # without its period
        {"cpu_cfs_quota_us": "", "cpu_cfs_period_us": ""},
    ],
)
def test_files_that_are_not_as_the_kernel_writes_them_say_nothing(host, files):
    (host / "groups").write_text("0::/pod/container\n")
    limit(host, "pod/container", **files)
    assert cores.count_cores() == 64
    limit(host, "pod", cpu_max="300000 100000\n")
    assert cores.count_cores() == 3


def test_without_affinity_all_cores_count(host, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert cores.count_cores() == 8


@pytest.mark.parametrize(
    ("given", "n_processes", "expected"),
    [(None, 1, 4), (None, 3, 1), (None, 9, 1), ("2", 1, 2), ("7", 4, 7), ("0", 2, 2), ("x", 2, 2)],
)
def test_threads_are_shared_out_unless_they_are_given(
    host, monkeypatch, given, n_processes, expected
):
    limit(host, ".", cpu_max="400000 100000\n")
    if given is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert cores.share_threads(n_processes) == expected


def test_torch_gets_no_more_threads_than_there_are_cores(host):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(8)
        cores.bound_threads()
        assert torch.get_num_threads() == 8
        limit(host, ".", cpu_max="300000 100000\n")
        cores.bound_threads()
        assert torch.get_num_threads() == 3
        cores.bound_threads(2)
        assert torch.get_num_threads() == 2
        cores.bound_threads()
        assert torch.get_num_threads() == 2  # never more than it had
    finally:
        torch.set_num_threads(before)


def test_the_memory_of_a_container_counts(host):
    """Of the files that were read, what nobody uses is given up."""
    assert cores.find_memory_limit() is None
    (host / "groups").write_text("0::/pod/container\n")
    stat = "anon 5\ninactive_file 100\n"
    limit(host, "pod", memory_max="5000\n", memory_current="1000\n", memory_stat=stat)
    limit(host, "pod/container", memory_max="max\n", memory_current="1\n", memory_stat=stat)
    assert cores.find_memory_limit() == (5000, 4100)
    limit(host, "pod/container", memory_max="4000\n", memory_current="3900\n")
    assert cores.find_memory_limit() == (4000, 200)
    limit(host, "pod/container", memory_stat="nothing\n")
    assert cores.find_memory_limit() == (5000, 4100)


def test_the_memory_of_a_container_of_version_1_counts(host):
    (host / "groups").write_text("5:memory:/docker/4f6a\n")
    limit(
        host,
        "memory/docker/4f6a",
        memory_limit_in_bytes="900\n",
        memory_usage_in_bytes="1000\n",
        memory_stat="total_inactive_file 0\n",
    )
    assert cores.find_memory_limit() == (900, 0)


def test_inspect_says_what_the_container_has(monkeypatch):
    monkeypatch.setattr(machine, "find_memory_limit", lambda: (2**30, 2**20))
    found = machine.look_at_machine(-1)
    assert (found.total, found.free) == (2**30, 2**20)
