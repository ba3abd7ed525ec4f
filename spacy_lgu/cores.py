"""How many cores, and how much memory, a process may use: what the machine has, and its container.

torch starts a thread for each core that the process may run on. A container's limit on CPU time
(docker run --cpus, a limit of Kubernetes) is not among what torch asks for: on a host of 64 cores,
64 threads would share two cores' time, and be stopped together whenever that is used up.

Source: the files cpu.max, memory.max and their like (cgroup v2), cpu.cfs_quota_us,
memory.limit_in_bytes and their like (v1) of Linux. Where they cannot be read, or are not as the
kernel writes them (sandboxes hide or imitate them), they say nothing: no program ends for it.
"""

import os
from collections.abc import Iterator
from math import ceil
from pathlib import Path

_GROUPS, _MOUNT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def count_cores() -> int:
    """RETURNS (int): Cores, at least 1; of a container that has 1.5 cores' time, 2."""
    # macOS does not say which cores a process may use.
    affinity = getattr(os, "sched_getaffinity", None)
    n_cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, min([n_cores, *(ceil(quota) for quota in _find_quotas())]))


def share_threads(n_processes: int) -> int:
    """Threads for each of several processes: as OMP_NUM_THREADS says, or the cores shared out.

    n_processes (int): At least 1.
    RETURNS (int): At least 1.
    """
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isascii() and given.isdigit() and int(given) > 0:
        return int(given)
    return max(1, count_cores() // n_processes)


def bound_threads(most: int = 0) -> None:
    """Let torch start no more threads than there are cores for it.

    most (int): Threads, if fewer are wanted; 0: as share_threads says for one process.
    """
    import torch

    torch.set_num_threads(min(most or share_threads(1), torch.get_num_threads()))


def find_memory_limit() -> tuple[int, int] | None:
    """RETURNS (tuple[int, int] | None): Bytes that a container may use, and those that are left of
    them, of the limit of which the fewest are left; None: there is none."""
    found = [
        limit for place in _find_groups("memory") if (limit := _read_memory(place)) is not None
    ]
    return min(found, key=lambda limit: limit[1], default=None)


def _find_quotas() -> Iterator[float]:
    """Limits of the process's group and of those around it, in cores."""
    for place in _find_groups("cpu"):
        if (quota := _read_quota(place)) is not None:
            yield quota


def _find_groups(controller: str) -> Iterator[Path]:
    """Folders of the process's group and of those around it."""
    try:
        groups = os.fsdecode(_GROUPS.read_bytes())  # names of groups are any bytes
    except OSError:
        return
    for line in groups.split("\n"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            mount = _MOUNT
        elif controller in controllers.split(","):
            mount = _MOUNT / (controllers if os.path.isdir(_MOUNT / controllers) else controller)
        else:
            continue
        # Within a container the path may be one of the host's, which is not there: then the mount
        # itself is the container's.
        group = mount / path.strip("/")
        for place in (group, *group.parents):
            yield place
            if place == mount:
                break


def _read_quota(place: Path) -> float | None:
    try:
        if (place / "cpu.max").is_file():
            quota, period = (place / "cpu.max").read_text().split()
        elif (place / "cpu.cfs_quota_us").is_file():
            quota = (place / "cpu.cfs_quota_us").read_text().strip()
            period = (place / "cpu.cfs_period_us").read_text()
        else:
            return None
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _read_memory(place: Path) -> tuple[int, int] | None:
    names = (("memory.max", "memory.current", "inactive_file"),
             ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"))  # fmt: skip
    try:
        for limit_name, used_name, cached_name in names:
            if not (place / limit_name).is_file():
                continue
            limit = (place / limit_name).read_text().strip()
            if limit == "max":
                return None
            used = int((place / used_name).read_text())
            lines = (place / "memory.stat").read_text().splitlines()
            # What was read of files, and is given up for what a process needs.
            cached = next(int(n) for name, n in map(str.split, lines) if name == cached_name)
            return int(limit), max(0, int(limit) - used + cached)
    except (OSError, ValueError, StopIteration):
        return None
    return None
