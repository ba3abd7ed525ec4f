"""Where a run was made: what its times depend on, and which code it ran."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import torch

from ..inspection.libraries import find_version
from ..inspection.machine import find_processor

_ROOT = Path(__file__).parents[2]
_PACKAGES = ("torch", "spacy", "spacy-transformers", "transformers")


def describe_machine(gpu_id: int) -> dict[str, Any]:
    """What the times depend on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": find_processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gib": round(memory / 2**30),
        "gpu": torch.cuda.get_device_name(gpu_id) if gpu_id >= 0 else None,
        **{name: find_version(name) for name in _PACKAGES},
    }


def find_commit() -> str | None:
    """The commit of the working tree that is run, with -dirty if files differ. None if there is
    none, as for an installed package: a repository of the user's around it says nothing.
    """
    if shutil.which("git") is None or not (_ROOT / ".git").exists():
        return None
    command = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else None
