"""A cluster that Ray runs on. The only file that imports Ray."""

import logging
import os
from importlib.util import find_spec
from typing import Any


def check_ray(cpus: float, gpus: float, *, each: str) -> None:
    """Raise ImportError if Ray is not installed, ValueError for shares that it does not take.

    cpus, gpus (float): Of each task; with less than one GPU, several share one.
    each (str): What a task is called, in messages and options.
    """
    if find_spec("ray") is None:
        raise ImportError("--ray needs Ray: pip install 'spacy-lgu[ray]'.")
    if cpus <= 0 or gpus < 0 or (gpus > 1 and gpus != int(gpus)):
        raise ValueError(
            f"Expected more than 0 CPUs for each {each}, and a share of a GPU or a whole number of "
            f"them, but got {cpus:g} and {gpus:g}."
        )


def connect(address: str) -> Any:
    """Join a cluster.

    address (str): "auto": the one of this machine, which is begun if there is none.
    RETURNS (module): ray.
    """
    import ray

    # It would ask a server of its makers otherwise.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(
        address=None if address == "auto" else address,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    return ray


def count_places(resources: dict[str, float], cpus: float, gpus: float, *, each: str) -> int:
    """How many tasks a cluster has room for.

    resources (dict[str, float]): Of the cluster: "CPU" and "GPU".
    cpus, gpus, each: As in check_ray.
    RETURNS (int): Raises ValueError if there is no room for any.
    """
    n_cpus, n_gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
    places = _fit(n_cpus, cpus)
    if gpus:
        # A share of one GPU fits on it a whole number of times.
        places = min(places, _fit(n_gpus, gpus) if gpus >= 1 else int(n_gpus) * _fit(1, gpus))
    if places < 1:
        raise ValueError(
            f"The cluster has no room for a {each} of {cpus:g} CPUs and {gpus:g} GPUs: it has "
            f"{n_cpus:g} and {n_gpus:g}. Ask for less with --cpus-per-{each} and "
            f"--gpus-per-{each}."
        )
    return places


def _fit(whole: float, part: float) -> int:
    return int(whole / part + 1e-9)  # 1 // 0.1 is 9
