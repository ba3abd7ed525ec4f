"""A Python process in which spacy-transformers is not installed, wherever it is."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# find_spec and import see no module of this name, and spaCy no entry point of its distribution.
HIDE = """
import importlib.metadata, sys
sys.modules["spacy_transformers"] = None
found = importlib.metadata.distributions
def distributions(**context):
    return (d for d in found(**context) if d.name != "spacy-transformers")
importlib.metadata.distributions = distributions
"""


def run_python(code: str, *, hide: bool = False, path: Path | None = None):
    """Run code in a new process at the root of the repository, with warnings as errors.

    hide (bool): Whether spacy-transformers must not be there.
    path (Path): A folder in which modules are looked for first.
    RETURNS (CompletedProcess): With its output as text.
    """
    return subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", (HIDE if hide else "") + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(path or "")},
    )
